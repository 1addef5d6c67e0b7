// plan, apply and sync.
#include <array>

#include "twinstep/base/units.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/session.h"
#include "twinstep/plan/plan_csv.h"
#include "twinstep/plan/plan_text.h"
#include "twinstep/workflows/runs.h"

namespace twinstep::cli {
namespace {

using plan::Op;

Status print_piece(std::string_view bytes) {
  print(bytes);
  return {};
}

Status print_plan(const CommandLine& line, const plan::PlanHead& head, const workflows::PlannedLink& planned,
                  const plan::Permit& permit, const Call& call) {
  const std::string format = !line.format.empty() ? line.format : line.json ? "json" : "text";
  if (format == "json") return planned.write(head, permit, print_piece, call);
  if (format == "csv") {
    print(plan::csv_header());
    return planned.comparison->changes(
        permit, [](const plan::Change& change) { return print_piece(plan::csv_line(change)); }, call);
  }
  print(plan::summary_text(head));
  if (line.all) {
    for (const Op op : {Op::kCreate, Op::kUpdate, Op::kAdopt, Op::kDisable, Op::kDelete})
      TRY(planned.comparison->changes(
          permit,
          [&](const plan::Change& change) {
            return change.op == op ? print_piece(plan::change_text(change)) : Status{};
          },
          call));
    return {};
  }
  plan::ChangeGroups groups;
  TRY(planned.comparison->changes(
      permit,
      [&](const plan::Change& change) -> Status {
        groups.add(change);
        return {};
      },
      call));
  print(groups.text());
  return {};
}

std::string estimate_text(const workflows::Estimate& estimate) {
  return fmt::format("{} changes, {} calls to the hub ({}), about {} at this tier\n", format_count(estimate.devices),
                     format_count(estimate.calls), workflows::to_string(estimate.method),
                     format_duration(estimate.time));
}

json::object outcome_json(const workflows::RunOutcome& outcome) {
  json::object rows;
  for (const auto& [op, row] : outcome.report.rows)
    rows[plan::to_string(op)] = json::object{{"done", row.done}, {"failed", row.failed}, {"skipped", row.skipped}};
  const auto devices = [](const std::vector<workflows::DeviceProblem>& list) {
    json::array out;
    for (const auto& one : list)
      out.push_back(json::object{{"deviceId", one.id.value}, {"op", plan::to_string(one.op)}, {"reason", one.reason}});
    return out;
  };
  json::array tripped;
  json::array problems;
  for (const auto& one : outcome.problems)
    problems.push_back(json::object{{"kind", plan::to_string(one.kind)},
                                    {"side", one.side},
                                    {"place", one.place},
                                    {"deviceId", one.id},
                                    {"text", one.text}});
  for (const auto& one : outcome.verdict.tripped)
    tripped.push_back(json::object{{"rule", one.rule}, {"text", one.text}});
  return {{"counts", plan::to_json(outcome.counts)},
          {"results", rows},
          {"doneBefore", outcome.report.done_before},
          {"failed", devices(outcome.report.failed)},
          {"skipped", devices(outcome.report.skipped)},
          {"problems", problems},
          {"guard", tripped},
          {"deletesStopped", outcome.report.deletes_stopped},
          {"interrupted", outcome.report.interrupted}};
}

std::string outcome_text(const workflows::RunOutcome& outcome) {
  const workflows::ApplyReport& report = outcome.report;
  std::string out;
  if (outcome.made.changes() == 0 && report.done_before == 0)
    out += "nothing to do\n";
  else {
    out += fmt::format("{:<10}{:>12}{:>12}{:>12}\n", "", "done", "failed", "skipped");
    for (const auto& [op, row] : report.rows)
      out += fmt::format("{:<10}{:>12}{:>12}{:>12}\n", plan::to_string(op), format_count(row.done),
                         format_count(row.failed), format_count(row.skipped));
    if (report.done_before)
      out += fmt::format("{} were done before the interruption\n", format_count(report.done_before));
  }
  const auto list = [&](const char* title, const std::vector<workflows::DeviceProblem>& devices, uint64_t count) {
    if (devices.empty()) return;
    out += fmt::format("{}:\n", title);
    for (size_t i = 0; i < devices.size() && i < 20; ++i)
      out += fmt::format("  {} {}: {}\n", plan::to_string(devices[i].op), devices[i].id.value, devices[i].reason);
    if (count > 20)
      out += fmt::format("  ... and {} more (--output json names up to 1,000)\n", format_count(count - 20));
  };
  list("failed", report.failed, report.failed_count());
  list("skipped", report.skipped, report.skipped_count());
  if (!report.deletes_stopped.empty()) out += fmt::format("deleting stopped: {}\n", report.deletes_stopped);
  if (report.interrupted) out += "interrupted; the next run goes on where this one stopped\n";
  return out;
}

int exit_of(const workflows::RunOutcome& outcome) {
  if (outcome.report.interrupted) return kError;  // main turns it into 130 or 143
  if (outcome.report.failed_count() > 0) return kSomeFailed;
  if ((!outcome.verdict.ok() && !outcome.approved) || !outcome.report.deletes_stopped.empty() ||
      !outcome.why_withheld.empty())
    return kBlocked;
  return kDone;
}

int finish(const CommandLine& line, const workflows::RunOutcome& outcome) {
  if (line.json) {
    print(json::write(outcome_json(outcome)) + "\n");
  } else {
    print(outcome_text(outcome));
    if (!outcome.problems.empty()) print("left alone:\n" + plan::problems_text(outcome.problems));
    if (!outcome.approved)
      for (const auto& tripped : outcome.verdict.tripped) print(fmt::format("guard: {}\n", tripped.text));
  }
  return exit_of(outcome);
}

workflows::BeforeApply announce(const CommandLine& line, Session& session) {
  return [&](const workflows::RunOutcome& outcome) {
    if (line.json || outcome.made.changes() == 0) return;
    session.progress->clear();
    print(estimate_text(outcome.estimate));
  };
}

}  // namespace

int run_plan(const CommandLine& line, std::stop_token stop) {
  auto opened = Session::open(line, line.link, true);
  if (!opened) return fail_with(opened.error(), line, stop);
  Session& session = **opened;
  const Call call = session.call(stop);
  auto planned = workflows::plan_link(*session.context, call);
  session.progress->clear();
  if (!planned) return fail_with(planned.error(), line, stop);
  const plan::PlanHead head = (*planned)->head(*session.context);
  // Deletes that are not proven are not part of the plan; those that only a limit holds back are, for approval.
  const plan::Permit permit = (*planned)->permit(true);

  if (!line.plan_file.empty()) {
    auto file = plan::PlanFileSink::create(line.plan_file);
    if (!file) return fail_with(file.error(), line, stop);
    Status written = (*planned)->write(
        head, permit, [&](std::string_view bytes) { return file->write(bytes); }, call);
    if (written) written = file->close();
    if (!written) return fail_with(written.error(), line, stop);
    auto reader = plan::PlanReader::open(line.plan_file);
    if (!reader) return fail_with(reader.error(), line, stop);
    auto added = session.state->add_plan(
        {head.id, head.link, reader->digest(), store::PlanState::kMade, head.created, head.expires});
    if (!added) return fail_with(added.error(), line, stop);
  }
  if (auto printed = print_plan(line, head, **planned, permit, call); !printed)
    return fail_with(printed.error(), line, stop);
  if (!line.json && line.format.empty()) {
    if (head.counts.changes() > 0) print(estimate_text(workflows::estimate(*session.context, head.counts)));
    if (!line.plan_file.empty()) print(fmt::format("plan {} written to {}\n", head.id.value, line.plan_file));
  }
  if (!head.verdict.ok()) return kBlocked;
  return line.exit_code && head.counts.changes() > 0 ? kChangesPending : kDone;
}

int run_apply(const CommandLine& line, std::stop_token stop) {
  auto reader = plan::PlanReader::open(line.plan_file);
  if (!reader) return fail_with(reader.error(), line, stop);
  const plan::PlanHead& head = reader->head();
  auto opened = Session::open(line, head.link, true);
  if (!opened && opened.error().code == "config.unknown-link")
    opened = fail_within(std::move(opened), fmt::format("{}: plan {} is for link {}; nothing was changed",
                                                        line.plan_file, head.id.value, head.link));
  if (!opened) return fail_with(opened.error(), line, stop);
  Session& session = **opened;
  auto outcome = workflows::apply_plan(*session.context, line.plan_file, line.approve, announce(line, session),
                                       session.call(stop));
  session.progress->clear();
  return outcome ? finish(line, *outcome) : fail_with(outcome.error(), line, stop);
}

int run_sync(const CommandLine& line, std::stop_token stop) {
  auto opened = Session::open(line, line.link, true);
  if (!opened) return fail_with(opened.error(), line, stop);
  Session& session = **opened;
  auto outcome = workflows::synchronize(*session.context, announce(line, session), session.call(stop));
  session.progress->clear();
  return outcome ? finish(line, *outcome) : fail_with(outcome.error(), line, stop);
}

}  // namespace twinstep::cli
