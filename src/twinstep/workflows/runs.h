#pragma once

#include "twinstep/workflows/apply.h"

namespace twinstep::workflows {

/// What came out of `apply` or `sync`.
struct RunOutcome {
  plan::Counts counts;    ///< of the plan
  plan::Counts made;      ///< of the changes that were permitted
  plan::Verdict verdict;  ///< what the guard said
  bool approved = false;
  Estimate estimate;
  ApplyReport report;
  std::vector<std::string> why_withheld;
  std::vector<plan::Problem> problems;  ///< of the listings, as in the plan
};

/// Keeps the sizes of a run that went well, for the limits of the next one.
Status remember_good_run(LinkContext& context, const PlannedLink& planned, const RunOutcome& outcome);

/// Hears the plan and the estimate before anything is changed.
using BeforeApply = std::function<void(const RunOutcome&)>;

/// Executes exactly the plan in the file, once.
///
/// Refuses before any write (kInvalid "plan.*"): another link's or hub's plan, expired, used, edited, or stale (the
/// fresh listings differ from those of the plan). A plan that the guard blocked needs `approved_id` equal to its id;
/// without it kConflict "plan.blocked". After a crash the same call goes on: what is done is recognized and not done
/// again.
Result<RunOutcome> apply_plan(LinkContext& context, const std::string& path, const std::string& approved_id,
                              const BeforeApply& before, const Call& call);

/// Plans and makes what the guard permits.
Result<RunOutcome> synchronize(LinkContext& context, const BeforeApply& before, const Call& call);

}  // namespace twinstep::workflows
