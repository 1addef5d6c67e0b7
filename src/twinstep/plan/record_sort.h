#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/plan/temp_file.h"

namespace twinstep::plan {

/// What a record says of its item besides the id and the hashes.
enum RecordFlag : uint16_t {
  kOurs = 1,          // hub: the mark names this link
  kMarked = 2,        // hub: there is a mark
  kRef = 4,           // hub: there is a tag `ref`
  kEdge = 8,          // hub
  kCertificate = 16,  // hub: selfSigned or certificateAuthority
  kDisabled = 32,     // hub
  kAbsent = 64,       // hub: statusReason begins with kAbsentReason
  kModule = 128,      // hub: a module of the device
  kBroken = 256,      // could not be read; nothing but the id is known
  kUnusable = 512,    // external: read, but not fit for the hub; the detail says why
  kIllegalId = 1024,  // external: cannot be created under this id
};

/// One listed item in as few bytes as comparing needs. The rest is in the detail file.
struct Record {
  uint64_t detail_offset = 0;
  uint64_t item_hash = 0;  // of the item's text: a page that came twice is seen by it
  uint32_t detail_size = 0;
  uint16_t flags = 0;
  std::string_view id;                // canonical
  std::span<const std::byte> hashes;  // one uint64_t for each TagSpec, 0 = no value; unaligned

  bool is(RecordFlag flag) const { return (flags & flag) != 0; }
};

/// Sorted runs in one file.
struct SortedRuns {
  struct Run {
    uint64_t begin = 0, end = 0;
  };
  TempFile file;
  std::vector<Run> runs;
  size_t merge_bytes = 0;  // for the buffers of a merge, all together
};

/// Sorts more records than memory holds: fills a buffer, sorts it, writes it as a run.
class RecordSorter {
 public:
  RecordSorter(const std::string& folder, size_t memory_bytes);
  Status add(const Record& record);
  Result<SortedRuns> finish();

 private:
  struct Key {
    uint64_t high, low;  // first 16 bytes of the id, big-endian: most comparisons need no more
    uint32_t at;         // in arena_
  };
  Status spill();

  size_t memory_bytes_;
  std::string arena_;
  std::vector<Key> keys_;
  SortedRuns out_;
};

/// Reads sorted runs as one sorted list.
class RecordMerge {
 public:
  RecordMerge(const SortedRuns& runs, size_t hashes);
  /// The next record, or null at the end. Good until the next call.
  Result<const Record*> next();

 private:
  struct Cursor {
    uint64_t next = 0, end = 0;  // of the file: what is not in the buffer yet
    std::string buffer;
    size_t at = 0, filled = 0;
    uint64_t high = 0, low = 0;
    Record record;
  };
  Result<bool> advance(Cursor& cursor);
  bool before(size_t a, size_t b) const;
  void sift_down();

  const SortedRuns& runs_;
  size_t hash_bytes_;
  size_t buffer_bytes_;
  std::vector<Cursor> cursors_;
  std::vector<size_t> heap_;  // of cursors_, smallest first
  bool started_ = false;
};

}  // namespace twinstep::plan
