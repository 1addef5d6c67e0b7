#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "twinstep/store/database.h"
#include "twinstep/store/pg_address.h"
#include "twinstep/store/waker.h"

struct pg_conn;    // libpq's own, which stays in pg_connection.cpp
struct pg_result;  //

namespace twinstep::store {

/// A statement and its values: integers are int8, texts are text.
struct PgRequest {
  std::string_view sql;  ///< our words replaced
  std::span<const Value> values = {};
};

/// One connection to PostgreSQL with its prepared statements.
///
/// Threads   one at a time.
/// Blocking  until the server answers, call.deadline passes or call.stop fires (within milliseconds); a minute without
///           an answer counts as a lost connection. Looking up the host's name is libpq's and knows no deadline.
/// Errors    kUnavailable "store.postgresql", "store.disk-full", "store.read-only" (a standby), "store.contended"
///           (serialization, deadlock, a key taken at the same moment); kTimeout "store.busy", kCancelled
///           "store.cancelled": given up, the server forgets the work within about a second; kDenied "store.denied";
///           kInvalid "store.no-database", "store.refused" (a value that no column takes); kCorrupt "store.corrupt".
///           remote_code holds the SQLSTATE. A broken SQL text is a bug: std::logic_error. No text holds the password.
/// Source    PostgreSQL 15: libpq "Pipeline Mode", "Asynchronous Command Processing"; appendix "Error Codes".
class PgConnection {
 public:
  /// `clock` outlives the connection.
  static Result<std::unique_ptr<PgConnection>> open(const PgAddress& address, Clock& clock, const Call& call);
  ~PgConnection();
  PgConnection(const PgConnection&) = delete;
  PgConnection& operator=(const PgConnection&) = delete;

  /// Sends all of them at once and gives an answer for each; after the first that fails the others are not done.
  Result<std::vector<Rows>> run(std::span<const PgRequest> requests, const Call& call);
  Result<Rows> run(std::string_view sql, std::initializer_list<Value> values, const Call& call);
  /// Several statements without values.
  Status script(const std::string& sql, const Call& call);

  /// Waits for something from the server or for `also` to be woken.
  Status listen(const Waker& also, const Call& call);
  /// Payloads of notifications of other connections since the last time.
  std::vector<std::string> take_hints();

  /// False when it must not be used any more: lost, given up in the middle, or of a server that was demoted.
  bool usable() const { return usable_; }
  /// As usable(), and looks whether the server has hung up meanwhile.
  bool still_there();
  /// True between transactions.
  bool idle() const;

 private:
  using Answer = std::unique_ptr<pg_result, void (*)(pg_result*)>;

  PgConnection(const PgAddress& address, Clock& clock) : address_(address), clock_(clock) {}
  Status connect(const Call& call);
  Status prepare_session(const Call& call);
  Status send(std::span<const PgRequest> requests, std::vector<std::string>& prepared);
  Result<Rows> receive_rows(const Call& call);
  Result<Answer> receive(const Call& call);
  Status wait(short events, const Call& call, const Waker* also = nullptr);
  tl::unexpected<Error> lost();
  Error error_of(const pg_result* answer);

  const PgAddress address_;
  Clock& clock_;
  pg_conn* connection_ = nullptr;
  Waker waker_;
  bool usable_ = true;
  std::unordered_map<std::string, std::string> statements_;  // text and types of values to the server's name for it
  size_t named_ = 0;
};

}  // namespace twinstep::store
