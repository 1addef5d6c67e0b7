#include "twinstep/store/database.h"

#include <charconv>
#include <iterator>

#include "twinstep/store/migrations.h"
#include "twinstep/store/pg_database.h"
#include "twinstep/store/sqlite_database.h"

namespace twinstep::store {
namespace {

constexpr Migration kMigrations[] = {
#include "twinstep/store/migrations.inc"
};

}  // namespace

std::span<const Migration> migrations() { return kMigrations; }

const std::string& Rows::text(size_t row, size_t column) const {
  static const std::string none;
  const auto& cell = cells[row][column];
  return cell ? *cell : none;
}

int64_t Rows::number(size_t row, size_t column) const {
  const std::string& digits = text(row, column);
  int64_t out = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), out);
  return out;
}

Result<std::vector<Rows>> Transaction::run_each(std::string_view sql, std::span<const std::vector<Value>> each) {
  std::vector<Rows> out;
  for (const std::vector<Value>& values : each) {
    TRY_ASSIGN(Rows rows, run(sql, values));
    out.push_back(std::move(rows));
  }
  return out;
}

Result<Rows> Database::ask(std::string_view sql, std::initializer_list<Value> values, const Call& call) {
  Rows rows;
  TRY(read(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(rows, transaction.run(sql, values));
        return {};
      },
      call));
  return rows;
}

Result<Rows> Database::change(std::string_view sql, std::initializer_list<Value> values, const Call& call) {
  Rows rows;
  TRY(write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(rows, transaction.run(sql, values));
        return {};
      },
      call));
  return rows;
}

Result<std::unique_ptr<Database>> open_database(const std::string& store, Clock& clock) {
  constexpr std::string_view kSqlite = "sqlite:";
  if (store.starts_with(kSqlite)) return SqliteDatabase::open(store.substr(kSqlite.size()), clock);
  if (PgAddress::is_one(store)) return PgDatabase::open(store, clock);
  return fail(ErrorKind::kInvalid, "store.name",
              "store: expected sqlite:PATH or postgresql://USER@HOST/DATABASE, which begins with neither");
}

}  // namespace twinstep::store
