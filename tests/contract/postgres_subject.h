#pragma once

#include <stdexcept>

#include "postgres_server.h"
#include "twinstep/store/store_subject.h"

namespace twinstep::store {

/// PostgreSQL, whose time is the server's: it passes by making everything that is kept older.
class PostgresSubject final : public Subject {
 public:
  static std::unique_ptr<Subject> make() { return std::make_unique<PostgresSubject>(); }
  std::unique_ptr<Database> open() override { return open_database(uri, clock()).value(); }
  void advance(Database& database, std::chrono::nanoseconds span) override {
    const auto by = micros(std::chrono::duration_cast<Millis>(span));
    const auto done = database.write(
        [&](Transaction& transaction) -> Status {
          for (const char* sql :
               {"UPDATE workflow SET due = due - $1, created = created - $1, updated = updated - $1, ended = ended - "
                "$1, "
                "lease_until = CASE WHEN lease_until = 0 THEN 0 ELSE lease_until - $1 END",
                "UPDATE step SET at = at - $1", "UPDATE history SET at = at - $1", "UPDATE seen SET at = at - $1",
                "UPDATE run_outcome SET at = at - $1", "UPDATE ledger SET updated = updated - $1",
                "UPDATE pause SET until = until - $1, since = since - $1",
                "UPDATE link_lock SET until = until - $1, since = since - $1",
                "UPDATE answer SET at = at - $1, held = held - $1",
                "UPDATE notice SET since = since - $1, due = due - $1"})
            TRY(transaction.run(sql, {by}));
          return {};
        },
        {});
    if (!done) throw std::runtime_error(done.error().what);
  }
  Clock& clock() override { return real_clock(); }

  const std::string uri = twinstep::testing::PostgresServer::shared().fresh();
};

}  // namespace twinstep::store
