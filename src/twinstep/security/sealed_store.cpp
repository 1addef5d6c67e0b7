#include "twinstep/security/sealed_store.h"

namespace twinstep::security {
namespace {

constexpr std::string_view kPurpose = "secret";
constexpr std::string_view kGet = "SELECT value FROM sealed WHERE name = $1";
constexpr std::string_view kPut =
    "INSERT INTO sealed (name, value, updated) VALUES ($1, $2, {now}) ON CONFLICT (name) DO NOTHING";
constexpr std::string_view kOthers =
    "SELECT name, value FROM sealed WHERE NOT (value >= $1 AND value < $2) ORDER BY name LIMIT $3";
constexpr std::string_view kReseal = "UPDATE sealed SET value = $2, updated = {now} WHERE name = $1 AND value = $3";

}  // namespace

Result<Secret> SealedStore::get_or_put(std::string_view name, const Secret& fresh, const Sealer& sealer,
                                       const Call& call) {
  TRY_ASSIGN(store::Rows rows, database_.ask(kGet, {name}, call));
  if (rows.empty()) {
    TRY_ASSIGN(const std::string sealed, sealer.seal(fresh.reveal(), kPurpose, name));
    TRY(database_.change(kPut, {name, std::string_view(sealed)}, call));
    TRY_ASSIGN(rows, database_.ask(kGet, {name}, call));  // another replica may have been first
  }
  if (rows.empty()) return fail(ErrorKind::kUnavailable, "store.sealed", "a secret was removed while it was made");
  return sealer.open(rows.text(0, 0), kPurpose, name);
}

Result<uint64_t> SealedStore::rekey(const Sealer& sealer, const Call& call, int batch) {
  // Sealed texts of the new key are those between these two: the id has a fixed length, and ';' follows ':'.
  const std::string first = "v1:" + sealer.key_id() + ":", end = "v1:" + sealer.key_id() + ";";
  uint64_t done = 0;
  for (;;) {
    uint64_t now = 0;
    TRY(database_.write(
        [&](store::Transaction& transaction) -> Status {
          now = 0;
          TRY_ASSIGN(const store::Rows rows, transaction.run(kOthers, {std::string_view(first), std::string_view(end),
                                                                       static_cast<int64_t>(batch)}));
          for (size_t i = 0; i < rows.size(); ++i) {
            TRY_ASSIGN(const Secret plain, sealer.open(rows.text(i, 1), kPurpose, rows.text(i, 0)));
            TRY_ASSIGN(const std::string sealed, sealer.seal(plain.reveal(), kPurpose, rows.text(i, 0)));
            TRY(transaction.run(kReseal, {std::string_view(rows.text(i, 0)), std::string_view(sealed),
                                          std::string_view(rows.text(i, 1))}));
            ++now;
          }
          return {};
        },
        call));
    if (now == 0) return done;
    done += now;
  }
}

}  // namespace twinstep::security
