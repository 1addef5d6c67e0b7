#include "twinstep/security/key_store.h"

#include <algorithm>

#include "twinstep/base/encoding.h"
#include "twinstep/json/json.h"
#include "twinstep/security/seal.h"

namespace twinstep::security {
namespace {

using store::Rows;
using store::Transaction;

constexpr std::string_view kPrefix = "tsk_";
constexpr size_t kIdDigits = 12;
constexpr size_t kSecretChars = 43;
constexpr size_t kSecretBytes = 32;
constexpr size_t kSaltBytes = 16;
constexpr size_t kLongestName = 64;
constexpr Millis kLongest{10ll * 366 * 24 * 3600 * 1000};  // of overlaps and lives

#define KEY_COLUMNS                                                                                              \
  "id, name, salt, hash, previous_hash, previous_until, scopes, hubs, ids, actions, rate, created, created_by, " \
  "expires, last_used, revoked"
constexpr std::string_view kList = "SELECT " KEY_COLUMNS " FROM api_key ORDER BY created DESC, id";
constexpr std::string_view kFind =
    "SELECT " KEY_COLUMNS
    " FROM api_key WHERE id = $1 OR (name = $1 AND revoked IS NULL) ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END "
    "LIMIT 1";
#undef KEY_COLUMNS
constexpr std::string_view kTaken = "SELECT id FROM api_key WHERE name = $1 AND revoked IS NULL";
constexpr std::string_view kPut =
    "INSERT INTO api_key (id, name, salt, hash, scopes, hubs, ids, actions, rate, created, created_by, expires) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, {now}, $10, CASE WHEN $11 = 0 THEN NULL ELSE {now} + $11 END)";
constexpr std::string_view kRevoke = "UPDATE api_key SET revoked = {now} WHERE id = $1 AND revoked IS NULL";
constexpr std::string_view kRotate =
    "UPDATE api_key SET previous_hash = hash, previous_until = {now} + $2, hash = $3 WHERE id = $1";
constexpr std::string_view kTouch =
    "UPDATE api_key SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)";

std::vector<std::string> pieces(std::string_view text) {
  std::vector<std::string> out;
  for (size_t from = 0; from < text.size();) {
    const size_t end = std::min(text.find(',', from), text.size());
    out.emplace_back(text.substr(from, end - from));
    from = end + 1;
  }
  return out;
}

template <class Value>
std::string joined(const std::vector<Value>& all) {
  std::string out;
  for (const Value one : all) out += fmt::format("{}{}", out.empty() ? "" : ",", to_string(one));
  return out;
}

std::string list_text(const std::vector<std::string>& all) {
  json::array out;
  for (const std::string& one : all) out.push_back(json::value(json::string(one)));
  return json::write(out);
}

Result<std::vector<std::string>> list_of(const std::string& text) {
  TRY_ASSIGN(const json::value parsed, json::parse(text, "api_key"));
  std::vector<std::string> out;
  if (!parsed.is_array()) return fail(ErrorKind::kCorrupt, "store.corrupt", "api_key: a list is none");
  for (const json::value& one : parsed.get_array()) {
    // Left out, a limit would be gone and the key would allow more than it was made for.
    if (!one.is_string()) return fail(ErrorKind::kCorrupt, "store.corrupt", "api_key: a list holds what is no text");
    out.emplace_back(one.get_string());
  }
  return out;
}

Result<Key> key_of(const Rows& rows, size_t row) {
  Key out;
  out.id = rows.text(row, 0);
  out.name = rows.text(row, 1);
  out.salt = rows.text(row, 2);
  out.hash = rows.text(row, 3);
  out.previous_hash = rows.text(row, 4);
  out.previous_until = rows.time(row, 5);
  for (const std::string& one : pieces(rows.text(row, 6))) {
    TRY_ASSIGN(const Scope scope, scope_of(one));
    out.rights.scopes.push_back(scope);
  }
  TRY_ASSIGN(out.rights.hubs, list_of(rows.text(row, 7)));
  TRY_ASSIGN(out.rights.ids, list_of(rows.text(row, 8)));
  for (const std::string& one : pieces(rows.text(row, 9))) {
    TRY_ASSIGN(const DeviceAction action, action_of(one));
    out.rights.actions.push_back(action);
  }
  out.rights.rate = rows.text(row, 10);
  out.created = rows.time(row, 11);
  out.created_by = rows.text(row, 12);
  if (!rows.is_null(row, 13)) out.expires = rows.time(row, 13);
  if (!rows.is_null(row, 14)) out.last_used = rows.time(row, 14);
  if (!rows.is_null(row, 15)) out.revoked = rows.time(row, 15);
  return out;
}

Result<Key> find_in(Transaction& transaction, std::string_view name_or_id) {
  TRY_ASSIGN(const Rows rows, transaction.run(kFind, {name_or_id}));
  if (!rows.empty()) return key_of(rows, 0);
  return fail(ErrorKind::kNotFound, "key.unknown",
              fmt::format("there is no key '{}'; `twinstep key list` names them", name_or_id));
}

Status check_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kLongestName && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
  if (good && !name.starts_with(kPrefix)) return {};
  return fail(
      ErrorKind::kInvalid, "key.name",
      fmt::format("a key's name has 1 to {} of the characters A-Z a-z 0-9 . _ - and is no key itself", kLongestName));
}

Status check_span(Millis span, Millis least, std::string_view what) {
  if (span >= least && span <= kLongest) return {};
  return fail(ErrorKind::kInvalid, "key.time",
              fmt::format("{} must be at least {} ms and at most ten years", what, least.count()));
}

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }
bool is_base64url(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

Secret text_of(std::string_view id, std::string_view secret) {
  return Secret(fmt::format("{}{}_{}", kPrefix, id, secret));
}

}  // namespace

