#include "twinstep/plan/record_sort.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace twinstep::plan {

namespace {

// Layout of a record: detail_offset, item_hash, detail_size, flags, size of the id, id, hashes.
constexpr size_t kHeadBytes = 8 + 8 + 4 + 2 + 2;
constexpr size_t kMinBuffer = 16 * 1024;
constexpr size_t kMaxBuffer = 256 * 1024;

uint64_t big_endian(std::string_view bytes) {
  char eight[8] = {};
  std::memcpy(eight, bytes.data(), std::min<size_t>(bytes.size(), 8));
  uint64_t number = 0;
  std::memcpy(&number, eight, 8);
  if constexpr (std::endian::native == std::endian::little) number = __builtin_bswap64(number);
  return number;
}
uint64_t high_of(std::string_view id) { return big_endian(id); }
uint64_t low_of(std::string_view id) { return id.size() > 8 ? big_endian(id.substr(8)) : 0; }

template <class T>
void put(char* out, T number) {
  std::memcpy(out, &number, sizeof number);
}
template <class T>
T get(const char* at) {
  T number;
  std::memcpy(&number, at, sizeof number);
  return number;
}

std::string_view id_at(const char* record) { return {record + kHeadBytes, get<uint16_t>(record + 22)}; }

}  // namespace

RecordSorter::RecordSorter(const std::string& folder, size_t memory_bytes)
    : memory_bytes_(std::clamp<size_t>(memory_bytes, 64 * 1024, size_t{1} << 30)), out_{TempFile(folder), {}, 0} {
  out_.merge_bytes = memory_bytes_;
}

Status RecordSorter::add(const Record& record) {
  const size_t size = kHeadBytes + record.id.size() + record.hashes.size();
  if (!keys_.empty() && arena_.size() + size + (keys_.size() + 1) * sizeof(Key) > memory_bytes_) TRY(spill());
  if (keys_.capacity() == 0) {
    // Growing by doubling would hold the old and the new block at once.
    const size_t expected = memory_bytes_ / (size + sizeof(Key)) + 1;
    keys_.reserve(std::min<size_t>(expected, 4096));
  }
  keys_.push_back({high_of(record.id), low_of(record.id), static_cast<uint32_t>(arena_.size())});
  char head[kHeadBytes];
  put(head, record.detail_offset);
  put(head + 8, record.item_hash);
  put(head + 16, record.detail_size);
  put(head + 20, record.flags);
  put(head + 22, static_cast<uint16_t>(record.id.size()));
  arena_.append(head, kHeadBytes);
  arena_.append(record.id);
  arena_.append(reinterpret_cast<const char*>(record.hashes.data()), record.hashes.size());
  return {};
}

Status RecordSorter::spill() {
  const char* const arena = arena_.data();
  const auto less = [arena](const Key& a, const Key& b) {
    if (a.high != b.high) return a.high < b.high;
    if (a.low != b.low) return a.low < b.low;
    const int order = id_at(arena + a.at).compare(id_at(arena + b.at));
    return order != 0 ? order < 0 : a.at < b.at;
  };
  const size_t hash_bytes = [&] {
    const std::string_view first = id_at(arena);
    const size_t next = keys_.size() > 1 ? keys_[1].at : arena_.size();
    return next - kHeadBytes - first.size();
  }();
  std::sort(keys_.begin(), keys_.end(), less);
  const uint64_t begin = out_.file.size();
  for (const Key& key : keys_) {
    const size_t size = kHeadBytes + id_at(arena + key.at).size() + hash_bytes;
    TRY(out_.file.write({arena + key.at, size}));
  }
  out_.runs.push_back({begin, out_.file.size()});
  keys_.clear();
  arena_.clear();
  return {};
}

Result<SortedRuns> RecordSorter::finish() {
  if (!keys_.empty()) TRY(spill());
  TRY(out_.file.flush());
  keys_ = {};
  arena_ = {};
  return std::move(out_);
}

