#pragma once

#include <functional>
#include <string>
#include <vector>

#include "twinstep/engine/attempt.h"
#include "twinstep/store/run_store.h"
#include "twinstep/workflows/link_context.h"

namespace twinstep::workflows {

/// Keeps what became of devices, as RunStore::record() does for the sweep's run.
using RecordOutcomes = std::function<Status(const std::vector<store::DeviceOutcome>&)>;

/// Works on one claim of a sweep (docs/durability.md, "Sweeps"): lists both sides, compares them with the hub as master
/// and starts a device task for every device that is missing outside, and for every orphan outside that the link wants
/// deleted, that twinstep made, and that the guard lets go. Writes to neither side itself.
///
/// Steps, besides "approved" (link_run.h):
///   "plan"    {"plan","expires","counts","verdict","why_withheld","problems","held"}; `held`, null or an object, says
///             which deletes wait or are given up: {"from","count","orphans","code","status","approvable"}
///   "cursor"  {"after","create","delete","reported","approved","rest"}: how far tasks were started
///   "report"  {"counts","tasks":{"create","delete"},"why_withheld","status"}
///
/// Outcomes: op "create" or "delete" outcome "task"; op "orphan" or "update" (a value differs) outcome "reported", the
/// first 10,000 of these.
store::Finish run_sweep(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store,
                        const RecordOutcomes& record);

}  // namespace twinstep::workflows
