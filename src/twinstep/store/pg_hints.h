#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "twinstep/store/pg_connection.h"

namespace twinstep::store {

/// Carries hints between the replicas by NOTIFY and LISTEN, on a connection of its own that is made when there is
/// somebody to tell or to listen, and made again with growing pauses when it is lost.
///
/// They are sent after the commit that they speak of, not in it: PostgreSQL lets only one transaction that notifies
/// commit at a time, and then no two of them would share a flush to the disk.
///
/// Threads  any method, any thread.
class PgHints {
 public:
  /// `clock` outlives this.
  PgHints(PgAddress address, Clock& clock);
  ~PgHints();

  /// Hears "" after every connecting, because hints may have been missed.
  void listen(Database::Listener listener);
  /// Tells the listener of this process at once, and the others soon.
  void tell(const std::set<std::string>& channels);

 private:
  void work(const std::stop_token& stop);
  Status serve(PgConnection& connection, const Call& call);
  Status send(PgConnection& connection, const Call& call);
  void hear(std::string_view channel);

  const PgAddress address_;
  Clock& clock_;
  const Waker waker_;

  std::mutex mutex_;  // guards all below but the thread
  std::condition_variable_any changed_;
  Database::Listener listener_;
  std::set<std::string> unsent_;
  std::jthread thread_;  // last: uses all above
};

}  // namespace twinstep::store
