#include "twinstep/workflows/apply.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "twinstep/base/units.h"
#include "twinstep/workflows/device_writer.h"
#include "twinstep/workflows/hub_rate.h"
#include "twinstep/workflows/import_file.h"
#include "twinstep/workflows/work_crew.h"

namespace twinstep::workflows {
namespace {

using plan::Op;

constexpr size_t kBulkSize = 100;    // azure.md 1.6
constexpr uint64_t kFewChanges = 5;  // up to here single calls: their answers are the clearest
// Of one call, at the slow end: single calls are answered within 0.3 s, bulk calls within 1.6 s (azure.md 1.6).
constexpr double kSingleLatency = 0.3;
constexpr double kBulkLatency = 1.6;
constexpr uint64_t kSmallestSingleCrew = 8;  // what is saved up at the start should not go out one by one
constexpr uint64_t kLargestCrew = 128;       // each thread has a connection of its own, about 140 kB

/// Threads that keep `per_second` calls going although each waits `latency` seconds for its answer, with as much again
/// in reserve; at least `least`, and no more than there are calls.
int crew_for(double per_second, double latency, uint64_t least, uint64_t calls) {
  const auto wanted = static_cast<uint64_t>(std::ceil(2 * per_second * latency));
  return static_cast<int>(std::min(std::clamp(wanted, least, kLargestCrew), std::max<uint64_t>(calls, 1)));
}

bool is_create_or_delete(Op op) { return op == Op::kCreate || op == Op::kDelete; }

}  // namespace

std::string_view to_string(Method method) {
  switch (method) {
    case Method::kSingle:
      return "single calls";
    case Method::kBulk:
      return "bulk calls of 100";
    case Method::kImportJob:
      break;
  }
  return "one import job";
}

Estimate estimate(const LinkContext& context, const plan::Counts& counts) {
  Estimate out;
  const uint64_t bulk = counts.creates + counts.deletes;
  out.devices = counts.changes();
  const bool job =
      context.blobs && bulk > 0 && bulk >= static_cast<uint64_t>(std::max(0, context.config.job_threshold));
  out.method = job ? Method::kImportJob : bulk > kFewChanges ? Method::kBulk : Method::kSingle;
  const uint64_t bulk_calls = out.method == Method::kBulk        ? (bulk + kBulkSize - 1) / kBulkSize
                              : out.method == Method::kImportJob ? 1
                                                                 : bulk;
  out.calls = bulk_calls + counts.updates + counts.adopts + 2 * counts.disables + 2 * counts.enables;
  // A job works off its lines at about the rate of registry operations (azure.md 1.10).
  const double seconds = static_cast<double>(bulk + 2 * counts.disables + 2 * counts.enables) /
                             hub_rate(context.hub_config, azure::HubOperation::kRegistry) +
                         static_cast<double>(counts.updates + counts.adopts) /
                             hub_rate(context.hub_config, azure::HubOperation::kTwinUpdate);
  out.time = Millis{static_cast<Millis::rep>(std::ceil(seconds * 1000.0 / context.hub_config.time_factor))};
  return out;
}

uint64_t ApplyReport::done_count() const {
  uint64_t sum = 0;
  for (const auto& [op, row] : rows) sum += row.done;
  return sum;
}
uint64_t ApplyReport::failed_count() const {
  uint64_t sum = 0;
  for (const auto& [op, row] : rows) sum += row.failed;
  return sum;
}
uint64_t ApplyReport::skipped_count() const {
  uint64_t sum = 0;
  for (const auto& [op, row] : rows) sum += row.skipped;
  return sum;
}

namespace {

/// Gives the changes to `take`, which hands them to the crew, until the crew fails; then waits for the crew.
Status work_off(WorkCrew& crew, const ChangeSource& changes, const plan::ChangeSink& take) {
  auto listed = changes([&](const plan::Change& change) -> Status {
    if (crew.failed()) return fail(ErrorKind::kCancelled, "apply.crew-ended", "ended");
    return take(change);
  });
  TRY(crew.finish());
  return listed;
}

/// Streams the creates and deletes into bulk calls. Where the quota is large several are under way at once.
Status bulk_calls(const LinkContext& context, DeviceWriter& writer, const ChangeSource& changes, uint64_t count) {
  const double calls = hub_rate(context.hub_config, azure::HubOperation::kRegistry) / kBulkSize;
  WorkCrew crew(crew_for(calls, kBulkLatency, 1, count / kBulkSize + 1));
  std::vector<plan::Change> batch;
  const auto send = [&] { crew.add([&writer, sent = std::exchange(batch, {})] { return writer.bulk(sent); }); };
  return work_off(
      crew,
      [&](const plan::ChangeSink& sink) -> Status {
        TRY(changes(sink));
        if (!batch.empty()) send();
        return {};
      },
      [&](const plan::Change& change) -> Status {
        if (!is_create_or_delete(change.op)) return {};
        if (change.op == Op::kDelete) {
          TRY_ASSIGN(const bool may, writer.may_delete(change));
          if (!may) return {};
        }
        batch.push_back(change);
        if (batch.size() == kBulkSize) send();
        return {};
      });
}

/// Everything that goes out one device at a time, on so many threads that the budget sets the pace, not the round
/// trips.
Status single_calls(const LinkContext& context, DeviceWriter& writer, const ChangeSource& changes,
                    const plan::Counts& counts, bool creates_and_deletes) {
  const bool twins = counts.updates + counts.adopts > 0;
  const auto operation = twins ? azure::HubOperation::kTwinUpdate : azure::HubOperation::kRegistry;
  WorkCrew crew(
      crew_for(hub_rate(context.hub_config, operation), kSingleLatency, kSmallestSingleCrew, counts.changes()));
  return work_off(crew, changes, [&](const plan::Change& change) -> Status {
    if (is_create_or_delete(change.op) && !creates_and_deletes) return {};
    crew.add([&writer, change] { return writer.single(change); });
    return {};
  });
}

}  // namespace

Result<ApplyReport> apply_changes(LinkContext& context, const PlanId& plan, const plan::Counts& counts,
                                  const ChangeSource& changes, const ConfirmedAbsent& confirmed, const Call& call) {
  DeviceWriter writer(context, plan, counts.changes(), confirmed, call);
  TRY_ASSIGN(writer.report().done_before, context.state.count_journal(plan, "done"));
  const Estimate cost = estimate(context, counts);
  const Method method = cost.method;
  Status done;
  // Creates and updates first: when something goes wrong on the way, nothing has been deleted yet.
  if (counts.updates + counts.adopts + counts.disables > 0 || method == Method::kSingle)
    done = single_calls(context, writer, changes, counts, method == Method::kSingle);
  if (done && counts.creates + counts.deletes > 0) {
    if (method == Method::kBulk) done = bulk_calls(context, writer, changes, counts.creates + counts.deletes);
    if (method == Method::kImportJob) done = import_changes(context, plan, writer, changes, call);
  }
  TRY(writer.flush());
  if (!done) {
    if (done.error().kind != ErrorKind::kCancelled || !call.stop.stop_requested()) return fail(std::move(done).error());
    writer.report().interrupted = true;
  }
  return std::move(writer.report());
}

}  // namespace twinstep::workflows
