#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "twinstep/store/pg_hints.h"

namespace twinstep::store {

/// PostgreSQL behind a pool of connections, one for each transaction under way; broken ones are dropped and new ones
/// made as needed. write() is READ COMMITTED: statements that read what they then write lock it ({for update}). A
/// transaction that met another one (deadlock, the same key at the same moment) or whose connection was lost before the
/// commit is done again, within the deadline. read() is REPEATABLE READ.
///
/// Time   `{now}` is the server's, of the statement.
class PgDatabase final : public Database {
 public:
  /// Makes the tables, or brings them up to date, in the connection's current schema.
  static Result<std::unique_ptr<Database>> open(const std::string& uri, Clock& clock);
  ~PgDatabase() override = default;

  Status write(const Body& body, const Call& call) override;
  Status read(const Body& body, const Call& call) override;
  void listen(Listener listener) override { hints_.listen(std::move(listener)); }
  bool shared() const override { return true; }
  Millis went_back() const override { return Millis{0}; }  // the server's clock is nobody's to mend here

 private:
  class Borrowed;
  struct Tried;

  PgDatabase(PgAddress address, Clock& clock) : address_(address), clock_(clock), hints_(std::move(address), clock) {}
  Status repeat(std::string_view begin, const Body& body, const Call& call);
  Tried try_once(std::string_view begin, const Body& body, const Call& call);
  Result<Borrowed> borrow(const Call& call);
  void give_back(std::unique_ptr<PgConnection> connection);

  const PgAddress address_;
  Clock& clock_;
  std::mutex mutex_;  // guards idle_, open_
  std::condition_variable_any freed_;
  std::vector<std::unique_ptr<PgConnection>> idle_;  // the last one used is the first one taken
  size_t open_ = 0;                                  // idle, in use and being made
  PgHints hints_;
};

}  // namespace twinstep::store
