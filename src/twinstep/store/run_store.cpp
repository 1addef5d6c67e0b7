#include "twinstep/store/run_store.h"

#include <fmt/format.h>

#include <algorithm>

namespace twinstep::store {
namespace {

constexpr size_t kPiece = 256 * 1024;

constexpr std::string_view kFirstPiece =
    "INSERT INTO run_plan_piece (run, version, seq, text) "
    "SELECT $1, coalesce(max(version), 0) + 1, 0, $2 FROM run_plan_piece WHERE run = $1 "
    "ON CONFLICT DO NOTHING RETURNING version";
constexpr std::string_view kPutPiece =
    "INSERT INTO run_plan_piece (run, version, seq, text) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (run, version, seq) DO UPDATE SET text = excluded.text";
constexpr std::string_view kPutPlan =
    "INSERT INTO run_plan (run, version, pieces) VALUES ($1, $2, $3) "
    "ON CONFLICT (run) DO UPDATE SET version = excluded.version, pieces = excluded.pieces";
constexpr std::string_view kForgetPieces = "DELETE FROM run_plan_piece WHERE run = $1 AND version < $2";
constexpr std::string_view kPlan = "SELECT version, pieces FROM run_plan WHERE run = $1";
constexpr std::string_view kReadPiece = "SELECT text FROM run_plan_piece WHERE run = $1 AND version = $2 AND seq = $3";
constexpr std::string_view kRecord =
    "INSERT INTO run_outcome (run, device, canonical, op, outcome, reason, at) VALUES ($1, $2, $3, $4, $5, $6, {now}) "
    "ON CONFLICT (run, device) DO UPDATE SET op = excluded.op, outcome = excluded.outcome, reason = excluded.reason, "
    "at = excluded.at";
constexpr std::string_view kOutcomes =
    "SELECT device, op, outcome, reason FROM run_outcome WHERE run = $1 AND ($2 = '' OR outcome = $2) "
    "AND device > $3 ORDER BY device LIMIT $4";
constexpr std::string_view kCounts =
    "SELECT op, outcome, count(*) FROM run_outcome WHERE run = $1 GROUP BY op, outcome";
constexpr std::string_view kMentions =
    "SELECT run, device, op, outcome, reason, at FROM run_outcome WHERE canonical = $1 ORDER BY at DESC, run LIMIT $2";

DeviceOutcome outcome_at(const Rows& rows, size_t row, size_t column) {
  return {DeviceId(rows.text(row, column)), rows.text(row, column + 1), rows.text(row, column + 2),
          rows.text(row, column + 3)};
}

/// Where a text of at least `size` bytes can be cut without dividing a character.
size_t cut_at(std::string_view text, size_t size) {
  size_t at = std::min(size, text.size());
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at > 0 ? at : std::min(size, text.size());
}

/// Writes one version of a run's plan, a transaction for every piece, so that nobody waits for a large plan.
class PlanPieces {
 public:
  PlanPieces(Database& database, const WorkflowId& run, const Call& call)
      : database_(database), run_(run), call_(call) {}

  Status add(std::string_view text) {
    buffer_.append(text);
    while (buffer_.size() > kPiece) {
      const size_t end = cut_at(buffer_, kPiece);
      TRY(put(std::string_view(buffer_).substr(0, end)));
      buffer_.erase(0, end);
    }
    return {};
  }

  /// From here on this version is the plan.
  Status finish() {
    if (!buffer_.empty() || pieces_ == 0) TRY(put(buffer_));
    return database_.write(
        [&](Transaction& transaction) -> Status {
          TRY(transaction.run(kPutPlan, {run_.value, version_, pieces_}));
          TRY(transaction.run(kForgetPieces, {run_.value, version_}));
          return {};
        },
        call_);
  }

 private:
  Status put(std::string_view text) {
    if (pieces_ == 0) {
      // Empty when a writer that has lost its claim took the same version at this moment.
      while (version_ == 0) {
        TRY_ASSIGN(const Rows rows, database_.change(kFirstPiece, {run_.value, text}, call_));
        if (!rows.empty()) version_ = rows.number(0, 0);
      }
    } else {
      TRY(database_.change(kPutPiece, {run_.value, version_, pieces_, text}, call_));
    }
    ++pieces_;
    return {};
  }

  Database& database_;
  const WorkflowId& run_;
  const Call& call_;
  std::string buffer_;
  int64_t version_ = 0, pieces_ = 0;
};

}  // namespace

Status RunStore::put_plan(const WorkflowId& run, const std::function<Status(const TextSink&)>& pieces,
                          const Call& call) {
  PlanPieces plan(database_, run, call);
  TRY(pieces([&](std::string_view piece) { return plan.add(piece); }));
  return plan.finish();
}

Status RunStore::read_plan(const WorkflowId& run, const TextSink& sink, const Call& call) {
  TRY_ASSIGN(const Rows plan, database_.ask(kPlan, {run.value}, call));
  if (plan.empty()) return fail(ErrorKind::kNotFound, "store.no-plan", fmt::format("run {} has no plan", run.value));
  const int64_t version = plan.number(0, 0);
  for (int64_t seq = 0; seq < plan.number(0, 1); ++seq) {
    TRY_ASSIGN(const Rows piece, database_.ask(kReadPiece, {run.value, version, seq}, call));
    if (piece.empty())
      return fail(
          ErrorKind::kUnavailable, "store.plan-replaced",
          fmt::format("the plan of run {} was replaced by a newer one while it was read; read it again", run.value));
    TRY(sink(piece.text(0, 0)));
  }
  return {};
}

Status RunStore::record(const WorkflowId& run, const std::vector<DeviceOutcome>& outcomes, const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        std::string canonical;
        for (const DeviceOutcome& one : outcomes)
          TRY(transaction.run(kRecord, {run.value, one.device.value, canonical_device_id(one.device.value, canonical),
                                        one.op, one.outcome, one.reason}));
        return {};
      },
      call);
}

Result<std::vector<DeviceOutcome>> RunStore::outcomes(const WorkflowId& run, std::string_view outcome,
                                                      const DeviceId& after, int limit, const Call& call) {
  TRY_ASSIGN(const Rows rows,
             database_.ask(kOutcomes, {run.value, outcome, after.value, int64_t{std::clamp(limit, 1, 1000)}}, call));
  std::vector<DeviceOutcome> out;
  for (size_t row = 0; row < rows.size(); ++row) out.push_back(outcome_at(rows, row, 0));
  return out;
}

Result<std::vector<RunStore::Count>> RunStore::counts(const WorkflowId& run, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kCounts, {run.value}, call));
  std::vector<Count> out;
  for (size_t row = 0; row < rows.size(); ++row)
    out.push_back({rows.text(row, 0), rows.text(row, 1), static_cast<uint64_t>(rows.number(row, 2))});
  return out;
}

Result<std::vector<RunStore::Mention>> RunStore::mentions(const DeviceId& device, int limit, const Call& call) {
  const std::string canonical = canonical_device_id(device.value);
  TRY_ASSIGN(const Rows rows, database_.ask(kMentions, {canonical, int64_t{std::clamp(limit, 1, 1000)}}, call));
  std::vector<Mention> out;
  for (size_t row = 0; row < rows.size(); ++row)
    out.push_back({WorkflowId(rows.text(row, 0)), outcome_at(rows, row, 1), rows.time(row, 5)});
  return out;
}

}  // namespace twinstep::store
