#include "twinstep/store/sqlite.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stdexcept>

namespace twinstep::store {

namespace {

constexpr std::string_view kFileStart{"SQLite format 3\0", 16};
constexpr std::array<std::string_view, 2> kLogStarts{"\x37\x7f\x06\x82", "\x37\x7f\x06\x83"};

Error damaged(std::string_view why) {
  return {.kind = ErrorKind::kCorrupt,
          .what = fmt::format("the state file is damaged ({}); stop, put a backup in its place, or move it away to "
                              "begin anew",
                              why),
          .code = "store.corrupt"};
}

/// The first bytes of an open file; nothing when it is shorter.
std::optional<std::string> start_of(sqlite3_file* file, size_t size) {
  std::string out(size, '\0');
  if (file->pMethods->xRead(file, out.data(), static_cast<int>(size), 0) != SQLITE_OK) return std::nullopt;
  return out;
}

/// Why the system last refused something that was asked of the log or, if it never did, of the file itself.
int last_errno(sqlite3* database) {
  for (const int which : {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER}) {
    sqlite3_file* file = nullptr;
    int number = 0;
    sqlite3_file_control(database, "main", which, &file);
    if (file && file->pMethods) file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number);
    if (number != 0) return number;
  }
  return 0;
}

std::string_view why_no_room(int system) {
  if (system == EFBIG) return "it has reached the limit of a file's size";
  if (system == EDQUOT) return "its user's quota is used up";
  return "the disk is full";
}

}  // namespace

Error sqlite_error(sqlite3* database) {
  const int code = sqlite3_errcode(database) & 0xff;
  const char* text = sqlite3_errmsg(database);
  const int system = code == SQLITE_IOERR ? last_errno(database) : 0;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) return damaged(text);
  if (code == SQLITE_FULL || system == ENOSPC || system == EDQUOT || system == EFBIG)
    return {.kind = ErrorKind::kUnavailable,
            .what = fmt::format("the state file cannot grow: {}", why_no_room(system)),
            .code = "store.disk-full"};
  if (code == SQLITE_READONLY || system == EROFS)
    return {.kind = ErrorKind::kUnavailable,
            .what = "the state file cannot be written: it, its folder or its disk is read-only",
            .code = "store.read-only"};
  return {.kind = ErrorKind::kUnavailable,
          .what = fmt::format("the state file cannot be used: {}{}{}", text, system ? ": " : "",
                              system ? std::strerror(system) : ""),
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
    // A new file is for its owner's eyes. One that is there must not be opened here: closing any descriptor of it would
    // end the locks that this process's other connections have, and the next program that closes the file would then
    // remove the log from under them (sqlite.org/howtocorrupt.html, 2.2).
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
      ::close(fd);
    else if (errno != EEXIST || ::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0)
      return cannot(std::strerror(errno));
  }
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  Sqlite out(raw);
  if (opened != SQLITE_OK)
    return fail(raw ? sqlite_error(raw)
                    : Error{.kind = ErrorKind::kUnavailable, .what = "no memory for SQLite", .code = "store.open"});
  // SQLite would find that out too, but a log beside the file could be copied into it meanwhile.
  if (out.is_foreign()) return fail(damaged("it does not begin as a file of SQLite").within(path));
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

Result<Statement> Sqlite::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int done = sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (done == SQLITE_OK) return Statement(database_.get(), statement);
  if ((done & 0xff) == SQLITE_ERROR || (done & 0xff) == SQLITE_MISUSE)
    throw std::logic_error(fmt::format("SQL '{}': {}", sql, sqlite3_errmsg(database_.get())));
  return fail(sqlite_error(database_.get()));
}

bool Sqlite::is_foreign() const {
  sqlite3_file* file = nullptr;
  sqlite3_int64 size = 0;
  sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (!file || !file->pMethods || file->pMethods->xFileSize(file, &size) != SQLITE_OK || size == 0) return false;
  return start_of(file, kFileStart.size()) != kFileStart;
}

Status Sqlite::still_there() {
  const char* path = sqlite3_db_filename(database_.get(), "main");
  if (!path || *path == '\0') return {};  // in memory
  Status sound = is_sound(path);
  // What is left of a damaged file is for people to look at: closing must not copy the log into it.
  sqlite3_db_config(database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, sound ? 0 : 1, nullptr);
  return sound;
}

Status Sqlite::is_sound(const char* path) const {
  const auto moved = [&](std::string_view what) {
    return fail(ErrorKind::kUnavailable, "store.moved",
                fmt::format("{}: the state file{} was moved or deleted while it is in use; put it back, or restart to "
                            "work with what is there now",
                            path, what));
  };
  int has_moved = 0;
  sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &has_moved);
  if (has_moved) return moved("");
  struct stat ignored {};
  if (::stat(sqlite3_filename_wal(path), &ignored) != 0 && errno == ENOENT) return moved("'s log");
  sqlite3_file *file = nullptr, *log = nullptr;
  sqlite3_int64 size = 0;
  sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (file && file->pMethods && start_of(file, kFileStart.size()) != kFileStart)
    return fail(damaged("it does not begin as a file of SQLite").within(path));
  sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (!log || !log->pMethods || log->pMethods->xFileSize(log, &size) != SQLITE_OK || size == 0) return {};
  const auto start = start_of(log, kLogStarts.front().size());
  if (std::none_of(kLogStarts.begin(), kLogStarts.end(), [&](std::string_view one) { return start == one; }))
    return fail(damaged("its log does not begin as one of SQLite").within(path));
  return {};
}

Status Sqlite::execute(const char* sql) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return fail(sqlite_error(database_.get()));
  return {};
}

}  // namespace twinstep::store
