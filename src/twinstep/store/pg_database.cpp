#include "twinstep/store/pg_database.h"

#include <stdexcept>

#include "twinstep/base/backoff.h"
#include "twinstep/store/pg_error.h"
#include "twinstep/store/pg_migrate.h"
#include "twinstep/store/sql_words.h"

namespace twinstep::store {
namespace {

constexpr size_t kMostConnections = 32;
constexpr int kTries = 8;
constexpr Millis kOpenWithin{30'000};
constexpr Backoff kAgain{Millis{5}, Millis{100}, 2.0, 0.8};

constexpr std::string_view kBeginWrite = "BEGIN ISOLATION LEVEL READ COMMITTED";
constexpr std::string_view kBeginRead = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Our words in PostgreSQL's. The time is that of the statement: it does not move within one, so that an index can be
/// searched with it.
std::string in_postgresql(std::string_view sql) {
  return with_words(sql, {{"{now}", "(extract(epoch from statement_timestamp()) * 1000000)::bigint"},
                          {"{skip locked}", "FOR UPDATE SKIP LOCKED"},
                          {"{for update}", "FOR UPDATE"}});
}

/// Begins with its first statement, in the same message.
class PgTransaction final : public Transaction {
 public:
  PgTransaction(PgConnection& connection, std::string_view begin, const Call& call)
      : connection_(connection), begin_(begin), call_(call) {}

  Result<Rows> run(std::string_view sql, std::span<const Value> values) override {
    const std::string text = in_postgresql(sql);
    TRY_ASSIGN(auto rows, exchange({{begin_}, {text, values}}));
    return std::move(rows.front());
  }
  Result<std::vector<Rows>> run_each(std::string_view sql, std::span<const std::vector<Value>> each) override {
    if (each.empty()) return std::vector<Rows>();
    const std::string text = in_postgresql(sql);
    std::vector<PgRequest> requests{{begin_}};
    for (const std::vector<Value>& values : each) requests.push_back({text, values});
    return exchange(std::move(requests));
  }
  void notify(std::string_view channel) override { channels_.emplace(channel); }

  Status commit() {
    if (failure_) return fail(*failure_);
    if (!begun_) return {};
    committing_ = true;
    auto done = connection_.run("COMMIT", {}, call_);
    if (!done) failure_ = std::move(done).error();
    return failure_ ? Status(fail(*failure_)) : Status();
  }
  void roll_back() {
    if (begun_ && connection_.usable()) (void)connection_.run("ROLLBACK", {}, call_);
  }
  /// Why a statement failed, whatever the body made of it.
  const std::optional<Error>& failure() const { return failure_; }
  /// True when nothing can have been committed.
  bool surely_undone() const { return !committing_ || pg_is_worth_repeating(failure_->remote_code); }
  const std::set<std::string>& channels() const { return channels_; }

 private:
  /// The first of them begins the transaction and is left out when that has been done; its answer is left out always.
  Result<std::vector<Rows>> exchange(std::vector<PgRequest> requests) {
    if (failure_) return fail(*failure_);
    const bool first = !begun_;
    if (!first) requests.erase(requests.begin());
    auto rows = connection_.run(requests, call_);
    begun_ = true;
    if (!rows) {
      failure_ = std::move(rows).error();
      return fail(*failure_);
    }
    if (first) rows->erase(rows->begin());
    return rows;
  }

  PgConnection& connection_;
  const std::string_view begin_;
  const Call& call_;
  bool begun_ = false;
  bool committing_ = false;
  std::optional<Error> failure_;
  std::set<std::string> channels_;
};

}  // namespace

/// A connection of the pool while a transaction uses it.
class PgDatabase::Borrowed {
 public:
  Borrowed(PgDatabase& pool, std::unique_ptr<PgConnection> connection)
      : pool_(&pool), connection_(std::move(connection)) {}
  Borrowed(Borrowed&&) = default;
  Borrowed& operator=(Borrowed&&) = delete;
  ~Borrowed() {
    if (connection_) pool_->give_back(std::move(connection_));
  }
  PgConnection& operator*() const { return *connection_; }

 private:
  PgDatabase* pool_;
  std::unique_ptr<PgConnection> connection_;
};

struct PgDatabase::Tried {
  Status outcome;
  bool again = false;
};

Result<std::unique_ptr<Database>> PgDatabase::open(const std::string& uri, Clock& clock) {
  TRY_ASSIGN(PgAddress address, PgAddress::parse(uri));
  std::unique_ptr<PgDatabase> out(new PgDatabase(std::move(address), clock));
  const Call call{clock.steady_now() + kOpenWithin, {}};
  TRY_ASSIGN(Borrowed connection, out->borrow(call));
  TRY(pg_migrate(*connection, call));
  return out;
}

Status PgDatabase::write(const Body& body, const Call& call) { return repeat(kBeginWrite, body, call); }

Status PgDatabase::read(const Body& body, const Call& call) { return repeat(kBeginRead, body, call); }

Status PgDatabase::repeat(std::string_view begin, const Body& body, const Call& call) {
  for (int tries = 1;; ++tries) {
    Tried tried = try_once(begin, body, call);
    if (!tried.again || tries == kTries) return std::move(tried.outcome);
    if (!clock_.sleep_for(kAgain.after(tries, Rng::real()), call.stop)) return std::move(tried.outcome);
  }
}

PgDatabase::Tried PgDatabase::try_once(std::string_view begin, const Body& body, const Call& call) {
  auto connection = borrow(call);
  if (!connection) return {fail(std::move(connection).error())};
  PgTransaction transaction(**connection, begin, call);
  Status outcome;
  try {
    outcome = body(transaction);
  } catch (...) {
    transaction.roll_back();
    throw;
  }
  if (outcome) outcome = transaction.commit();
  if (outcome) {
    hints_.tell(transaction.channels());
    return {};
  }
  transaction.roll_back();
  const auto& failure = transaction.failure();
  const bool met_another = failure && pg_is_worth_repeating(failure->remote_code);
  const bool was_lost = failure && failure->kind == ErrorKind::kUnavailable && !(**connection).usable();
  return {std::move(outcome), (met_another || was_lost) && transaction.surely_undone()};
}

Result<PgDatabase::Borrowed> PgDatabase::borrow(const Call& call) {
  std::unique_lock lock(mutex_);
  const auto free = [&] { return !idle_.empty() || open_ < kMostConnections; };
  const bool in_time = call.deadline == SteadyTime::max() ? freed_.wait(lock, call.stop, free)
                                                          : freed_.wait_until(lock, call.stop, call.deadline, free);
  if (!in_time) {
    if (call.stop.stop_requested())
      return fail(ErrorKind::kCancelled, "store.cancelled",
                  fmt::format("stopped before a connection to {} was free", address_.name()));
    return fail(ErrorKind::kTimeout, "store.busy",
                fmt::format("no connection to {} was free in time; nothing was read or written", address_.name()));
  }
  while (!idle_.empty()) {
    auto connection = std::move(idle_.back());
    idle_.pop_back();
    if (connection->still_there()) return Borrowed(*this, std::move(connection));
    --open_;
  }
  ++open_;
  lock.unlock();
  auto made = PgConnection::open(address_, clock_, call);
  if (made) return Borrowed(*this, std::move(*made));
  give_back(nullptr);
  return fail(std::move(made).error());
}

void PgDatabase::give_back(std::unique_ptr<PgConnection> connection) {
  std::scoped_lock lock(mutex_);
  if (connection && connection->idle())
    idle_.push_back(std::move(connection));
  else
    --open_;
  freed_.notify_all();
}

}  // namespace twinstep::store
