#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "twinstep/plan/snapshot_data.h"

namespace twinstep::plan {

/// Where a device's detail is in its snapshot. Size 0 = there is none.
struct DetailRef {
  uint64_t offset = 0;
  uint32_t size = 0;
};

/// All records of one canonical id on one side.
struct Group {
  std::string id;
  uint64_t devices = 0;
  bool modules = false;
  bool broken = false;
  bool repeated = false;  // two items have the very same text
  uint16_t flags = 0;     // of the first device, as the next two
  DetailRef detail;
  std::vector<std::byte> hashes;
  DetailRef second;
  std::vector<uint64_t> items;  // hashes of the items' texts, the first few

  bool is(RecordFlag flag) const { return (flags & flag) != 0; }
  uint64_t hash(size_t tag) const;  // of the tag's value; 0 = none
};

/// Reads one side id by id, in canonical order.
class Groups {
 public:
  explicit Groups(const Snapshot::Data& data) : merge_(data.records, data.tag_count) {}

  /// The next id, or null at the end. Good until the next call.
  Result<const Group*> next();

 private:
  void take(const Record& record);

  RecordMerge merge_;
  const Record* record_ = nullptr;
  bool started_ = false;
  Group group_;
};

/// Where the devices of one id stand in the list, for people: "line 3 and line 9 and others".
Result<std::string> places_of(const Group& group, DetailReader& details);

}  // namespace twinstep::plan
