#pragma once

#include <string>
#include <string_view>

#include "twinstep/engine/attempt.h"
#include "twinstep/store/run_store.h"
#include "twinstep/workflows/link_context.h"

/// Synchronizations of a link as durable workflows: kind "run" where the external system is the master, kind "sweep"
/// where the hub is. Their steps, as stored and shown:
///
///   "plan"      {"plan":ID,"expires":TIME,"counts":{...},"verdict":{...},"why_withheld":[...],"problems":[...]}
///   "approved"  {"plan":ID,"by":TEXT}, saved by WorkflowStore::unblock() when a person let a blocked run go on
///   "applying"  {"plan":ID}: from here on some of the plan may be done
///   "permitted" {"plan":ID}: what the guard permits of a blocked plan is done
///   "report"    {"rows":{OP:{"done":N,"failed":N,"skipped":N}},"method":TEXT,"calls":N,"estimated_ms":N,
///                "planning_ms":N,"applying_ms":N,"status":TEXT,"code":TEXT}, of the whole run, all claims together
namespace twinstep::workflows {

/// Of all runs and sweeps of a hub's links, which share its one import or export job: "run/HUB".
std::string run_lane(std::string_view hub);
/// One run of a link at a time: "run/LINK".
std::string run_key(std::string_view link);

/// A run or sweep of the link, ready for WorkflowStore::start() or fire_schedule(). `trigger` is for people:
/// "schedule", "http", "api". While one of the link is active, another is skipped or queued, as the link's `overlap`
/// says.
store::NewWorkflow link_workflow(const config::Link& link, std::string_view trigger, Rng& rng);

/// Works on one claim of a run: plans, makes what the guard permits, waits for an approval where it permits less, makes
/// the rest. Goes on where an earlier claim ended, however that ended.
///
/// Ends      done; blocked "guard.RULE"; failed "guard.RULE" where an approval would change nothing (a list that is
/// empty
///           or not proven complete), "run.some-failed", "run.deletes-stopped", "run.unsettled", "plan.stale" and
///           "plan.approval" of an approved one, "IoTHubJobFailed", or with the code of a remote's refusal.
/// Blocking  until the claim ends: hours, where a job of the hub is waited for.
store::Finish run_link(LinkContext& context, engine::Attempt& attempt, store::RunStore& runs);

/// Works on one claim of a sweep: compares the other way round and starts a device task for every difference.
store::Finish sweep_link(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store,
                         store::RunStore& runs);

}  // namespace twinstep::workflows
