#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/plan/change.h"
#include "twinstep/plan/groups.h"
#include "twinstep/plan/rules.h"

/// What every comparison of two snapshots does, whoever is the master.
namespace twinstep::plan {

enum class Side { kHub, kExternal };

/// The external system's name for people.
std::string external_name(const Rules& rules);

/// Collects what is wrong with the lists: devices to be named, and reasons to delete nothing. Keeps the first 200
/// problems of each kind, so that its memory does not grow with the registry.
class Findings {
 public:
  /// All references outlive this. Begins with the broken items that the proofs name.
  Findings(const Snapshot::Data& hub, const Snapshot::Data& external, const Rules& rules);

  /// Several devices of one side have the id.
  Status conflict(Side side, const Group& group);
  Status problem(Problem::Kind kind, Side side, const Group& group, std::string text);
  /// Notes two items with the very same text: most likely a page came twice, and another one not at all.
  void note_repeat(Side side, const Group& group);
  /// Good until the next call that reads details of this side.
  Result<const Detail*> detail(Side side, const Group& group);

  /// Adds to `why_withheld` why no device may be deleted: lists that are not complete, items that could be any device,
  /// repeated items. Gives how many items could not be read and showed no id.
  uint64_t close(std::vector<std::string>& why_withheld) const;
  std::vector<Problem> take_problems() { return std::move(problems_); }

 private:
  const Snapshot::Data& hub_;
  const Snapshot::Data& external_;
  DetailReader hub_details_, external_details_;
  const std::string external_name_;
  std::vector<Problem> problems_;
  size_t conflicts_ = 0, invalid_ = 0;
  std::vector<std::string> repeats_;
  bool hub_repeat_ = false, external_repeat_ = false;
};

/// Gives every canonical id of either side in order, with what each side has of it; null = nothing.
/// Errors  those of `visit`, kCancelled within 100 ms of call.stop, "plan.io".
using Visit = std::function<Status(const Group* hub, const Group* external)>;
Status for_each_id(const Snapshot::Data& hub, const Snapshot::Data& external, const Visit& visit, const Call& call);

/// What a stopped comparison gives.
tl::unexpected<Error> comparison_stopped();

}  // namespace twinstep::plan
