#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/secret.h"
#include "twinstep/security/rights.h"
#include "twinstep/store/database.h"

namespace twinstep::security {

/// A key as the store has it. It holds no secret: only what the secret is compared with.
struct Key {
  std::string id;    ///< 12 hex digits, a part of the key's text
  std::string name;  ///< unique among those that are not revoked
  Rights rights;
  std::string salt, hash;     ///< hex
  std::string previous_hash;  ///< empty = never rotated
  SystemTime previous_until{};
  SystemTime created{};
  std::string created_by;
  std::optional<SystemTime> expires, last_used, revoked;
};

/// "active", "expired" or "revoked".
std::string_view state_of(const Key& key, SystemTime now);

/// The text that a caller shows: "tsk_<id>_<secret>", where the secret is 256 random bits as 43 characters of URL-safe
/// base64. The id makes it be found without looking at every key; the prefix lets scanners of secrets recognise it.
struct KeyText {
  std::string_view id, secret;
  static std::optional<KeyText> parse(std::string_view text);
};

/// HMAC-SHA256 of the secret under the key's salt, hex. One round is enough: the secret is 256 random bits, which
/// nobody guesses however fast a guess is; slow hashes are for what people choose.
std::string hash_of(std::string_view secret, std::string_view salt);

struct NewKey {
  std::string name;  ///< 1 to 64 of A-Z a-z 0-9 . _ -
  Rights rights;
  std::optional<Millis> expires_in;
};
/// A key and the text that is shown this one time.
struct MadeKey {
  Key key;
  Secret text;
};

/// The keys in the store.
///
/// Threads   any method, any thread.
/// Errors    of the database; kInvalid "key.*"; kConflict "key.name-taken"; kNotFound "key.unknown".
class KeyStore {
 public:
  explicit KeyStore(store::Database& database) : database_(database) {}

  /// `by` is kept: who made it.
  Result<MadeKey> create(const NewKey& wanted, std::string_view by, const Call& call);
  /// Every key there ever was, newest first.
  Result<std::vector<Key>> list(const Call& call);
  /// By id, or by name among those that are not revoked.
  Result<Key> find(std::string_view name_or_id, const Call& call);
  /// Ends it for good; one that is revoked already stays as it is.
  Result<Key> revoke(std::string_view name_or_id, const Call& call);
  /// Gives it another secret; the one before works on for `overlap`, and one before that no more.
  /// Errors  kConflict "key.revoked".
  Result<MadeKey> rotate(std::string_view name_or_id, Millis overlap, const Call& call);
  /// Notes when they were used last; later times win.
  Status touch(const std::vector<std::pair<std::string, SystemTime>>& used, const Call& call);

 private:
  store::Database& database_;
};

}  // namespace twinstep::security
