#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/plan/change.h"
#include "twinstep/plan/snapshot.h"

/// The comparison with the hub as master: what the external system lacks, and what it has too much.
namespace twinstep::plan {

/// How many devices fall where. Every canonical id is counted once.
struct SweepCounts {
  uint64_t hub_devices = 0;       ///< listed, module lines not counted
  uint64_t external_devices = 0;  ///< listed
  uint64_t in_step = 0;           ///< on both sides, nothing differs
  uint64_t differing = 0;         ///< on both sides with another value of a mapped tag that is no secret
  uint64_t missing_outside = 0;
  uint64_t orphans = 0;        ///< outside only
  uint64_t orphans_owned = 0;  ///< of these: twinstep made them outside
  uint64_t conflicts = 0;      ///< several devices of one side have the id
  uint64_t excluded = 0;       ///< Edge devices, devices with modules or certificates that the link does not include
  uint64_t invalid = 0;        ///< could not be read or mapped, with the items that show no id
};
json::object to_json(const SweepCounts& counts);

/// One device that is not the same on both sides.
struct Difference {
  enum class Kind { kMissingOutside, kOrphan, kDiffering };
  Kind kind = Kind::kMissingOutside;
  std::string key;  ///< canonical id
  DeviceId device;  ///< as the hub spells it; an orphan: as the hub spelled it when twinstep made it outside, else as
                    ///< listed there
  bool owned = false;  ///< kOrphan: twinstep made it outside
  std::string reason;  ///< for people; never holds a secret
};
using DifferenceSink = std::function<Status(const Difference&)>;

/// Tells for each of up to 1,000 canonical ids how the hub spelled the device when this link made it outside; an empty
/// id = it did not, or has deleted it.
using LedgerLook = std::function<Result<std::vector<DeviceId>>(const std::vector<std::string>& keys)>;

/// What a sweep found. Differences are kept on disk until they are asked for. Holds references to both snapshots.
class Sweep {
 public:
  struct Data;
  explicit Sweep(std::unique_ptr<Data> data);
  ~Sweep();
  Sweep(Sweep&&) noexcept;
  Sweep& operator=(Sweep&&) noexcept;

  const SweepCounts& counts() const;
  /// Why no orphan may be deleted, for people; empty = no such reason.
  const std::vector<std::string>& why_withheld() const;
  bool hub_empty() const { return counts().hub_devices == 0; }
  /// As Comparison::problems().
  const std::vector<Problem>& problems() const;

  /// Gives every difference whose key is beyond `after`, in the order of keys. May be called again.
  /// Errors  those of the sink, kCancelled, "plan.io".
  Status differences(std::string_view after, const DifferenceSink& sink, const Call& call) const;

 private:
  std::unique_ptr<Data> data_;
};

/// Compares by canonical id. Tags decide about no create or delete: a device that is on both sides is in step, and
/// values are only compared where both sides have one. `rules.scope` plays no part, because nothing is written to the
/// hub. An orphan whose id no hub could hold is counted and named among the problems.
///
/// Threads   any.
/// Blocking  reads local files, and as `ledger`; ends within 100 ms of call.stop with kCancelled.
Result<Sweep> sweep(const Snapshot& hub, const Snapshot& external, const Rules& rules, const SnapshotOptions& options,
                    const LedgerLook& ledger, const Call& call);

/// A digest of a set of keys, whatever their order: keys can be taken out again.
class KeySet {
 public:
  void add(std::string_view key);
  void remove(std::string_view key);
  uint64_t size() const { return size_; }
  std::string digest() const;  ///< 32 hex digits

 private:
  uint64_t high_ = 0, low_ = 0, size_ = 0;
};

}  // namespace twinstep::plan