std::string_view state_of(const Key& key, SystemTime now) {
  if (key.revoked) return "revoked";
  return key.expires && *key.expires <= now ? "expired" : "active";
}

std::optional<KeyText> KeyText::parse(std::string_view text) {
  if (text.size() != kPrefix.size() + kIdDigits + 1 + kSecretChars || !text.starts_with(kPrefix)) return {};
  const KeyText out{text.substr(kPrefix.size(), kIdDigits), text.substr(kPrefix.size() + kIdDigits + 1)};
  if (text[kPrefix.size() + kIdDigits] != '_' || !std::all_of(out.id.begin(), out.id.end(), is_hex) ||
      !std::all_of(out.secret.begin(), out.secret.end(), is_base64url))
    return {};
  return out;
}

std::string hash_of(std::string_view secret, std::string_view salt) { return hex_encode(hmac_sha256(salt, secret)); }

Result<MadeKey> KeyStore::create(const NewKey& wanted, std::string_view by, const Call& call) {
  TRY(check_name(wanted.name));
  TRY(check(wanted.rights));
  if (wanted.expires_in) TRY(check_span(*wanted.expires_in, Millis{1000}, "the time after which a key expires"));
  const std::string id = hex_encode(random_bytes(kIdDigits / 2));
  const std::string salt = hex_encode(random_bytes(kSaltBytes));
  const std::string secret = base64url(random_bytes(kSecretBytes));
  const std::string hash = hash_of(secret, salt);
  const std::string scopes = joined(wanted.rights.scopes), actions = joined(wanted.rights.actions);
  const std::string hubs = list_text(wanted.rights.hubs), ids = list_text(wanted.rights.ids);
  Key made;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows taken, transaction.run(kTaken, {std::string_view(wanted.name)}));
        // An id of ours: the commit before this one succeeded, though its answer was lost.
        if (!taken.empty() && taken.text(0, 0) != id)
          return fail(
              ErrorKind::kConflict, "key.name-taken",
              fmt::format("there is a key '{}' already; revoke or rotate it, or choose another name", wanted.name));
        if (taken.empty())
          TRY(transaction.run(
              kPut, {std::string_view(id), std::string_view(wanted.name), std::string_view(salt),
                     std::string_view(hash), std::string_view(scopes), std::string_view(hubs), std::string_view(ids),
                     std::string_view(actions), std::string_view(wanted.rights.rate), by,
                     wanted.expires_in ? store::micros(*wanted.expires_in) : int64_t{0}}));
        TRY_ASSIGN(made, find_in(transaction, id));
        return {};
      },
      call));
  return MadeKey{std::move(made), text_of(id, secret)};
}

Result<std::vector<Key>> KeyStore::list(const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kList, {}, call));
  std::vector<Key> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    TRY_ASSIGN(Key one, key_of(rows, i));
    out.push_back(std::move(one));
  }
  return out;
}

Result<Key> KeyStore::find(std::string_view name_or_id, const Call& call) {
  Key out;
  TRY(database_.read(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(out, find_in(transaction, name_or_id));
        return {};
      },
      call));
  return out;
}

Result<Key> KeyStore::revoke(std::string_view name_or_id, const Call& call) {
  Key out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(out, find_in(transaction, name_or_id));
        TRY(transaction.run(kRevoke, {std::string_view(out.id)}));
        TRY_ASSIGN(out, find_in(transaction, std::string(out.id)));
        return {};
      },
      call));
  return out;
}

Result<MadeKey> KeyStore::rotate(std::string_view name_or_id, Millis overlap, const Call& call) {
  TRY(check_span(overlap, Millis{0}, "the overlap"));
  const std::string secret = base64url(random_bytes(kSecretBytes));
  Key out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(out, find_in(transaction, name_or_id));
        if (out.revoked)
          return fail(ErrorKind::kConflict, "key.revoked",
                      fmt::format("key '{}' is revoked and cannot be rotated; create another one", out.name));
        const std::string hash = hash_of(secret, out.salt);
        // Run a second time after a lost answer it must not make the new secret the previous one.
        if (out.hash != hash)
          TRY(transaction.run(kRotate, {std::string_view(out.id), store::micros(overlap), std::string_view(hash)}));
        TRY_ASSIGN(out, find_in(transaction, std::string(out.id)));
        return {};
      },
      call));
  Secret text = text_of(out.id, secret);
  return MadeKey{std::move(out), std::move(text)};
}

Status KeyStore::touch(const std::vector<std::pair<std::string, SystemTime>>& used, const Call& call) {
  if (used.empty()) return {};
  return database_.write(
      [&](Transaction& transaction) -> Status {
        std::vector<std::vector<store::Value>> values;
        for (const auto& [id, when] : used) values.push_back({std::string_view(id), store::micros(when)});
        TRY(transaction.run_each(kTouch, values));
        return {};
      },
      call);
}

}  // namespace twinstep::security
