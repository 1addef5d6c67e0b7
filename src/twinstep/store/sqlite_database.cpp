#include "twinstep/store/sqlite_database.h"

#include <fmt/format.h>

#include <set>
#include <stdexcept>

#include "twinstep/store/migrations.h"
#include "twinstep/store/sql_words.h"

namespace twinstep::store {
namespace {

constexpr size_t kMostTogether = 512;           // transactions of one commit
constexpr int64_t kSaveTimeEvery = 60'000'000;  // microseconds
constexpr Millis kBackAtLeast{60'000};          // smaller steps back are the clock's own corrections

int64_t system_micros(Clock& clock) { return clock.system_now().time_since_epoch().count(); }

/// Our words in SQLite's: its time is a parameter, and there is one writer.
std::string in_sqlite(std::string_view sql) {
  return with_words(sql, {{"{now}", "$now"}, {"{skip locked}", ""}, {"{for update}", ""}});
}

}  // namespace

class SqliteDatabase::Connection {
 public:
  explicit Connection(Sqlite database) : database_(std::move(database)) {}

  Result<Rows> run(std::string_view sql, std::span<const Value> values, int64_t now) {
    auto found = statements_.find(sql);
    if (found == statements_.end()) {
      TRY_ASSIGN(Statement prepared, database_.prepare(in_sqlite(sql)));
      found = statements_.emplace(std::string(sql), std::move(prepared)).first;
    }
    Statement& statement = found->second;
    statement.reset();
    statement.bind_all(values, now);
    Rows rows;
    for (;;) {
      auto more = statement.step();
      if (!more) {
        statement.reset();
        return fail(std::move(more).error());
      }
      if (!*more) break;
      auto& row = rows.cells.emplace_back();
      for (int column = 0; column < statement.columns(); ++column)
        row.push_back(statement.is_null(column) ? std::nullopt : std::optional(statement.text(column)));
    }
    rows.affected = database_.changes();
    statement.reset();
    return rows;
  }
  /// A statement without values and rows.
  Status run(std::string_view sql) {
    return run(sql, {}, 0).map([](const Rows&) {});
  }
  Sqlite& sqlite() { return database_; }

 private:
  Sqlite database_;
  std::map<std::string, Statement, std::less<>> statements_;
};

namespace {

class SqliteTransaction final : public Transaction {
 public:
  SqliteTransaction(SqliteDatabase::Connection& connection, int64_t now, std::vector<std::string>* channels)
      : connection_(connection), now_(now), channels_(channels) {}
  Result<Rows> run(std::string_view sql, std::span<const Value> values) override {
    return connection_.run(sql, values, now_);
  }
  void notify(std::string_view channel) override {
    if (channels_) channels_->emplace_back(channel);
  }

