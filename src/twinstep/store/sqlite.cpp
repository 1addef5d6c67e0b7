#include "twinstep/store/sqlite.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace twinstep::store {

Error sqlite_error(sqlite3* database) {
  const int code = sqlite3_errcode(database) & 0xff;
  const char* text = sqlite3_errmsg(database);
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
    return {.kind = ErrorKind::kCorrupt,
            .what = fmt::format("the state file is damaged ({}); move it away to begin anew", text),
            .code = "store.corrupt"};
  if (code == SQLITE_FULL)
    return {.kind = ErrorKind::kUnavailable,
            .what = "the state file cannot grow: the disk is full",
            .code = "store.disk-full"};
  return {.kind = ErrorKind::kUnavailable,
          .what = fmt::format("the state file cannot be used: {}", text),
          .code = "store.sqlite"};
}

Statement& Statement::bind(std::string_view text) {
  sqlite3_bind_text64(statement_.get(), ++bound_, text.empty() ? "" : text.data(), text.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind(int64_t number) {
  sqlite3_bind_int64(statement_.get(), ++bound_, number);
  return *this;
}

void Statement::bind_all(std::span<const Value> values, int64_t now) {
  sqlite3_stmt* statement = statement_.get();
  while (places_.size() < values.size())
    places_.push_back(sqlite3_bind_parameter_index(statement, fmt::format("${}", places_.size() + 1).c_str()));
  if (now_place_ < 0) now_place_ = sqlite3_bind_parameter_index(statement, "$now");
  for (size_t i = 0; i < values.size(); ++i) {
    const int at = places_[i];
    if (at == 0) continue;
    if (const auto* number = std::get_if<int64_t>(&values[i]))
      sqlite3_bind_int64(statement, at, *number);
    else if (const auto* text = std::get_if<std::string_view>(&values[i]))
      sqlite3_bind_text64(statement, at, text->empty() ? "" : text->data(), text->size(), SQLITE_STATIC, SQLITE_UTF8);
    else
      sqlite3_bind_null(statement, at);
  }
  if (now_place_ > 0) sqlite3_bind_int64(statement, now_place_, now);
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
  bound_ = 0;
}

Result<bool> Statement::step() {
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return fail(sqlite_error(database_));
  }
}

Status Statement::run() {
  for (;;) {
    TRY_ASSIGN(const bool more, step());
    if (!more) return {};
  }
}

std::string Statement::text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
  return text ? std::string(reinterpret_cast<const char*>(text), size) : std::string();
}

int64_t Statement::number(int column) const { return sqlite3_column_int64(statement_.get(), column); }

Result<Sqlite> Sqlite::open(const std::string& path) {
  const auto cannot = [&](std::string_view why) {
    return fail(ErrorKind::kUnavailable, "store.open", fmt::format("state file {}: {}", path, why));
  };
  if (path != ":memory:") {
    std::error_code error;
    if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty())
      std::filesystem::create_directories(folder, error);
    if (error) return cannot(fmt::format("its folder cannot be made: {}", error.message()));
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return cannot(std::strerror(errno));
    ::close(fd);
  }
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  Sqlite out(raw);
  if (opened != SQLITE_OK)
    return fail(raw ? sqlite_error(raw)
                    : Error{.kind = ErrorKind::kUnavailable, .what = "no memory for SQLite", .code = "store.open"});
  sqlite3_busy_timeout(raw, 5000);
  // The log is copied into the file at 16 MB instead of 4: pages that change often are copied less often. The cache
  // grows to 8 MB only with work.
  for (const char* pragma : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON",
                             "PRAGMA wal_autocheckpoint=4000", "PRAGMA cache_size=-8000"}) {
    auto set = out.execute(pragma);
    if (!set) return fail_within(Result<int>(tl::unexpected<Error>(set.error())), fmt::format("state file {}", path));
  }
  return out;
}

Statement Sqlite::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()), &statement, nullptr) != SQLITE_OK)
    throw std::logic_error(fmt::format("SQL '{}': {}", sql, sqlite3_errmsg(database_.get())));
  return Statement(database_.get(), statement);
}

Status Sqlite::execute(const char* sql) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return fail(sqlite_error(database_.get()));
  return {};
}

}  // namespace twinstep::store
