#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/store/database.h"

namespace twinstep::store {

/// A prepared statement. Bind in order, then step until it says false.
class Statement {
 public:
  Statement& bind(std::string_view text);
  Statement& bind(int64_t number);
  /// Binds `$1`, `$2`, ... and `$now`; names that the statement does not use are left alone. Texts are not copied: they
  /// need to live until the statement is reset, and every run binds all of them anew.
  void bind_all(std::span<const Value> values, int64_t now);
  /// True: a row is there. False: done. Errors  kUnavailable "store.sqlite" (busy, full, I/O), kCorrupt.
  Result<bool> step();
  Status run();  ///< steps to the end
  /// Ready to be bound and stepped again.
  void reset();
  int columns() const { return sqlite3_column_count(statement_.get()); }
  bool is_null(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }
  std::string text(int column) const;
  int64_t number(int column) const;

 private:
  friend class Sqlite;
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement, sqlite3_finalize) {}
  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement_;
  int bound_ = 0;
  std::vector<int> places_;  // of $1, $2, ... as SQLite counts them; 0: not used, asked for once
  int now_place_ = -1;       // of $now; -1: not asked for yet
};

/// One SQLite connection: WAL, synchronous=FULL, five seconds of patience with other processes.
///
/// Threads  one at a time.
class Sqlite {
 public:
  /// Creates the file, readable by its owner only, with its folder when missing. Errors  kUnavailable naming the path.
  static Result<Sqlite> open(const std::string& path);
  /// A broken SQL text is a bug: throws std::logic_error. Errors  as Statement::step: the schema is read from the file.
  Result<Statement> prepare(std::string_view sql);
  Status execute(const char* sql);
  /// Is what we have open still the file of that name, and one of SQLite's? A commit to a file that was deleted, moved
  /// or overwritten succeeds, and nobody would ever find it again. Costs two small reads of what the kernel has in
  /// memory. Errors  kUnavailable "store.moved", kCorrupt "store.corrupt".
  Status still_there();
  bool in_transaction() const { return sqlite3_get_autocommit(database_.get()) == 0; }
  int64_t changes() const { return sqlite3_changes64(database_.get()); }

 private:
  bool is_foreign() const;  ///< the open file is not empty and none of SQLite's
  Status is_sound(const char* path) const;
  explicit Sqlite(sqlite3* database) : database_(database, sqlite3_close) {}
  std::unique_ptr<sqlite3, int (*)(sqlite3*)> database_;
};

/// Errors  the database's last one, with what it means for the user.
Error sqlite_error(sqlite3* database);

}  // namespace twinstep::store
