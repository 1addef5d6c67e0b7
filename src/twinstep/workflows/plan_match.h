#pragma once

#include <string>

#include "twinstep/workflows/apply.h"

/// A plan that was made before, against what a fresh look at both sides shows (docs/adr/0002): the plan says what may
/// be done, the fresh comparison says what is still different and with which ETags.
namespace twinstep::workflows {

/// Why the plan does not fit the fresh listings; empty = it does. `changes` are those of `fresh` that may be made. When
/// some of the plan was carried out before (`resumed`), the hub differs by our own writes and is not looked at.
Result<std::string> why_stale(const plan::PlanReader& plan, const PlannedLink& fresh, const ChangeSource& changes,
                              bool resumed);

/// The fresh changes that are in the plan too. The plan's ids are kept in memory while it runs. `plan` outlives it.
ChangeSource still_to_do(const plan::PlanReader& plan, const ChangeSource& fresh);
/// The plan's changes of devices that show no difference any more: they were made. As the plan holds them.
ChangeSource done_before(const plan::PlanReader& plan, const ChangeSource& fresh);

plan::Counts count_changes(const plan::Counts& all, const plan::Permit& permit);
Result<plan::Counts> count_changes(const ChangeSource& changes);

}  // namespace twinstep::workflows