RecordMerge::RecordMerge(const SortedRuns& runs, size_t hashes)
    : runs_(runs), hash_bytes_(hashes * sizeof(uint64_t)), buffer_bytes_(kMaxBuffer) {
  if (!runs.runs.empty()) buffer_bytes_ = std::clamp(runs.merge_bytes / 2 / runs.runs.size(), kMinBuffer, kMaxBuffer);
  for (const SortedRuns::Run& run : runs.runs) {
    Cursor& cursor = cursors_.emplace_back();
    cursor.next = run.begin;
    cursor.end = run.end;
  }
}

Result<bool> RecordMerge::advance(Cursor& cursor) {
  const auto have = [&](size_t wanted) -> Result<bool> {
    if (cursor.filled - cursor.at >= wanted) return true;
    if (cursor.next == cursor.end) return false;
    const size_t rest = cursor.filled - cursor.at;
    const size_t room = std::max(buffer_bytes_, wanted);
    if (cursor.buffer.size() < room) cursor.buffer.resize(room);
    std::memmove(cursor.buffer.data(), cursor.buffer.data() + cursor.at, rest);
    const size_t more = static_cast<size_t>(std::min<uint64_t>(cursor.buffer.size() - rest, cursor.end - cursor.next));
    TRY(runs_.file.read(cursor.next, cursor.buffer.data() + rest, more));
    cursor.next += more;
    cursor.at = 0;
    cursor.filled = rest + more;
    return cursor.filled >= wanted;
  };
  TRY_ASSIGN(const bool head, have(kHeadBytes));
  if (!head) return false;
  const size_t id_size = id_at(cursor.buffer.data() + cursor.at).size();
  const size_t size = kHeadBytes + id_size + hash_bytes_;
  TRY_ASSIGN(const bool whole, have(size));
  if (!whole) return fail(ErrorKind::kCorrupt, "plan.io", "a temporary file ends inside a record");
  const char* at = cursor.buffer.data() + cursor.at;
  cursor.record = {
      get<uint64_t>(at),          get<uint64_t>(at + 8),
      get<uint32_t>(at + 16),     get<uint16_t>(at + 20),
      {at + kHeadBytes, id_size}, {reinterpret_cast<const std::byte*>(at + kHeadBytes + id_size), hash_bytes_}};
  cursor.high = high_of(cursor.record.id);
  cursor.low = low_of(cursor.record.id);
  cursor.at += size;
  return true;
}

bool RecordMerge::before(size_t a, size_t b) const {
  const Cursor& x = cursors_[a];
  const Cursor& y = cursors_[b];
  if (x.high != y.high) return x.high < y.high;
  if (x.low != y.low) return x.low < y.low;
  const int order = x.record.id.compare(y.record.id);
  return order != 0 ? order < 0 : a < b;  // earlier runs hold what was listed earlier
}

void RecordMerge::sift_down() {
  size_t parent = 0;
  while (true) {
    size_t child = 2 * parent + 1;
    if (child >= heap_.size()) return;
    if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
    if (!before(heap_[child], heap_[parent])) return;
    std::swap(heap_[child], heap_[parent]);
    parent = child;
  }
}

Result<const Record*> RecordMerge::next() {
  if (!started_) {
    started_ = true;
    for (size_t i = 0; i < cursors_.size(); ++i) {
      TRY_ASSIGN(const bool there, advance(cursors_[i]));
      if (there) heap_.push_back(i);
    }
    std::sort(heap_.begin(), heap_.end(), [this](size_t a, size_t b) { return before(a, b); });
  } else if (!heap_.empty()) {
    TRY_ASSIGN(const bool there, advance(cursors_[heap_.front()]));
    if (!there) {
      heap_.front() = heap_.back();
      heap_.pop_back();
    }
    sift_down();
  }
  return heap_.empty() ? nullptr : &cursors_[heap_.front()].record;
}

}  // namespace twinstep::plan
