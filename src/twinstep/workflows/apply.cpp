#include "twinstep/workflows/apply.h"

#include <algorithm>
#include <cmath>

#include "twinstep/azure/iothub_limits.h"
#include "twinstep/base/units.h"
#include "twinstep/workflows/device_writer.h"
#include "twinstep/workflows/import_file.h"
#include "twinstep/workflows/work_crew.h"

namespace twinstep::workflows {
namespace {

using plan::Op;

constexpr size_t kBulkSize = 100;    // azure.md 1.6
constexpr uint64_t kFewChanges = 5;  // up to here single calls: their answers are the clearest
constexpr int kCrew = 8;

/// What the link's hub allows a second, by its tier and units.
double rate_of(const config::Hub& hub, azure::HubOperation operation) {
  static_assert(static_cast<int>(azure::HubTier::kS3) == static_cast<int>(config::Tier::kS3));
  return azure::hub_quota(static_cast<azure::HubTier>(hub.tier), hub.units, operation).per_second();
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
                             rate_of(context.hub_config, azure::HubOperation::kRegistry) +
                         static_cast<double>(counts.updates + counts.adopts) /
                             rate_of(context.hub_config, azure::HubOperation::kTwinUpdate);
  out.time = Millis{static_cast<Millis::rep>(std::ceil(seconds * 1000.0))};
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

/// Streams the creates and deletes into bulk calls.
Status bulk_calls(DeviceWriter& writer, const ChangeSource& changes) {
  std::vector<plan::Change> batch;
  TRY(changes([&](const plan::Change& change) -> Status {
    if (!is_create_or_delete(change.op)) return {};
    if (change.op == Op::kDelete) {
      TRY_ASSIGN(const bool may, writer.may_delete(change));
      if (!may) return {};
    }
    batch.push_back(change);
    if (batch.size() < kBulkSize) return {};
    TRY(writer.bulk(batch));
    batch.clear();
    return {};
  }));
  return batch.empty() ? Status{} : writer.bulk(batch);
}

/// Everything that goes out one device at a time, on a few threads: the budget sets the pace, not the round trips.
Status single_calls(DeviceWriter& writer, const ChangeSource& changes, bool creates_and_deletes) {
  WorkCrew crew(kCrew);
  auto listed = changes([&](const plan::Change& change) -> Status {
    if (is_create_or_delete(change.op) && !creates_and_deletes) return {};
    if (crew.failed()) return fail(ErrorKind::kCancelled, "apply.crew-ended", "ended");
    crew.add([&writer, change] { return writer.single(change); });
    return {};
  });
  TRY(crew.finish());
  return listed;
}

}  // namespace

Result<ApplyReport> apply_changes(LinkContext& context, const PlanId& plan, const plan::Counts& counts,
                                  const ChangeSource& changes, const ConfirmedAbsent& confirmed, const Call& call) {
  DeviceWriter writer(context, plan, counts.changes(), confirmed, call);
  TRY_ASSIGN(writer.report().done_before, context.state.count_journal(plan, "done"));
  const Method method = estimate(context, counts).method;
  Status done;
  // Creates and updates first: when something goes wrong on the way, nothing has been deleted yet.
  if (counts.updates + counts.adopts + counts.disables > 0 || method == Method::kSingle)
    done = single_calls(writer, changes, method == Method::kSingle);
  if (done && counts.creates + counts.deletes > 0) {
    if (method == Method::kBulk) done = bulk_calls(writer, changes);
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