 private:
  SqliteDatabase::Connection& connection_;
  const int64_t now_;
  std::vector<std::string>* channels_;
};

/// False: the deadline passed or the stop token fired first.
template <class Condition>
bool wait_for(std::condition_variable_any& changed, std::unique_lock<std::mutex>& lock, const Call& call,
              Condition condition) {
  if (call.deadline == SteadyTime::max()) return changed.wait(lock, call.stop, condition);
  return changed.wait_until(lock, call.stop, call.deadline, condition);
}

tl::unexpected<Error> gave_up(const Call& call) {
  if (call.stop.stop_requested())
    return fail(ErrorKind::kCancelled, "store.cancelled", "stopped before the state file was free");
  return fail(ErrorKind::kTimeout, "store.busy", "the state file was too busy; nothing was read or written");
}

}  // namespace

Result<std::unique_ptr<Database>> SqliteDatabase::open(const std::string& path, Clock& clock) {
  TRY_ASSIGN(Sqlite writing, Sqlite::open(path));
  std::unique_ptr<Connection> reader;
  if (path != ":memory:") {
    TRY_ASSIGN(Sqlite reading, Sqlite::open(path));
    reader = std::make_unique<Connection>(std::move(reading));
  }
  std::unique_ptr<SqliteDatabase> out(
      new SqliteDatabase(std::make_unique<Connection>(std::move(writing)), std::move(reader), clock));
  for (const auto& step : {&SqliteDatabase::migrate, &SqliteDatabase::begin_time}) {
    if (auto done = (out.get()->*step)(); !done) return fail(std::move(done).error().within(path));
  }
  out->thread_ = std::jthread([self = out.get()](std::stop_token stop) { self->work(std::move(stop)); });
  return out;
}

SqliteDatabase::SqliteDatabase(std::unique_ptr<Connection> writer, std::unique_ptr<Connection> reader, Clock& clock)
    : clock_(clock), opened_(clock.steady_now()), writer_(std::move(writer)), reader_(std::move(reader)) {}

SqliteDatabase::~SqliteDatabase() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

Status SqliteDatabase::migrate() {
  Sqlite& database = writer_->sqlite();
  TRY(database.execute("BEGIN IMMEDIATE"));
  TRY_ASSIGN(auto version_query, database.prepare("PRAGMA user_version"));
  TRY_ASSIGN(const bool row, version_query.step());
  const int64_t version = row ? version_query.number(0) : 0;
  version_query.reset();
  const auto all = migrations();
  if (version > static_cast<int64_t>(all.size())) {
    (void)database.execute("ROLLBACK");
    return fail(ErrorKind::kInvalid, "store.newer",
                fmt::format("made by a newer twinstep (schema {}, this one knows {})", version, all.size()));
  }
  for (size_t i = static_cast<size_t>(version); i < all.size(); ++i) {
    TRY(database.execute(all[i].sql));
    TRY(database.execute(fmt::format("PRAGMA user_version = {}", i + 1).c_str()));
  }
  return database.execute("COMMIT");
}

Status SqliteDatabase::begin_time() {
  first_now_ = system_micros(clock_);
  TRY_ASSIGN(const Rows rows, writer_->run("SELECT value FROM meta WHERE name = 'now'", {}, 0));
  if (rows.empty()) return {};
  const Millis back{(rows.number(0, 0) - first_now_) / 1000};
  if (back >= kBackAtLeast) went_back_ = back;
  return {};
}

int64_t SqliteDatabase::now() const {
  const auto since = clock_.steady_now() - opened_;
  return first_now_ + std::chrono::duration_cast<std::chrono::microseconds>(since).count();
}

void SqliteDatabase::listen(Listener listener) {
  std::scoped_lock lock(mutex_);
  listener_ = std::move(listener);
}

Status SqliteDatabase::write(const Body& body, const Call& call) {
  Job job{body};
  // Outside of the lock: it runs at once when the token has fired already.
  const std::stop_callback stopped(call.stop, [&] {
    std::scoped_lock lock(mutex_);
    job.changed.notify_one();
  });
  std::unique_lock lock(mutex_);
  queue_.push_back(&job);
  queued_.notify_one();
  // Waiting for the turn can be given up; once begun, the job refers to this frame and is seen through.
  const auto over = [&] { return job.ended || (!job.begun && call.stop.stop_requested()); };
  if (call.deadline == SteadyTime::max())
    job.changed.wait(lock, over);
  else
    job.changed.wait_until(lock, call.deadline, over);
  if (!job.begun) {
    std::erase(queue_, &job);
    return gave_up(call);
  }
  job.changed.wait(lock, [&] { return job.ended; });
  if (job.thrown) std::rethrow_exception(job.thrown);
  return std::move(job.outcome);
}

Status SqliteDatabase::read(const Body& body, const Call& call) {
  if (!reader_) return write(body, call);
  {
    std::unique_lock lock(mutex_);
    if (!wait_for(reader_free_, lock, call, [&] { return !reading_; })) return gave_up(call);
    reading_ = true;
  }
  Status outcome;
  std::exception_ptr thrown;
  try {
    outcome = read_with(*reader_, body);
  } catch (...) {
    thrown = std::current_exception();
  }
  {
    std::scoped_lock lock(mutex_);
    reading_ = false;
    reader_free_.notify_one();
  }
  if (thrown) std::rethrow_exception(thrown);
  return outcome;
}

Status SqliteDatabase::read_with(Connection& reader, const Body& body) {
  TRY(reader.sqlite().execute("BEGIN"));
  SqliteTransaction transaction(reader, now(), nullptr);
  // Nothing was changed, so that rolling back is all there is to do, whatever comes.
  struct End {
    Sqlite& database;
    ~End() { (void)database.execute("ROLLBACK"); }
  } end{reader.sqlite()};
  return body(transaction);
}

void SqliteDatabase::work(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    queued_.wait(lock, stop, [&] { return !queue_.empty(); });
    if (queue_.empty()) return;  // stopped, and nobody waits
    std::deque<Job*> jobs;
    while (!queue_.empty() && jobs.size() < kMostTogether) {
      jobs.push_back(queue_.front());
      jobs.back()->begun = true;
      queue_.pop_front();
    }
    lock.unlock();
    const Status committed = commit_together(jobs);
    lock.lock();
    if (!committed)
      for (Job* job : jobs) job->outcome = tl::unexpected<Error>(committed.error());
    tell(jobs);
    for (Job* job : jobs) {
      job->ended = true;
      job->changed.notify_one();  // with the lock: it may be gone as soon as it can be seen to have ended
    }
  }
}

void SqliteDatabase::tell(const std::deque<Job*>& jobs) {
  if (!listener_) return;
  std::set<std::string_view> channels;
  for (const Job* job : jobs)
    if (job->outcome && !job->thrown) channels.insert(job->channels.begin(), job->channels.end());
  for (const std::string_view channel : channels) listener_(channel);
}

Status SqliteDatabase::commit_together(const std::deque<Job*>& jobs) {
  Sqlite& database = writer_->sqlite();
  TRY(writer_->run("BEGIN IMMEDIATE"));
  for (Job* job : jobs) {
    run_one(*job);
    // A full disk or an I/O error ends the whole transaction, not only the statement.
    if (!database.in_transaction()) {
      if (!job->outcome) return job->outcome;
      return fail(ErrorKind::kUnavailable, "store.sqlite", "the state file ended the transaction");
    }
  }
  Status committed;
  if (const int64_t time = now(); time - saved_now_ >= kSaveTimeEvery) {
    auto saved = writer_->run(
        "INSERT INTO meta (name, value) VALUES ('now', {now}) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        {}, time);
    if (saved)
      saved_now_ = time;
    else
      committed = fail(std::move(saved).error());
  }
  if (committed) committed = database.still_there();
  if (committed) committed = writer_->run("COMMIT");
  if (!committed && database.in_transaction()) (void)database.execute("ROLLBACK");
  return committed;
}

void SqliteDatabase::run_one(Job& job) {
  Sqlite& database = writer_->sqlite();
  job.outcome = writer_->run("SAVEPOINT job");
  if (!job.outcome) return;
  SqliteTransaction transaction(*writer_, now(), &job.channels);
  try {
    job.outcome = job.body(transaction);
  } catch (...) {
    job.thrown = std::current_exception();
  }
  if (!database.in_transaction()) return;
  const bool keep = job.outcome && !job.thrown;
  if (!keep) (void)writer_->run("ROLLBACK TO job");
  auto released = writer_->run("RELEASE job");
  if (keep && !released) job.outcome = released;
}

}  // namespace twinstep::store
