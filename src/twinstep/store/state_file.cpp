#include "twinstep/store/state_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <iterator>

#include "twinstep/base/encoding.h"

namespace twinstep::store {
namespace {

struct Migration {
  const char* name;
  const char* sql;
};
constexpr Migration kMigrations[] = {
#include "twinstep/store/sqlite_migrations.inc"
};

constexpr const char* kLastRun = "SELECT external_count, owned_count, finished FROM last_run WHERE link = ?";
constexpr const char* kPutRun =
    "INSERT INTO last_run (link, external_count, owned_count, finished) VALUES (?, ?, ?, ?) ON CONFLICT (link) DO "
    "UPDATE "
    "SET external_count = excluded.external_count, owned_count = excluded.owned_count, finished = excluded.finished";
constexpr const char* kFindPlan = "SELECT link, digest, state, created, expires FROM plan WHERE id = ?";
constexpr const char* kPutPlan =
    "INSERT INTO plan (id, link, digest, state, created, expires, changed) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, changed = excluded.changed";
constexpr const char* kPutJournal =
    "INSERT INTO journal (plan, device, op, outcome, reason) VALUES (?, ?, ?, ?, ?) ON CONFLICT (plan, device) DO "
    "UPDATE "
    "SET op = excluded.op, outcome = excluded.outcome, reason = excluded.reason";
constexpr const char* kCountJournal = "SELECT count(*) FROM journal WHERE plan = ? AND outcome = ?";
constexpr const char* kClearJournal = "DELETE FROM journal WHERE plan = ?";
constexpr const char* kPutJob =
    "INSERT INTO job (container, link, plan, kind, blob, job, created) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (container) DO UPDATE SET job = excluded.job";
constexpr const char* kRemoveJob = "DELETE FROM job WHERE container = ?";
constexpr const char* kJobs =
    "SELECT container, plan, kind, blob, job, created FROM job WHERE link = ? ORDER BY created";

int64_t micros(SystemTime time) { return time.time_since_epoch().count(); }
SystemTime time_of(int64_t micros) { return SystemTime{std::chrono::microseconds{micros}}; }

constexpr std::array<std::string_view, 3> kStates{"made", "applying", "used"};

}  // namespace

Result<std::unique_ptr<StateFile>> StateFile::open(const std::string& path, Clock& clock) {
  TRY_ASSIGN(Sqlite database, Sqlite::open(path));
  std::unique_ptr<StateFile> state(new StateFile(std::move(database), clock));
  if (auto migrated = state->migrate(); !migrated) return fail(std::move(migrated).error().within(path));
  return state;
}

Status StateFile::migrate() {
  TRY(database_.execute("BEGIN IMMEDIATE"));
  auto version_query = database_.prepare("PRAGMA user_version");
  TRY_ASSIGN(const bool row, version_query.step());
  const int64_t version = row ? version_query.number(0) : 0;
  TRY(version_query.run());
  if (version > static_cast<int64_t>(std::size(kMigrations)))
    return fail(
        ErrorKind::kInvalid, "store.newer",
        fmt::format("made by a newer twinstep (schema {}, this one knows {})", version, std::size(kMigrations)));
  for (size_t i = static_cast<size_t>(version); i < std::size(kMigrations); ++i) {
    TRY(database_.execute(kMigrations[i].sql));
    TRY(database_.execute(fmt::format("PRAGMA user_version = {}", i + 1).c_str()));
  }
  return database_.execute("COMMIT");
}

Result<std::optional<plan::LastRun>> StateFile::last_run(std::string_view link) {
  std::scoped_lock lock(mutex_);
  auto query = database_.prepare(kLastRun);
  TRY_ASSIGN(const bool found, query.bind(link).step());
  if (!found) return std::optional<plan::LastRun>{};
  return std::optional<plan::LastRun>{plan::LastRun{static_cast<uint64_t>(query.number(0)),
                                                    static_cast<uint64_t>(query.number(1)), time_of(query.number(2))}};
}

Status StateFile::remember_run(std::string_view link, const plan::LastRun& run) {
  std::scoped_lock lock(mutex_);
  return database_.prepare(kPutRun)
      .bind(link)
      .bind(static_cast<int64_t>(run.external_count))
      .bind(static_cast<int64_t>(run.owned_count))
      .bind(micros(run.finished))
      .run();
}

Status StateFile::add_plan(const PlanRecord& plan) { return set_plan_state(plan, PlanState::kMade); }

Result<std::optional<PlanRecord>> StateFile::find_plan(const PlanId& id) {
  std::scoped_lock lock(mutex_);
  auto query = database_.prepare(kFindPlan);
  TRY_ASSIGN(const bool found, query.bind(id.value).step());
  if (!found) return std::optional<PlanRecord>{};
  PlanRecord plan{
      id, query.text(0), query.text(1), PlanState::kMade, time_of(query.number(3)), time_of(query.number(4))};
  for (size_t i = 0; i < kStates.size(); ++i)
    if (query.text(2) == kStates[i]) plan.state = static_cast<PlanState>(i);
  return std::optional<PlanRecord>{plan};
}

Status StateFile::set_plan_state(const PlanRecord& plan, PlanState state) {
  std::scoped_lock lock(mutex_);
  return database_.prepare(kPutPlan)
      .bind(plan.id.value)
      .bind(plan.link)
      .bind(plan.digest)
      .bind(kStates[static_cast<size_t>(state)])
      .bind(micros(plan.created))
      .bind(micros(plan.expires))
      .bind(micros(clock_.system_now()))
      .run();
}

Status StateFile::write_journal(const PlanId& plan, const std::vector<JournalEntry>& entries) {
  std::scoped_lock lock(mutex_);
  TRY(database_.execute("BEGIN IMMEDIATE"));
  for (const JournalEntry& entry : entries) {
    auto written = database_.prepare(kPutJournal)
                       .bind(plan.value)
                       .bind(entry.device.value)
                       .bind(entry.op)
                       .bind(entry.outcome)
                       .bind(entry.reason)
                       .run();
    if (!written) {
      (void)database_.execute("ROLLBACK");
      return written;
    }
  }
  return database_.execute("COMMIT");
}

Result<uint64_t> StateFile::count_journal(const PlanId& plan, std::string_view outcome) {
  std::scoped_lock lock(mutex_);
  auto query = database_.prepare(kCountJournal);
  TRY(query.bind(plan.value).bind(outcome).step());
  return static_cast<uint64_t>(query.number(0));
}

Status StateFile::clear_journal(const PlanId& plan) {
  std::scoped_lock lock(mutex_);
  return database_.prepare(kClearJournal).bind(plan.value).run();
}

Status StateFile::put_job(const JobRecord& job) {
  std::scoped_lock lock(mutex_);
  return database_.prepare(kPutJob)
      .bind(job.container)
      .bind(job.link)
      .bind(job.plan.value)
      .bind(job.import ? "import" : "export")
      .bind(job.blob)
      .bind(job.job.value)
      .bind(micros(job.created))
      .run();
}

Status StateFile::remove_job(std::string_view container) {
  std::scoped_lock lock(mutex_);
  return database_.prepare(kRemoveJob).bind(container).run();
}

Result<std::vector<JobRecord>> StateFile::jobs(std::string_view link) {
  std::scoped_lock lock(mutex_);
  auto query = database_.prepare(kJobs);
  query.bind(link);
  std::vector<JobRecord> out;
  for (;;) {
    TRY_ASSIGN(const bool more, query.step());
    if (!more) return out;
    out.push_back({query.text(0), std::string(link), PlanId(query.text(1)), query.text(2) == "import", query.text(3),
                   JobId(query.text(4)), time_of(query.number(5))});
  }
}

Result<LinkLock> LinkLock::take(const std::string& state_path, std::string_view link) {
  const std::string path = fmt::format("{}.{}.lock", state_path, hex_encode(sha256(link)).substr(0, 16));
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail(ErrorKind::kUnavailable, "store.lock", fmt::format("lock file {}: {}", path, std::strerror(errno)));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return fail(ErrorKind::kConflict, "link.busy",
                fmt::format("link {}: another twinstep process works on it; wait for it to end", link));
  }
  return LinkLock(fd);
}

LinkLock::~LinkLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace twinstep::store
