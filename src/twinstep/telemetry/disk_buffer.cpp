#include "twinstep/telemetry/disk_buffer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "twinstep/telemetry/gzip.h"

namespace twinstep::telemetry {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnd = ".ndjson.gz";
constexpr std::string_view kUnfinished = ".part";
constexpr size_t kMostUnpacked = 64u << 20;

tl::unexpected<Error> trouble(std::string_view what, const std::string& path) {
  return fail(ErrorKind::kUnavailable, "telemetry.buffer", fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + '\n';
  return out;
}

/// "00000000000000000012-500.ndjson.gz": sequence and lines.
std::optional<std::pair<uint64_t, uint64_t>> numbers_of(std::string_view name) {
  if (!name.ends_with(kEnd)) return {};
  name.remove_suffix(kEnd.size());
  uint64_t sequence = 0, lines = 0;
  const char* end = name.data() + name.size();
  const auto first = std::from_chars(name.data(), end, sequence);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != '-') return {};
  const auto second = std::from_chars(first.ptr + 1, end, lines);
  if (second.ec != std::errc{} || second.ptr != end) return {};
  return std::pair{sequence, lines};
}

}  // namespace

Result<DiskBuffer> DiskBuffer::open(std::string folder, uint64_t most_bytes) {
  std::error_code problem;
  if (fs::create_directories(folder, problem); problem) {
    errno = problem.value();
    return trouble("cannot make", folder);
  }
  fs::permissions(folder, fs::perms::owner_all, problem);
  const std::string lock_path = folder + "/lock";
  const int lock = ::open(lock_path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock < 0) return trouble("cannot open", lock_path);
  DiskBuffer out(std::move(folder), most_bytes, lock);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0)
    return fail(ErrorKind::kConflict, "telemetry.buffer-busy",
                fmt::format("another process uses {}; give this one another telemetry.buffer.path", out.folder_));
  TRY(out.scan());
  return out;
}

DiskBuffer::DiskBuffer(DiskBuffer&& other) noexcept
    : folder_(std::move(other.folder_)),
      most_bytes_(other.most_bytes_),
      lock_(std::exchange(other.lock_, -1)),
      files_(std::move(other.files_)),
      bytes_(other.bytes_),
      dropped_(other.dropped_),
      next_(other.next_) {}

DiskBuffer& DiskBuffer::operator=(DiskBuffer&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(most_bytes_, other.most_bytes_);
  std::swap(lock_, other.lock_);
  std::swap(files_, other.files_);
  std::swap(bytes_, other.bytes_);
  std::swap(dropped_, other.dropped_);
  std::swap(next_, other.next_);
  return *this;
}

DiskBuffer::~DiskBuffer() {
  if (lock_ >= 0) ::close(lock_);
}

uint64_t DiskBuffer::lines() const {
  uint64_t out = 0;
  for (const auto& [sequence, file] : files_) out += file.lines;
  return out;
}

Status DiskBuffer::scan() {
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(folder_, problem)) {
    const std::string name = entry.path().filename().string();
    std::error_code gone;
    if (name.ends_with(kUnfinished)) {
      fs::remove(entry.path(), gone);
      continue;
    }
    const auto numbers = numbers_of(name);
    if (!numbers) continue;
    const auto size = entry.file_size(gone);
    if (gone) continue;
    files_[numbers->first] = {name, size, numbers->second};
    bytes_ += size;
    next_ = std::max(next_, numbers->first + 1);
  }
  if (problem) {
    errno = problem.value();
    return trouble("cannot read", folder_);
  }
  while (bytes_ > most_bytes_ && !files_.empty()) {
    dropped_ += files_.begin()->second.lines;
    remove_oldest();
  }
  return {};
}

Status DiskBuffer::put(const std::string& name, const std::string& packed) const {
  const std::string part = path(name) + std::string(kUnfinished);
  const int file = ::open(part.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0) return trouble("cannot write", part);
  size_t written = 0;
  while (written < packed.size()) {
    const ssize_t now = ::write(file, packed.data() + written, packed.size() - written);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) break;
    written += static_cast<size_t>(now);
  }
  const bool kept = written == packed.size() && ::fsync(file) == 0;
  const int why = errno;
  ::close(file);
  if (kept && ::rename(part.c_str(), path(name).c_str()) == 0) return {};
  if (!kept) errno = why;
  auto failed = trouble("cannot write", part);
  ::unlink(part.c_str());
  return failed;
}

Status DiskBuffer::write(const std::vector<std::string>& lines) {
  const std::string packed = gzip(joined(lines));
  if (packed.size() > most_bytes_) {
    dropped_ += lines.size();
    return {};
  }
  while (bytes_ + packed.size() > most_bytes_) {
    dropped_ += files_.begin()->second.lines;
    remove_oldest();
  }
  const std::string name = fmt::format("{:020}-{}{}", next_, lines.size(), kEnd);
  TRY(put(name, packed));
  files_[next_++] = {name, packed.size(), lines.size()};
  bytes_ += packed.size();
  return {};
}

Result<std::vector<std::string>> DiskBuffer::read_oldest() const {
  const File& file = files_.begin()->second;
  std::ifstream in(path(file.name), std::ios::binary);
  std::ostringstream packed;
  packed << in.rdbuf();
  auto text = gunzip(packed.str(), kMostUnpacked);
  if (!text) return fail_within(std::move(text), path(file.name));
  std::vector<std::string> out;
  for (size_t at = 0; at < text->size();) {
    const size_t end = text->find('\n', at);
    if (end == std::string::npos) break;
    out.push_back(text->substr(at, end - at));
    at = end + 1;
  }
  if (out.empty()) return fail(ErrorKind::kCorrupt, "telemetry.buffer", path(file.name) + ": empty");
  return out;
}

void DiskBuffer::remove_oldest() {
  const auto oldest = files_.begin();
  std::error_code ignored;  // a file that stays is seen again at the next start; events may come twice
  fs::remove(path(oldest->second.name), ignored);
  bytes_ -= std::min(bytes_, oldest->second.bytes);
  files_.erase(oldest);
}

Status DiskBuffer::replace_oldest(const std::vector<std::string>& lines) {
  const uint64_t sequence = files_.begin()->first;
  const File old = files_.begin()->second;
  const std::string packed = gzip(joined(lines));
  const std::string name = fmt::format("{:020}-{}{}", sequence, lines.size(), kEnd);
  TRY(put(name, packed));
  if (name != old.name) {
    std::error_code ignored;
    fs::remove(path(old.name), ignored);
  }
  bytes_ = bytes_ - std::min(bytes_, old.bytes) + packed.size();
  files_[sequence] = {name, packed.size(), lines.size()};
  return {};
}

}  // namespace twinstep::telemetry
