#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "twinstep/plan/compare.h"
#include "twinstep/plan/guard.h"
#include "twinstep/plan/plan_file.h"
#include "twinstep/workflows/job_runner.h"

namespace twinstep::workflows {

/// Ids of devices that a look-up found absent in the external system.
using ConfirmedAbsent = std::unordered_set<std::string>;

/// Both listings, what they differ in, and what the guard says.
class PlannedLink {
 public:
  PlannedLink(plan::Snapshot hub_in, plan::Snapshot external_in)
      : hub(std::move(hub_in)), external(std::move(external_in)) {}

  plan::Snapshot hub;
  plan::Snapshot external;
  std::optional<plan::Comparison> comparison;
  plan::Counts counts;                    ///< as the comparison's, unless look-ups disproved the external list
  std::vector<std::string> why_withheld;  ///< why no device may be deleted; empty = no such reason
  plan::Verdict verdict;
  ConfirmedAbsent confirmed;

  /// What may be done: the guard's word, or everything that is proven when a person approved the plan.
  plan::Permit permit(bool approved) const;
  plan::PlanHead head(const LinkContext& context) const;
  /// The plan with the permitted changes as text. Errors  those of the sink; kCancelled.
  Status write(const plan::PlanHead& head, const plan::Permit& permitted, const plan::PlanWriter::Sink& sink,
               const Call& call) const;
};

plan::Rules rules_for(const LinkContext& context);

/// The complete listings of both sides, each with its proof.
struct Listings {
  plan::Snapshot hub;
  plan::Snapshot external;
};

/// Ends what a crashed run left behind, then lists both sides at the same time. Changes nothing but a blob container
/// that it removes again.
Result<Listings> list_both(LinkContext& context, const plan::Rules& rules, const Call& call);

/// Lists both sides and compares.
///
/// A list proves itself by its pages; before a delete is planned, some of the devices are also looked up in the
/// external system one by one, and then its first page once more. If one of them is there, or the first page has no
/// devices any more, the list is not proven and no device is deleted.
Result<std::unique_ptr<PlannedLink>> plan_link(LinkContext& context, const Call& call);

/// True when the external system surely lacks the device, or cannot look it up. False: it is there.
Result<bool> confirmed_absent(LinkContext& context, const plan::Change& change, const Call& call);

}  // namespace twinstep::workflows
