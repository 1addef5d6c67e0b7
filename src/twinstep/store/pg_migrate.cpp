#include "twinstep/store/pg_migrate.h"

#include "twinstep/store/migrations.h"
#include "twinstep/store/sql_words.h"

namespace twinstep::store {
namespace {

// Any number that nobody else uses in the same database.
constexpr std::string_view kLock = "SELECT pg_advisory_xact_lock(7956006924214364526)";
constexpr std::string_view kHasVersion = "SELECT to_regclass('twinstep_schema')";
constexpr std::string_view kVersion = "SELECT coalesce(max(version), 0) FROM twinstep_schema";
constexpr std::string_view kMakeVersion =
    "CREATE TABLE IF NOT EXISTS twinstep_schema "
    "(version BIGINT PRIMARY KEY, name TEXT NOT NULL, since TIMESTAMPTZ NOT NULL DEFAULT now())";
constexpr std::string_view kPutVersion = "INSERT INTO twinstep_schema (version, name) VALUES ($1, $2)";

Result<int64_t> version_of(PgConnection& connection, const Call& call) {
  TRY_ASSIGN(const Rows there, connection.run(kHasVersion, {}, call));
  if (there.is_null(0, 0)) return 0;
  TRY_ASSIGN(const Rows rows, connection.run(kVersion, {}, call));
  const auto known = static_cast<int64_t>(migrations().size());
  if (rows.number(0, 0) > known)
    return fail(ErrorKind::kInvalid, "store.newer",
                fmt::format("the database was made by a newer twinstep (schema {}, this one knows {})",
                            rows.number(0, 0), known));
  return rows.number(0, 0);
}

}  // namespace

Status pg_migrate(PgConnection& connection, const Call& call) {
  const auto all = migrations();
  // Looked at first without the lock: who has nothing to change needs no right to make tables.
  TRY_ASSIGN(const int64_t before, version_of(connection, call));
  if (before == static_cast<int64_t>(all.size())) return {};
  TRY(connection.run("BEGIN", {}, call));
  TRY(connection.run(kLock, {}, call));
  TRY(connection.run(kMakeVersion, {}, call));
  TRY_ASSIGN(const int64_t version, version_of(connection, call));
  for (auto i = static_cast<size_t>(version); i < all.size(); ++i) {
    // Ordered by bytes, as in SQLite: ranges of keys mean the same, and no index depends on a locale's rules, which
    // change with the C library.
    TRY(connection.script(with_words(all[i].sql, {{" TEXT", " TEXT COLLATE \"C\""}}), call));
    TRY(connection.run(kPutVersion, {static_cast<int64_t>(i) + 1, std::string_view(all[i].name)}, call));
  }
  TRY(connection.run("COMMIT", {}, call));
  return {};
}

}  // namespace twinstep::store
