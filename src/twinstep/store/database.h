#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace twinstep::store {

/// A value for $1, $2, ... of a statement. Views need to live until the statement has run.
using Value = std::variant<std::nullptr_t, int64_t, std::string_view>;

/// Times as they are kept: microseconds since 1970, UTC.
inline int64_t micros(SystemTime time) { return time.time_since_epoch().count(); }
inline int64_t micros(Millis span) { return std::chrono::duration_cast<std::chrono::microseconds>(span).count(); }
inline SystemTime time_of(int64_t micros) { return SystemTime{std::chrono::microseconds{micros}}; }

/// What a statement gave: rows of cells, null or text; numbers in decimal.
struct Rows {
  std::vector<std::vector<std::optional<std::string>>> cells;
  int64_t affected = 0;  ///< by INSERT, UPDATE, DELETE

  bool empty() const { return cells.empty(); }
  size_t size() const { return cells.size(); }
  bool is_null(size_t row, size_t column) const { return !cells[row][column]; }
  const std::string& text(size_t row, size_t column) const;  ///< null = ""
  int64_t number(size_t row, size_t column) const;           ///< null = 0
  SystemTime time(size_t row, size_t column) const { return time_of(number(row, column)); }
};

/// Statements that happen together or not at all. The SQL is what SQLite and PostgreSQL share, with three words of
/// ours:
/// `{now}` is the store's time (microseconds since 1970, UTC); `{skip locked}` ends a SELECT whose rows other replicas
/// may be claiming at the same moment; `{for update}` ends one whose rows must stay as they were read until the commit.
/// Text is ordered by its bytes. Values are of the type that they have here, whatever is compared with them; broken
/// UTF-8 and zero bytes may become U+FFFD.
class Transaction {
 public:
  virtual ~Transaction() = default;
  /// A broken SQL text is a bug: throws std::logic_error. Errors  as Database::write.
  virtual Result<Rows> run(std::string_view sql, std::span<const Value> values) = 0;
  Result<Rows> run(std::string_view sql, std::initializer_list<Value> values) {
    return run(sql, std::span<const Value>(values.begin(), values.size()));
  }
  /// The same statement for each of these, in order, with an answer for each; PostgreSQL gets them in one message, so
  /// that a hundred take little longer than one.
  virtual Result<std::vector<Rows>> run_each(std::string_view sql, std::span<const std::vector<Value>> each);
  /// After the commit, everyone who listens hears `channel`: a hint that there is work, never a promise.
  virtual void notify(std::string_view channel) = 0;
};

/// One relational database with twinstep's tables in it, at the newest schema.
///
/// Threads   any method, any thread.
/// Blocking  until the commit is on disk. Gives up when call.deadline passes or call.stop fires: SQLite before it has
///           begun, PostgreSQL at any moment.
/// Errors    kUnavailable "store.*": contended, full, away; kTimeout "store.busy" and kCancelled "store.cancelled":
/// given
///           up. Nothing was changed, or (no answer to a commit) it is not known whether it was: every body must be
///           safe to repeat. kDenied and kInvalid "store.*": rights, a missing database, a value that no column takes.
///           kCorrupt "store.corrupt". What the body returns. No text holds a password.
class Database {
 public:
  using Body = std::function<Status(Transaction&)>;
  /// Hears the channels of Transaction::notify, from threads of the database and of those that write. "" means any
  /// channel: hints of other processes may have been missed. Must not block, and not use the database.
  using Listener = std::function<void(std::string_view channel)>;

  virtual ~Database() = default;
  /// Runs the body in a transaction and commits; rolls back when it returns an error or throws. The body may run more
  /// than once, so it must not change anything outside itself but what it sets anew each time.
  virtual Status write(const Body& body, const Call& call) = 0;
  /// As write(), for bodies that only read: a consistent view, no lock held against writers.
  virtual Status read(const Body& body, const Call& call) = 0;
  /// A read() and a write() of one statement.
  Result<Rows> ask(std::string_view sql, std::initializer_list<Value> values, const Call& call);
  Result<Rows> change(std::string_view sql, std::initializer_list<Value> values, const Call& call);
  virtual void listen(Listener listener) = 0;
  /// True when other processes may work on the same tables: claims then need leases.
  virtual bool shared() const = 0;
  /// How far the store's clock was set back since it was last seen; waiting work would come that much too late.
  virtual Millis went_back() const = 0;
};

/// Makes or opens what `store:` names: "sqlite:PATH", "sqlite::memory:", "postgresql://...", and brings its schema up
/// to date. Blocking: half a minute at most while PostgreSQL is away.
/// Errors  kInvalid "store.newer" for a schema of a newer version, "store.name"; kUnavailable, which may pass; as
///         Database.
/// `clock` outlives the database.
Result<std::unique_ptr<Database>> open_database(const std::string& store, Clock& clock);

}  // namespace twinstep::store
