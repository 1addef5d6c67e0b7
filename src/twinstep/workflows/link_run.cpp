#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "twinstep/base/crash_point.h"
#include "twinstep/base/time_format.h"
#include "twinstep/base/units.h"
#include "twinstep/plan/plan_json.h"
#include "twinstep/workflows/claim_watch.h"
#include "twinstep/workflows/job_container.h"
#include "twinstep/workflows/link_run.h"
#include "twinstep/workflows/plan_match.h"
#include "twinstep/workflows/runs.h"

namespace twinstep::workflows {
namespace {

using plan::Op;
using store::Finish;

/// A remote or the store that is away: longer than most outages; then the next run of the schedule is as good.
const config::RetrySettings kRunRetry{Millis{30'000}, Millis{600'000}, 20, Millis{24 * 3600'000}};
constexpr Millis kLockWait{30'000};
constexpr Millis kStoreTime{15'000};
constexpr Millis kAbandonTime{20'000};  // cancelling the jobs of a run that a person ended

constexpr std::string_view kPlanStep = "plan";
constexpr std::string_view kApprovedStep = "approved";
constexpr std::string_view kApplyingStep = "applying";    // {"plan":ID}: from here on some of it may be done
constexpr std::string_view kPermittedStep = "permitted";  // {"plan":ID}: all that may be done without approval is done
constexpr std::string_view kReportStep = "report";

std::string text_in(const std::string* step, std::string_view member) {
  if (!step) return {};
  const auto value = json::parse(*step, "a step");
  const json::object* o = value ? value->if_object() : nullptr;
  return o ? std::string(json::string_or(*o, member)) : std::string();
}

std::string plan_step(const plan::PlanHead& head) {
  json::object all = plan::head_object(head);
  return json::write(json::object{{"plan", all["id"]},
                                  {"expires", all["expires"]},
                                  {"counts", all["counts"]},
                                  {"verdict", all["guard"]},
                                  {"why_withheld", all["withheld"]},
                                  {"problems", all["problems"]}});
}

/// "created 3, deleted 1, failed 2"
std::string summary(const std::map<Op, ApplyReport::Row>& rows) {
  std::string out;
  const auto add = [&](std::string_view what, uint64_t count) {
    if (count > 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", what, format_count(count));
  };
  uint64_t failed = 0, skipped = 0;
  for (const auto& [op, row] : rows) {
    const std::string_view name = plan::to_string(op);
    add(fmt::format("{}{}", name, name.ends_with('e') ? "d" : "ed"), row.done);
    failed += row.failed;
    skipped += row.skipped;
  }
  add("failed", failed);
  add("skipped", skipped);
  return out.empty() ? "nothing to do" : out;
}

std::string tripped_text(const plan::Verdict& verdict) {
  std::string out;
  for (const plan::Tripped& one : verdict.tripped) out += (out.empty() ? "" : "; ") + one.text;
  return out;
}

/// Would a person's approval change anything? A list that is empty or not proven is mended, not approved.
bool approvable(const plan::PlanHead& head, const PlannedLink& planned) {
  if (planned.comparison->external_empty()) return false;
  const auto whole = count_changes(head.counts, planned.permit(true));
  if (whole.changes() > count_changes(head.counts, head.verdict.permit).changes()) return true;
  for (const plan::Tripped& one : head.verdict.tripped)
    if (one.rule == "shrink") return planned.why_withheld.empty();  // the new size is what is approved
  return false;
}

/// The plan of a run, read back from the store; its file loses its name as soon as it is open.
Result<plan::PlanReader> stored_plan(LinkContext& context, store::RunStore& runs, const store::WorkflowId& run,
                                     const Call& call) {
  const std::string path =
      fmt::format("{}/twinstep-plan-{}-{}", context.temporary_folder, ::getpid(), context.rng.hex_id());
  TRY_ASSIGN(plan::PlanFileSink file, plan::PlanFileSink::create(path));
  TRY(runs.read_plan(
      run, [&](std::string_view piece) { return file.write(piece); }, call));
  TRY(file.close());
  auto reader = plan::PlanReader::open(path);
  ::unlink(path.c_str());
  return reader;
}

/// One claim of a run.
class Run final : public ClaimWatch {
 public:
  Run(const LinkContext& context, engine::Attempt& attempt, store::RunStore& runs)
      : ClaimWatch(attempt, context), context_(context), runs_(runs), id_(attempt.workflow().id) {
    context_.watch = this;
  }

  Finish work() {
    auto ended = attempt_.workflow().cancel_asked ? Result<Finish>(cancel()) : go_on();
    Finish finish = ended ? std::move(*ended) : end(ended.error());
    tell(finish);
    return finish;
  }

  Status record(const std::vector<store::JournalEntry>& entries) override {
    std::vector<store::DeviceOutcome> outcomes;
    for (const store::JournalEntry& one : entries) outcomes.push_back({one.device, one.op, one.outcome, one.reason});
    // Without a stop token: what was done to the hub should be known before the process ends.
    TRY(runs_.record(id_, outcomes, {context_.clock.steady_now() + kStoreTime, {}}));
    tell_of(outcomes);
    return {};
  }

 private:
  /// What this claim does: changes of a plan.
  struct Work {
    std::unique_ptr<PlannedLink> fresh;
    std::optional<plan::PlanReader> stored;  // empty: the plan is the one just made
    plan::PlanHead head;
    bool approved = false;
    bool resumed = false;  // some of it may be done
  };

  /// An event for every device that was made or deleted in the hub.
  void tell_of(const std::vector<store::DeviceOutcome>& outcomes) const {
    if (!tells()) return;
    for (const store::DeviceOutcome& one : outcomes) {
      const bool made = one.op == plan::to_string(Op::kCreate);
      if (one.outcome != "done" || (!made && one.op != plan::to_string(Op::kDelete))) continue;
      obs::Event event = about(made ? "IoTHubDeviceCreated" : "IoTHubDeviceDeleted");
      event.properties.emplace_back("deviceId", one.device.value);
      emit(event);
    }
  }

  Finish stopped() { return leaving() ? left_to_another() : cancel(); }
  Finish left_to_another() { return attempt_.again(Millis{0}, "left to another process"); }

  Finish cancel() {
    const Call call{context_.clock.steady_now() + kAbandonTime, {}, this};
    // The jobs of a command that has the link are not the run's to end.
    Status gone = take_lock(call);
    if (gone) gone = abandon_jobs(context_, call);
    if (!gone)
      spdlog::warn("run.left_behind run={} reason=\"{}\" next=\"the next run of link {} cleans up\"", id_.value,
                   gone.error().what, context_.link.name);
    return attempt_.cancelled("cancelled");
  }

  /// An earlier claim of this run may have the lock still, by a lease: it is this run's, and that claim is over.
  Status take_lock(const Call& call) {
    if (!context_.locks || locked()) return {};
    const std::string who = store::who_in_this_process(fmt::format("run {}", id_.value));
    TRY_ASSIGN(auto lock, context_.locks->take(context_.link.name, {"run/" + id_.value, who}, call));
    set_lock(std::move(lock));
    return {};
  }

  Result<Finish> go_on() {
    if (const std::string* report = attempt_.saved(kReportStep)) return reported(*report);
    TRY(take_lock(call_));
    const SteadyTime began = context_.clock.steady_now();
    Work work;
    // A plan of which nothing was done and which nobody approved is made anew.
    const std::string* approval = attempt_.saved(kApprovedStep);
    work.approved = approval != nullptr;
    work.resumed = is_of_plan(kApplyingStep);
    const bool permitted = is_of_plan(kPermittedStep);
    if (work.approved || work.resumed || permitted) {
      TRY_ASSIGN(auto stored, stored_plan(context_, runs_, id_, call_));
      work.head = stored.head();
      work.stored.emplace(std::move(stored));
      if (work.approved && text_in(approval, "plan") != work.head.id.value)
        return attempt_.failed(
            fmt::format("the approval is not for plan {}; start a new run and look at its plan", work.head.id.value),
            "plan.approval");
      if (permitted && !work.approved) return blocked(work.head);
    }
    TRY_ASSIGN(work.fresh, plan_link(context_, call_));
    if (work.stored) {
      const ChangeSource changes = changes_of(*work.fresh, work.fresh->permit(true));
      TRY_ASSIGN(const std::string stale, why_stale(*work.stored, *work.fresh, changes, work.resumed));
      if (!stale.empty() && work.approved)
        return attempt_.failed(fmt::format("plan {}, which was approved, is stale: {}; nothing of it was changed since "
                                           "then. The next run makes a new plan",
                                           work.head.id.value, stale),
                               "plan.stale");
      if (!stale.empty()) {
        attempt_.note("planned again", stale);
        work.stored.reset();
        work.resumed = false;
      }
    }
    if (!work.stored) TRY(keep_plan(work));
    planning_ = since(began);
    return apply(work);
  }

  Status keep_plan(Work& work) {
    const PlannedLink& planned = *work.fresh;
    work.head = planned.head(context_);
    TRY(runs_.put_plan(
        id_,
        [&](const store::RunStore::TextSink& sink) {
          return planned.write(work.head, planned.permit(true), sink, call_);
        },
        call_));
    TRY(attempt_.save(kPlanStep, plan_step(work.head), "planned"));
    crash_point("run.planned");
    return {};
  }

  /// Was the step saved for the plan that is kept now?
  bool is_of_plan(std::string_view step) const {
    const std::string plan = text_in(attempt_.saved(kPlanStep), "plan");
    return !plan.empty() && text_in(attempt_.saved(step), "plan") == plan;
  }

  ChangeSource changes_of(const PlannedLink& fresh, const plan::Permit& permit) {
    return
        [this, &fresh, permit](const plan::ChangeSink& sink) { return fresh.comparison->changes(permit, sink, call_); };
  }

  Result<Finish> apply(const Work& work) {
    const SteadyTime began = context_.clock.steady_now();
    const plan::Permit all = work.fresh->permit(true);
    const plan::Permit guard = work.approved ? all : work.head.verdict.permit;
    ChangeSource changes = changes_of(*work.fresh, {all.deletes && guard.deletes, all.updates && guard.updates});
    if (work.resumed) {
      TRY(record_done_before(work));
      changes = still_to_do(*work.stored, changes);
    }
    RunOutcome outcome;
    TRY_ASSIGN(outcome.made, count_changes(changes));
    outcome.counts = work.head.counts;
    outcome.verdict = work.head.verdict;
    outcome.approved = work.approved;
    outcome.why_withheld = work.fresh->why_withheld;
    outcome.estimate = estimate(context_, outcome.made);
    if (outcome.made.changes() > 0) {
      if (!work.resumed)
        TRY(attempt_.save(kApplyingStep, json::write(json::object{{"plan", work.head.id.value}}), "applying"));
      TRY_ASSIGN(outcome.report,
                 apply_changes(context_, work.head.id, outcome.made, changes, work.fresh->confirmed, call_));
      if (outcome.report.interrupted) return stopped();
    }
    crash_point("run.applied");
    const ApplyReport& report = outcome.report;
    const uint64_t settled = report.done_count() + report.failed_count() + report.skipped_count();
    const uint64_t open = outcome.made.changes() - std::min(settled, outcome.made.changes());
    TRY(count_outcomes(outcome.report));
    if (!work.head.verdict.ok() && !work.approved && approvable(work.head, *work.fresh)) {
      TRY(attempt_.save(kPermittedStep, json::write(json::object{{"plan", work.head.id.value}})));
      return blocked(work.head);
    }
    TRY(remember_good_run(context_, *work.fresh, outcome));
    return ended(outcome, open, since(began));
  }

  /// What an earlier claim did and could not write down any more: an import job went on, or the process was killed.
  Status record_done_before(const Work& work) {
    const bool proven = work.fresh->why_withheld.empty();
    std::vector<store::DeviceOutcome> outcomes;
    const auto flush = [&]() -> Status {
      if (outcomes.empty()) return {};
      TRY(runs_.record(id_, outcomes, call_));
      tell_of(std::exchange(outcomes, {}));
      return {};
    };
    TRY(done_before(*work.stored, changes_of(*work.fresh, {}))([&](const plan::Change& change) -> Status {
      // Where deletes are withheld now, it is not known whether they were made.
      if (!proven && (change.op == Op::kDelete || change.op == Op::kDisable)) return {};
      outcomes.push_back({change.id, std::string(plan::to_string(change.op)), "done", ""});
      return outcomes.size() < 100 ? Status{} : flush();
    }));
    return flush();
  }

  /// The report's rows become those of the whole run, all claims together.
  Status count_outcomes(ApplyReport& report) {
    TRY_ASSIGN(const auto counts, runs_.counts(id_, call_));
    report.rows.clear();
    for (const store::RunStore::Count& count : counts) {
      const auto op = plan::op_from(count.op);
      if (!op) continue;
      ApplyReport::Row& row = report.rows[*op];
      (count.outcome == "done" ? row.done : count.outcome == "failed" ? row.failed : row.skipped) += count.devices;
    }
    return {};
  }

  Finish blocked(const plan::PlanHead& head) {
    return attempt_.blocked(
        fmt::format("blocked: {}; no more is changed until plan {} is approved: twinstep approve {}",
                    tripped_text(head.verdict), head.id.value, id_.value),
        "guard." + head.verdict.tripped.front().rule, context_.link.plan_lifetime);
  }

  /// How the run ended goes into the report, so that it ends the same way when only this was not heard any more.
  Result<Finish> ended(const RunOutcome& outcome, uint64_t open, Millis applying) {
    const ApplyReport& report = outcome.report;
    std::string status = summary(report.rows), code;
    const auto add = [&](std::string_view why, std::string_view text) {
      if (code.empty()) code = why;
      status += fmt::format("; {}", text);
    };
    if (!report.deletes_stopped.empty()) add("run.deletes-stopped", report.deletes_stopped);
    if (!outcome.verdict.ok() && !outcome.approved)
      add("guard." + outcome.verdict.tripped.front().rule, tripped_text(outcome.verdict));
    else if (!outcome.why_withheld.empty())
      add("guard.withheld", "deletes are withheld: " + outcome.why_withheld.front());
    if (report.failed_count() > 0) add("run.some-failed", "the next run tries the failed devices again");
    if (open > 0)
      add("run.unsettled", fmt::format("{} were not settled; the next run looks at them", format_count(open)));
    json::object rows;
    for (const auto& [op, row] : report.rows)
      rows[plan::to_string(op)] = json::object{{"done", row.done}, {"failed", row.failed}, {"skipped", row.skipped}};
    const std::string step = json::write(json::object{{"rows", std::move(rows)},
                                                      {"method", to_string(outcome.estimate.method)},
                                                      {"calls", outcome.estimate.calls},
                                                      {"estimated_ms", outcome.estimate.time.count()},
                                                      {"planning_ms", planning_.count()},
                                                      {"applying_ms", applying.count()},
                                                      {"status", std::move(status)},
                                                      {"code", std::move(code)}});
    TRY(attempt_.save(kReportStep, step));
    return reported(step);
  }

  Finish reported(const std::string& step) {
    std::string status = text_in(&step, "status"), code = text_in(&step, "code");
    return code.empty() ? attempt_.done(std::move(status)) : attempt_.failed(std::move(status), std::move(code));
  }

  Finish end(const Error& error) {
    // Another claim goes on, unless a person ends it: then the store makes that of it.
    if (call_.stop.stop_requested()) return stopped();
    if (error.code == "store.lease-lost" || error.code == "call.not-ours") return left_to_another();
    if (error.code == "link.busy") return attempt_.again(kLockWait, error.what);
    if (error.code == "hub.job-timeout" || error.code == "hub.job-failed") return job_trouble(error);
    if (error.transient() || error.kind == ErrorKind::kCancelled) {
      if (auto again = attempt_.retry(kRunRetry, error, error.what)) return std::move(*again);
      return attempt_.failed("given up after many tries: " + error.what, error.code);
    }
    if (error.kind == ErrorKind::kDenied)
      return attempt_.failed(error.what + "; mend the credentials or rights (`twinstep check` names them)", error.code);
    return attempt_.failed(error.what, error.code);
  }

  Millis since(SteadyTime began) const {
    return std::chrono::duration_cast<Millis>(context_.clock.steady_now() - began);
  }

  LinkContext context_;
  store::RunStore& runs_;
  const store::WorkflowId id_;
  Millis planning_{0};
};

}  // namespace

Finish run_link(LinkContext& context, engine::Attempt& attempt, store::RunStore& runs) {
  return Run(context, attempt, runs).work();
}

}  // namespace twinstep::workflows
