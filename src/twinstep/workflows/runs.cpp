#include "twinstep/workflows/runs.h"

#include "twinstep/base/time_format.h"
#include "twinstep/config/values.h"
#include "twinstep/workflows/plan_match.h"

namespace twinstep::workflows {
namespace {

tl::unexpected<Error> refuse(const char* code, std::string text) {
  return fail(ErrorKind::kInvalid, code, std::move(text) + "; nothing was changed. Make a new plan");
}

/// Is the plan for this link as it is configured now? Names compare without case, as in the configuration.
Status check_head(const LinkContext& context, const plan::PlanHead& head, const std::string& path) {
  const auto other = [&](const char* code, const char* what, const std::string& planned, const std::string& now) {
    return refuse(code, fmt::format("{}: plan {} of link {} is for {} {}, but {} {} is configured", path, head.id.value,
                                    head.link, what, planned, what, now));
  };
  const auto same = config::same_name;
  if (!same(head.link, context.link.name)) return other("plan.other-link", "link", head.link, context.link.name);
  if (!same(head.hub, context.hub.host())) return other("plan.other-hub", "hub", head.hub, context.hub.host());
  if (!same(head.external, context.link.external))
    return other("plan.other-external", "external system", head.external, context.link.external);
  return {};
}

/// Is a plan of this state, age and content one that may be executed?
Status check_record(const LinkContext& context, const plan::PlanReader& reader,
                    const std::optional<store::PlanRecord>& known) {
  const plan::PlanHead& head = reader.head();
  if (known && known->digest != reader.digest())
    return refuse("plan.edited",
                  fmt::format("plan {} is not the one that was made: its content differs", head.id.value));
  if (known && known->state == store::PlanState::kUsed)
    return refuse("plan.used", fmt::format("plan {} has been applied already", head.id.value));
  const bool resumed = known && known->state == store::PlanState::kApplying;
  if (!resumed && context.clock.system_now() > head.expires)
    return refuse("plan.expired",
                  fmt::format("plan {} expired at {}", head.id.value, format_iso_seconds(head.expires)));
  return {};
}

/// Did the guard let the plan pass, or a person?
Result<bool> check_approval(const plan::PlanHead& head, const std::string& path, const std::string& approved_id) {
  const bool approved = !approved_id.empty() && approved_id == head.id.value;
  if (!approved_id.empty() && !approved)
    return refuse("plan.approval",
                  fmt::format("the approval is for plan {}, this is plan {}", approved_id, head.id.value));
  if (head.verdict.ok() || approved) return approved;
  std::string why;
  for (const auto& tripped : head.verdict.tripped) why += "\n  " + tripped.text;
  return fail(
      ErrorKind::kConflict, "plan.blocked",
      fmt::format("plan {} is blocked by the guard; nothing was changed:{}\nWhen the plan is right, run: twinstep "
                  "apply {} --approve {}",
                  head.id.value, why, path, head.id.value));
}

}  // namespace

Status remember_good_run(LinkContext& context, const PlannedLink& planned, const RunOutcome& outcome) {
  const bool good = (outcome.verdict.ok() || outcome.approved) && outcome.report.failed_count() == 0 &&
                    !outcome.report.interrupted && outcome.report.deletes_stopped.empty() &&
                    outcome.why_withheld.empty() && !planned.comparison->external_empty();
  if (!good) return {};
  const uint64_t owned = outcome.counts.owned + outcome.counts.creates + outcome.counts.adopts - outcome.counts.deletes;
  return context.state.remember_run(context.link.name,
                                    {outcome.counts.external_devices, owned, context.clock.system_now()});
}

Result<RunOutcome> apply_plan(LinkContext& context, const std::string& path, const std::string& approved_id,
                              const BeforeApply& before, const Call& call) {
  TRY_ASSIGN(const plan::PlanReader reader, plan::PlanReader::open(path));
  const plan::PlanHead& head = reader.head();
  TRY(check_head(context, head, path));
  TRY_ASSIGN(const auto known, context.state.find_plan(head.id));
  TRY(check_record(context, reader, known));
  const bool resumed = known && known->state == store::PlanState::kApplying;
  RunOutcome outcome;
  TRY_ASSIGN(outcome.approved, check_approval(head, path, approved_id));

  TRY_ASSIGN(const auto planned, plan_link(context, call));
  outcome.counts = head.counts;
  outcome.verdict = head.verdict;
  outcome.why_withheld = planned->why_withheld;
  outcome.problems = planned->comparison->problems();
  const plan::Permit permit = planned->permit(true);  // the guard has spoken above
  const ChangeSource fresh = [&](const plan::ChangeSink& sink) {
    return planned->comparison->changes(permit, sink, call);
  };
  TRY_ASSIGN(const std::string stale, why_stale(reader, *planned, fresh, resumed));
  if (!stale.empty()) return refuse("plan.stale", fmt::format("plan {} is stale: {}", head.id.value, stale));
  const ChangeSource source = resumed ? still_to_do(reader, fresh) : fresh;
  TRY_ASSIGN(outcome.made, count_changes(source));
  outcome.estimate = estimate(context, outcome.made);
  if (before) before(outcome);

  const store::PlanRecord record{head.id,      head.link,   reader.digest(), store::PlanState::kApplying,
                                 head.created, head.expires};
  TRY(context.state.set_plan_state(record, store::PlanState::kApplying));
  TRY_ASSIGN(outcome.report, apply_changes(context, head.id, outcome.made, source, planned->confirmed, call));
  if (!outcome.report.interrupted) {
    TRY(context.state.set_plan_state(record, store::PlanState::kUsed));
    TRY(context.state.clear_journal(head.id));
  }
  TRY(remember_good_run(context, *planned, outcome));
  return outcome;
}

Result<RunOutcome> synchronize(LinkContext& context, const BeforeApply& before, const Call& call) {
  TRY_ASSIGN(const auto planned, plan_link(context, call));
  RunOutcome outcome;
  outcome.counts = planned->counts;
  outcome.verdict = planned->verdict;
  outcome.why_withheld = planned->why_withheld;
  outcome.problems = planned->comparison->problems();
  const plan::Permit permit = planned->permit(false);
  outcome.made = count_changes(planned->counts, permit);
  outcome.estimate = estimate(context, outcome.made);
  if (before) before(outcome);
  const PlanId id(context.rng.hex_id());
  if (outcome.made.changes() > 0) {
    const ChangeSource source = [&](const plan::ChangeSink& sink) {
      return planned->comparison->changes(permit, sink, call);
    };
    TRY_ASSIGN(outcome.report, apply_changes(context, id, outcome.made, source, planned->confirmed, call));
    TRY(context.state.clear_journal(id));
  }
  TRY(remember_good_run(context, *planned, outcome));
  return outcome;
}

}  // namespace twinstep::workflows
