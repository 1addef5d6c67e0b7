#include "twinstep/plan/groups.h"

#include <algorithm>
#include <cstring>

namespace twinstep::plan {
namespace {

constexpr size_t kRemembered = 64;  // devices of one id that are looked through for the very same text

}  // namespace

uint64_t Group::hash(size_t tag) const {
  uint64_t out = 0;
  std::memcpy(&out, hashes.data() + tag * sizeof out, sizeof out);
  return out;
}

Result<const Group*> Groups::next() {
  if (!started_) {
    started_ = true;
    TRY_ASSIGN(record_, merge_.next());
  }
  if (record_ == nullptr) return nullptr;
  group_.id.assign(record_->id);
  group_.devices = 0;
  group_.modules = group_.broken = group_.repeated = false;
  group_.flags = 0;
  group_.items.clear();
  do {
    take(*record_);
    TRY_ASSIGN(record_, merge_.next());
  } while (record_ != nullptr && record_->id == group_.id);
  return &group_;
}

void Groups::take(const Record& record) {
  if (record.is(kModule)) {
    group_.modules = true;
    return;
  }
  if (record.is(kBroken)) {
    group_.broken = true;
    return;
  }
  if (++group_.devices == 1) {
    group_.flags = record.flags;
    group_.detail = {record.detail_offset, record.detail_size};
    group_.hashes.assign(record.hashes.begin(), record.hashes.end());
  } else {
    if (group_.devices == 2) group_.second = {record.detail_offset, record.detail_size};
    const auto& items = group_.items;
    group_.repeated = group_.repeated || std::find(items.begin(), items.end(), record.item_hash) != items.end();
  }
  if (group_.items.size() < kRemembered) group_.items.push_back(record.item_hash);
}

Result<std::string> places_of(const Group& group, DetailReader& details) {
  std::string out;
  for (const DetailRef& ref : {group.detail, group.second}) {
    TRY_ASSIGN(const Detail* const detail, details.read(ref.offset, ref.size));
    out.append(out.empty() ? "" : " and ").append(providers::to_string(detail->place));
  }
  return group.devices > 2 ? out + " and others" : out;
}

}  // namespace twinstep::plan
