#pragma once

#include <memory>
#include <string>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/plan/change.h"
#include "twinstep/plan/snapshot.h"

namespace twinstep::plan {

/// Which kinds of change may be made: what the guard left over.
struct Permit {
  bool deletes = true;  ///< deletes and disables
  bool updates = true;  ///< updates; adopts are none
};

/// What a comparison found. Changes are kept on disk until they are asked for, so that the guard can look at the counts
/// first. Holds references to both snapshots.
class Comparison {
 public:
  struct Data;
  explicit Comparison(std::unique_ptr<Data> data);
  ~Comparison();
  Comparison(Comparison&&) noexcept;
  Comparison& operator=(Comparison&&) noexcept;

  const Counts& counts() const;
  /// Why deletes are withheld, for people; empty = they are not.
  const std::vector<std::string>& why_withheld() const;
  /// True when the external list was empty: nothing at all may change.
  bool external_empty() const;
  /// Conflicts and invalid devices in canonical id order, after the broken items of both sides; the first 200 of each
  /// kind.
  const std::vector<Problem>& problems() const;

  /// Gives every permitted change in canonical id order. May be called again.
  /// Errors  those of the sink, kCancelled, "plan.io", "plan.counts-only" when SnapshotOptions asked for counts only.
  Status changes(const Permit& permit, const ChangeSink& sink, const Call& call) const;

 private:
  std::unique_ptr<Data> data_;
};

/// Decides what would make the hub equal to the external list: a merge of two sorted listings.
///
/// Threads   any.
/// Blocking  reads local files; ends within 100 ms of call.stop with kCancelled.
Result<Comparison> compare(const Snapshot& hub, const Snapshot& external, const Rules& rules,
                           const SnapshotOptions& options, const Call& call);

}  // namespace twinstep::plan
