#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/plan/change.h"
#include "twinstep/plan/rules.h"

namespace twinstep::plan {

struct SnapshotOptions {
  std::string folder = "/tmp";           ///< for temporary files, which have no name from the start
  size_t sort_bytes = 12 * 1024 * 1024;  ///< records sorted in memory at a time; at least 64 KiB
  bool keep_hub_tags = false;            ///< so that Change::hub_tags is filled
  bool counts_only = false;  ///< for counts and problems without the changes themselves: half as much goes to disk
};

/// Whether a listing was complete, and what could not be read.
struct Proof {
  bool complete = false;
  std::string why_incomplete;      ///< for people; empty when complete
  uint64_t broken = 0;             ///< items that could not be read, all
  uint64_t broken_without_id = 0;  ///< of these, without a readable id: any of them withholds deletes
  std::vector<Problem> named;      ///< the first 20 broken ones
};

/// One registry's complete listing, sorted by canonical id, on disk. Movable, not copyable.
///
/// Threads  reading from several threads is allowed.
class Snapshot {
 public:
  struct Data;
  explicit Snapshot(std::unique_ptr<Data> data);
  ~Snapshot();
  Snapshot(Snapshot&&) noexcept;
  Snapshot& operator=(Snapshot&&) noexcept;

  const Proof& proof() const;
  uint64_t devices() const;  ///< listed, module lines not counted
  uint64_t skipped() const;  ///< items that the definition's filter left out
  /// 32 hex digits over canonical ids, ownership, kind, status and mapped values, whatever the order of the listing.
  /// ETags are left out: other parties touch twins too.
  const std::string& fingerprint() const;
  const Data& data() const { return *data_; }

 private:
  std::unique_ptr<Data> data_;
};

/// Takes a hub's listing, as bytes of an export file or item by item.
///
/// Threads   one thread at a time.
/// Blocking  writes to local files.
/// Errors    kUnavailable "plan.disk-full", "plan.io" naming the folder. Broken items are no errors: see Proof.
class HubSnapshotBuilder {
 public:
  HubSnapshotBuilder(const Rules& rules, SnapshotOptions options);
  ~HubSnapshotBuilder();
  HubSnapshotBuilder(HubSnapshotBuilder&&) noexcept;

  /// Bytes of an export (NDJSON, LF or CRLF, or a JSON array), in any chunks. Text before the first `{` is the
  /// service's warning about keys and is passed over.
  Status feed(std::string_view bytes);
  /// The elements of a query page: a JSON array of twins.
  Status add_page(std::string_view array, int page);
  /// Records that the listing is not complete and why; the first reason stays.
  void incomplete(std::string_view why);
  /// Ends the listing. Call once.
  Result<Snapshot> finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Takes an external system's listing. add() and broken() fit providers::ItemSink and BrokenSink.
/// Threads, Blocking, Errors  as HubSnapshotBuilder.
class ExternalSnapshotBuilder {
 public:
  /// `mapper` is used by this builder alone and outlives it.
  ExternalSnapshotBuilder(const Rules& rules, providers::Mapper& mapper, SnapshotOptions options);
  ~ExternalSnapshotBuilder();
  ExternalSnapshotBuilder(ExternalSnapshotBuilder&&) noexcept;

  Status add(std::string_view item, const providers::ItemPlace& place);
  Status broken(std::string_view text, const providers::ItemPlace& place, std::string_view why);
  Result<Snapshot> finish(const providers::ListProof& proof);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::plan
