#include "twinstep/store/state_file.h"

#include <array>

namespace twinstep::store {
namespace {

constexpr std::string_view kLastRun = "SELECT external_count, owned_count, finished FROM last_run WHERE link = $1";
constexpr std::string_view kPutRun =
    "INSERT INTO last_run (link, external_count, owned_count, finished) VALUES ($1, $2, $3, $4) ON CONFLICT (link) DO "
    "UPDATE "
    "SET external_count = excluded.external_count, owned_count = excluded.owned_count, finished = excluded.finished";
constexpr std::string_view kFindPlan = "SELECT link, digest, state, created, expires FROM plan WHERE id = $1";
constexpr std::string_view kPutPlan =
    "INSERT INTO plan (id, link, digest, state, created, expires, changed) VALUES ($1, $2, $3, $4, $5, $6, {now}) "
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, changed = excluded.changed";
constexpr std::string_view kPutJournal =
    "INSERT INTO journal (plan, device, op, outcome, reason) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (plan, device) DO "
    "UPDATE "
    "SET op = excluded.op, outcome = excluded.outcome, reason = excluded.reason";
constexpr std::string_view kCountJournal = "SELECT count(*) FROM journal WHERE plan = $1 AND outcome = $2";
constexpr std::string_view kClearJournal = "DELETE FROM journal WHERE plan = $1";
constexpr std::string_view kPutJob =
    "INSERT INTO job (container, link, plan, kind, blob, job, created) VALUES ($1, $2, $3, $4, $5, $6, $7) "
    "ON CONFLICT (container) DO UPDATE SET job = excluded.job";
constexpr std::string_view kRemoveJob = "DELETE FROM job WHERE container = $1";
constexpr std::string_view kJobs =
    "SELECT container, plan, kind, blob, job, created FROM job WHERE link = $1 ORDER BY created";

constexpr std::array<std::string_view, 3> kStates{"made", "applying", "used"};

}  // namespace

Result<std::unique_ptr<StateFile>> StateFile::open(const std::string& store, Clock& clock) {
  const bool named = store.starts_with("sqlite:") || store.starts_with("postgres");
  TRY_ASSIGN(auto database, open_database(named ? store : "sqlite:" + store, clock));
  auto state = std::make_unique<StateFile>(*database);
  state->owned_ = std::move(database);
  return state;
}

Status StateFile::change(std::string_view sql, std::initializer_list<Value> values) {
  TRY(database_.change(sql, values, {}));
  return {};
}

Result<std::optional<plan::LastRun>> StateFile::last_run(std::string_view link, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kLastRun, {link}, call));
  if (rows.empty()) return std::optional<plan::LastRun>{};
  return std::optional<plan::LastRun>{plan::LastRun{static_cast<uint64_t>(rows.number(0, 0)),
                                                    static_cast<uint64_t>(rows.number(0, 1)), rows.time(0, 2)}};
}

Status StateFile::remember_run(std::string_view link, const plan::LastRun& run) {
  return change(kPutRun, {link, static_cast<int64_t>(run.external_count), static_cast<int64_t>(run.owned_count),
                          micros(run.finished)});
}

Status StateFile::add_plan(const PlanRecord& plan) { return set_plan_state(plan, PlanState::kMade); }

Result<std::optional<PlanRecord>> StateFile::find_plan(const PlanId& id) {
  TRY_ASSIGN(const Rows rows, database_.ask(kFindPlan, {id.value}, {}));
  if (rows.empty()) return std::optional<PlanRecord>{};
  PlanRecord plan{id, rows.text(0, 0), rows.text(0, 1), PlanState::kMade, rows.time(0, 3), rows.time(0, 4)};
  for (size_t i = 0; i < kStates.size(); ++i)
    if (rows.text(0, 2) == kStates[i]) plan.state = static_cast<PlanState>(i);
  return std::optional<PlanRecord>{plan};
}

Status StateFile::set_plan_state(const PlanRecord& plan, PlanState state) {
  return change(kPutPlan, {plan.id.value, plan.link, plan.digest, kStates[static_cast<size_t>(state)],
                           micros(plan.created), micros(plan.expires)});
}

Status StateFile::write_journal(const PlanId& plan, const std::vector<JournalEntry>& entries) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        std::vector<std::vector<Value>> values;
        for (const JournalEntry& entry : entries)
          values.push_back({plan.value, entry.device.value, entry.op, entry.outcome, entry.reason});
        TRY(transaction.run_each(kPutJournal, values));
        return {};
      },
      {});
}

Result<uint64_t> StateFile::count_journal(const PlanId& plan, std::string_view outcome) {
  TRY_ASSIGN(const Rows rows, database_.ask(kCountJournal, {plan.value, outcome}, {}));
  return static_cast<uint64_t>(rows.number(0, 0));
}

Status StateFile::clear_journal(const PlanId& plan) { return change(kClearJournal, {plan.value}); }

Status StateFile::put_job(const JobRecord& job) {
  return change(kPutJob, {job.container, job.link, job.plan.value, job.import ? "import" : "export", job.blob,
                          job.job.value, micros(job.created)});
}

Status StateFile::remove_job(std::string_view container) { return change(kRemoveJob, {container}); }

Result<std::vector<JobRecord>> StateFile::jobs(std::string_view link) {
  TRY_ASSIGN(const Rows rows, database_.ask(kJobs, {link}, {}));
  std::vector<JobRecord> out;
  for (size_t i = 0; i < rows.size(); ++i)
    out.push_back({rows.text(i, 0), std::string(link), PlanId(rows.text(i, 1)), rows.text(i, 2) == "import",
                   rows.text(i, 3), JobId(rows.text(i, 4)), rows.time(i, 5)});
  return out;
}

}  // namespace twinstep::store
