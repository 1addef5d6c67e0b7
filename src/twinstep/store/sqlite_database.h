#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "twinstep/store/database.h"
#include "twinstep/store/sqlite.h"

namespace twinstep::store {

/// SQLite behind one writer thread: transactions that wait at the same moment share one commit and so one flush to the
/// disk, each inside its own savepoint. Reads go through a connection of their own and see the last commit.
///
/// Time   `{now}` starts as the system's clock and then follows the steady clock (docs/durability.md).
class SqliteDatabase final : public Database {
 public:
  /// ":memory:" keeps everything in this object.
  static Result<std::unique_ptr<Database>> open(const std::string& path, Clock& clock);
  ~SqliteDatabase() override;

  Status write(const Body& body, const Call& call) override;
  Status read(const Body& body, const Call& call) override;
  void listen(Listener listener) override;
  bool shared() const override { return false; }
  Millis went_back() const override { return went_back_; }

  /// One connection with its prepared statements.
  class Connection;

 private:
  struct Job {
    const Body& body;
    std::vector<std::string> channels{};
    Status outcome{};
    std::exception_ptr thrown{};
    std::condition_variable changed{};  // its own, so that the end of one wakes one
    bool begun = false;
    bool ended = false;
  };

  SqliteDatabase(std::unique_ptr<Connection> writer, std::unique_ptr<Connection> reader, Clock& clock);
  Status migrate();
  Status begin_time();
  Status read_with(Connection& reader, const Body& body);
  int64_t now() const;
  void work(std::stop_token stop);
  Status commit_together(const std::deque<Job*>& jobs);
  void run_one(Job& job);
  void tell(const std::deque<Job*>& jobs);

  Clock& clock_;
  const SteadyTime opened_;
  int64_t first_now_ = 0;  // the store's time when it was opened
  Millis went_back_{0};
  int64_t saved_now_ = 0;  // as last written to the database; of the writer
  std::unique_ptr<Connection> writer_;
  std::unique_ptr<Connection> reader_;  // of whoever set reading_; null: in memory, reads go through the writer

  std::mutex mutex_;                         // guards queue_, reading_, listener_ and every job in the queue
  std::condition_variable_any queued_;       // for the writer
  std::condition_variable_any reader_free_;  // for those that want to read
  bool reading_ = false;
  std::deque<Job*> queue_;
  Listener listener_;
  std::jthread thread_;  // last: uses all above
};

}  // namespace twinstep::store
