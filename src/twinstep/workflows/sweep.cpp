#include "twinstep/workflows/sweep.h"

#include <spdlog/spdlog.h>

#include "twinstep/base/crash_point.h"
#include "twinstep/base/time_format.h"
#include "twinstep/base/units.h"
#include "twinstep/plan/plan_json.h"
#include "twinstep/plan/sweep.h"
#include "twinstep/workflows/claim_watch.h"
#include "twinstep/workflows/device_task.h"
#include "twinstep/workflows/job_container.h"
#include "twinstep/workflows/planning.h"
#include "twinstep/workflows/sweep_steps.h"

namespace twinstep::workflows {
namespace {

using plan::Difference;
using store::Finish;

constexpr size_t kPage = 500;               // differences between two saves of the cursor
constexpr uint64_t kMostReported = 10'000;  // outcomes of devices that nothing is done about: they come again each time
constexpr Millis kAbandonTime{20'000};      // cancelling the job of a sweep that a person ended
constexpr config::RetrySettings kRetry{Millis{30'000}, Millis{600'000}, 20, Millis{24ll * 3'600'000}};

std::string counted(uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", format_count(count), count == 1 ? one : many);
}

class SweepRun final : public ClaimWatch {
 public:
  SweepRun(const LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store,
           const RecordOutcomes& record)
      : ClaimWatch(attempt, context), context_(context), store_(store), record_(record) {
    context_.watch = this;
  }

  Finish run() {
    auto ended = attempt_.workflow().cancel_asked ? Result<Finish>(cancel()) : work();
    Finish finish = ended ? std::move(*ended) : trouble(std::move(ended).error());
    tell(finish);
    return finish;
  }

  /// A sweep writes to no device.
  Status record(const std::vector<store::JournalEntry>&) override { return {}; }

 private:
  Finish left_to_another() { return attempt_.again(Millis{0}, "left to another process"); }

  Finish cancel() {
    if (auto gone = abandon_jobs(context_, {context_.clock.steady_now() + kAbandonTime, {}, this}); !gone)
      spdlog::warn("run.left_behind run={} reason=\"{}\" next=\"the next sweep of link {} cleans up\"",
                   attempt_.workflow().id.value, gone.error().what, context_.link.name);
    return attempt_.cancelled("cancelled");
  }

  Result<Finish> work() {
    TRY_ASSIGN(steps_, read_sweep_steps(attempt_));
    if (steps_.status) return attempt_.done(*steps_.status);
    plan::Rules rules = rules_for(context_);
    rules.copy_secrets = false;  // a sweep compares no secrets
    TRY_ASSIGN(const Listings listed, list_both(context_, rules, call_));
    TRY_ASSIGN(const plan::Sweep found, plan::sweep(
                                            listed.hub, listed.external, rules, {.folder = context_.temporary_folder},
                                            [&](const std::vector<std::string>& keys) {
                                              return store_.made_outside(context_.link.name, keys, call_);
                                            },
                                            call_));
    if (steps_.approved_plan) return delete_approved(found);
    TRY(decide(found));
    crash_point("sweep.planned");
    TRY(start_tasks(found));
    if (steps_.held && steps_.held->approvable)
      return attempt_.blocked(steps_.held->status, steps_.held->code, context_.link.plan_lifetime);
    return report(found);
  }

  bool wants_deletes() const { return context_.link.deletes == config::Deletes::kDelete; }

  /// Saves what is to be done. Whether deletes are held is decided once: a claim after a crash goes on with it.
  Status decide(const plan::Sweep& found) {
    const bool first = steps_.plan.empty();
    if (first) steps_.plan = attempt_.rng().hex_id();
    plan::Verdict verdict;
    plan::KeySet orphans;
    TRY_ASSIGN(const int64_t owned, store_.ledger_count(context_.link.name, call_));
    TRY_ASSIGN(const auto last, context_.state.last_run(state_name()));
    if (wants_deletes()) {
      TRY_ASSIGN(orphans, owned_orphans(found, steps_.held ? steps_.held->from : steps_.cursor.after));
    }
    verdict = plan::check_sweep_limits(
        {steps_.cursor.deletes + orphans.size(), static_cast<uint64_t>(owned), found.counts().hub_devices},
        context_.link.limits, last, found.why_withheld());
    if (!steps_.held && orphans.size() > 0 && !verdict.permit.deletes)
      steps_.held = held_by(verdict, orphans, found.why_withheld().empty());
    json::object step;
    step["plan"] = steps_.plan;
    step["expires"] = format_iso_seconds(context_.clock.system_now() + context_.link.plan_lifetime);
    step["counts"] = plan::to_json(found.counts());
    step["verdict"] = plan::verdict_object(verdict);
    step["why_withheld"] = plan::texts_array(found.why_withheld());
    step["problems"] = plan::problems_array(found.problems());
    step["held"] = to_json(steps_.held);
    if (!verdict.ok()) warning_ = verdict.tripped.front().text;
    return attempt_.save("plan", json::write(step), first ? "planned" : "");
  }

  HeldDeletes held_by(const plan::Verdict& verdict, const plan::KeySet& orphans, bool proven) const {
    HeldDeletes held{steps_.cursor.after, orphans.size(), orphans.digest(), {}, {}, proven};
    for (const plan::Tripped& one : verdict.tripped) {
      if (held.code.empty()) held.code = "guard." + one.rule;
      held.status += (held.status.empty() ? "" : "; ") + one.text;
    }
    if (proven)
      held.status += fmt::format(". To let the deletes go: twinstep approve {}", attempt_.workflow().id.value);
    return held;
  }

  Result<plan::KeySet> owned_orphans(const plan::Sweep& found, std::string_view after) const {
    plan::KeySet out;
    TRY(found.differences(
        after,
        [&](const Difference& difference) -> Status {
          if (difference.owned) out.add(difference.key);
          return {};
        },
        call_));
    return out;
  }

  /// The deletes that a person let go, and no others.
  Result<Finish> delete_approved(const plan::Sweep& found) {
    SweepCursor& cursor = steps_.cursor;
    if (!steps_.held || *steps_.approved_plan != steps_.plan)
      return attempt_.failed(fmt::format("the approval is for plan {}, this sweep's plan is {}; nothing was deleted",
                                         *steps_.approved_plan, steps_.plan),
                             "plan.approval");
    if (!cursor.approved) {
      cursor.approved = true;
      cursor.after = steps_.held->from;
      cursor.rest = steps_.held->orphans;
    }
    const std::string_view what = cursor.deletes > 0 ? "no further orphan was deleted" : "no orphan was deleted";
    if (!wants_deletes())
      return attempt_.failed(fmt::format("the link does not say `deletes: delete` any more; {}", what), "plan.stale");
    if (!found.why_withheld().empty())
      return attempt_.failed(
          fmt::format("{}: {}; mend the list, the next sweep makes a new plan", what, found.why_withheld().front()),
          found.hub_empty() ? "guard.empty" : "guard.withheld");
    TRY_ASSIGN(approved_rest_, owned_orphans(found, cursor.after));
    if (approved_rest_.digest() != cursor.rest)
      return attempt_.failed(
          fmt::format("plan {} is stale: other orphans would be deleted now than were approved; {}. The next sweep "
                      "makes a new plan",
                      steps_.plan, what),
          "plan.stale");
    TRY(start_tasks(found));
    return report(found);
  }

  /// Starts the tasks of every difference beyond the cursor, in pages.
  Status start_tasks(const plan::Sweep& found) {
    TRY(found.differences(
        steps_.cursor.after,
        [&](const Difference& difference) -> Status {
          if (steps_.cursor.approved && !difference.owned) return {};
          take(difference);
          return ++in_page_ < kPage ? Status{} : end_page();
        },
        call_));
    return in_page_ > 0 ? end_page() : Status{};
  }

  void take(const Difference& difference) {
    SweepCursor& cursor = steps_.cursor;
    cursor.after = difference.key;
    if (difference.kind == Difference::Kind::kMissingOutside) {
      ++cursor.creates;
      add_task(difference, "create");
    } else if (difference.owned && wants_deletes() && (cursor.approved || !steps_.held)) {
      ++cursor.deletes;
      if (cursor.approved) approved_rest_.remove(difference.key);
      add_task(difference, "delete");
    } else if (cursor.reported < kMostReported) {
      ++cursor.reported;
      const bool orphan = difference.kind == Difference::Kind::kOrphan;
      outcomes_.push_back({difference.device, orphan ? "orphan" : "update", "reported",
                           difference.reason + (orphan ? why_left(difference) : "; nothing can update it outside")});
    }
  }

  std::string why_left(const Difference& difference) const {
    if (!difference.owned) return ": left alone";
    if (steps_.held) return steps_.held->approvable ? "; its delete waits for approval" : "; its delete is withheld";
    return fmt::format("; the link says deletes: {}", context_.link.deletes == config::Deletes::kDisable
                                                          ? "disable, which cannot be done outside"
                                                          : "never");
  }

  void add_task(const Difference& difference, std::string_view op) {
    DeviceHint hint;
    hint.device = difference.device;
    hint.source = fmt::format("sweep {}", attempt_.workflow().id.value);
    store::NewWorkflow task = device_task(context_.link, context_.external, hint, attempt_.rng());
    // One that is at work on the device needs no hint from a list that is older than what it reads. To join it would
    // make it due and forget its counted tries: a task that waits for tags would never give up under a schedule.
    task.on_busy = store::OnBusy::kSkip;
    tasks_.push_back(std::move(task));
    outcomes_.push_back({difference.device, std::string(op), "task", difference.reason});
  }

  Status end_page() {
    if (!outcomes_.empty()) TRY(record_(outcomes_));
    if (steps_.cursor.approved) steps_.cursor.rest = approved_rest_.digest();
    TRY(store_.start_with_step(attempt_.workflow(), "cursor", json::write(to_json(steps_.cursor)), tasks_, call_));
    crash_point("sweep.tasks");
    context_.progress.counted("device tasks started", steps_.cursor.creates + steps_.cursor.deletes, {});
    outcomes_.clear();
    tasks_.clear();
    in_page_ = 0;
    return {};
  }

  Result<Finish> report(const plan::Sweep& found) {
    const bool all_done = !steps_.held || steps_.cursor.approved;
    if (all_done && found.why_withheld().empty()) {
      TRY_ASSIGN(const int64_t owned, store_.ledger_count(context_.link.name, call_));
      TRY(context_.state.remember_run(
          state_name(), {found.counts().hub_devices, static_cast<uint64_t>(owned), context_.clock.system_now()}));
    }
    const bool no_disable = context_.link.deletes == config::Deletes::kDisable && found.counts().orphans_owned > 0;
    if (no_disable)
      attempt_.note("orphans only reported", "deletes: disable cannot be done outside; say delete or never");
    const std::string status = status_of(found.counts());
    json::object step;
    step["counts"] = plan::to_json(found.counts());
    step["tasks"] = json::object{{"create", steps_.cursor.creates}, {"delete", steps_.cursor.deletes}};
    step["why_withheld"] = plan::texts_array(found.why_withheld());
    step["status"] = status;
    TRY(attempt_.save("report", json::write(step)));
    return attempt_.done(status);
  }

  std::string status_of(const plan::SweepCounts& counts) const {
    std::string out;
    const auto add = [&out](std::string text) { out += (out.empty() ? "" : ", ") + std::move(text); };
    if (counts.missing_outside > 0) add(counted(counts.missing_outside, "device", "devices") + " missing outside");
    if (counts.orphans > 0)
      add(fmt::format("{} ({} of ours)", counted(counts.orphans, "orphan", "orphans"),
                      format_count(counts.orphans_owned)));
    if (counts.differing > 0) add(counted(counts.differing, "device differs", "devices differ"));
    if (out.empty()) out = counted(counts.in_step, "device", "devices") + " in step";
    const uint64_t tasks = steps_.cursor.creates + steps_.cursor.deletes;
    if (tasks > 0) out += ": " + counted(tasks, "task", "tasks");
    const bool given_up = steps_.held && !steps_.cursor.approved;
    if (const std::string& warning = given_up ? steps_.held->status : warning_; !warning.empty()) out += "; " + warning;
    return out;
  }

  Finish trouble(Error error) {
    // Another claim goes on, also with the hub's job, unless a person ends it.
    if (call_.stop.stop_requested()) return leaving() ? left_to_another() : cancel();
    if (error.code == "store.lease-lost" || error.code == "call.not-ours") return left_to_another();
    if (error.code == "hub.job-timeout" || error.code == "hub.job-failed") return job_trouble(error);
    if (!error.transient()) return attempt_.failed(error.what, error.code);
    if (auto again = attempt_.retry(kRetry, error, error.what)) return std::move(*again);
    return attempt_.failed(fmt::format("given up after {} tries: {}", attempt_.workflow().attempt + 1, error.what),
                           error.code);
  }

  std::string state_name() const { return "sweep/" + context_.link.name; }

  LinkContext context_;
  store::WorkflowStore& store_;
  const RecordOutcomes& record_;
  SweepSteps steps_;
  plan::KeySet approved_rest_;
  std::string warning_;  // the guard's
  std::vector<store::NewWorkflow> tasks_;
  std::vector<store::DeviceOutcome> outcomes_;
  size_t in_page_ = 0;
};

}  // namespace

Finish run_sweep(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store,
                 const RecordOutcomes& record) {
  return SweepRun(context, attempt, store, record).run();
}

}  // namespace twinstep::workflows
