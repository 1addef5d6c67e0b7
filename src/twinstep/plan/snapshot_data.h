#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/plan/record_sort.h"
#include "twinstep/plan/snapshot.h"

namespace twinstep::plan {

/// What planning a change needs to know of an item. Views into the reader's buffer.
struct Detail {
  providers::ItemPlace place;
  std::string_view id;                                           // as listed; external: as it would be created
  std::string_view etag, twin_etag, status_reason, owner, tags;  // hub
  std::string_view problem;                                      // external, of kUnusable
  std::vector<std::string_view> values;                          // one per TagSpec; empty = no value
};

/// With `names_only`, place, id, owner and problem alone; the rest is read back as empty.
void append_detail(const Detail& detail, bool names_only, std::string& out);

struct Snapshot::Data {
  size_t tag_count = 0;
  Proof proof;
  uint64_t devices = 0;
  uint64_t skipped = 0;
  std::string fingerprint;
  SortedRuns records;
  TempFile details;
};

/// Reads details, a window at a time: lists are often nearly in order.
class DetailReader {
 public:
  explicit DetailReader(const Snapshot::Data& data) : data_(data) {}
  /// Good until the next call.
  Result<const Detail*> read(uint64_t offset, uint32_t size);

 private:
  const Snapshot::Data& data_;
  std::string window_;
  uint64_t begin_ = 0;
  Detail detail_;
};

}  // namespace twinstep::plan
