#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/json/json.h"

struct evp_pkey_st;

/// JSON Web Tokens with RSA signatures, the part that Entra ID uses: strict reading, public keys, signatures. What the
/// claims mean is the caller's business.
///
/// Threads  pure functions; a key may be used by any threads at once.
/// Source   RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 3.3 and 3.5; strictness after RFC 8725. docs/adr/0008.
namespace twinstep::azure {

inline constexpr size_t kMaxJwtBytes = 16u << 10;

struct Jwt {
  std::string algorithm;         ///< `alg` as it stands there: not yet one that may be used
  std::string key_id;            ///< `kid`; never empty
  json::object claims;           ///< no member twice, at any level
  std::string_view signed_part;  ///< of the text that was read, which outlives this
  std::string signature;         ///< raw bytes; never empty
};

/// Reads a token without believing any of it.
/// Errors  kDenied "token.malformed": not three parts of base64url without padding, not JSON objects, a member twice,
///         larger than kMaxJwtBytes, without alg or kid, or with `crit`, which asks for what we do not know.
///         Nothing of the token is repeated.
Result<Jwt> parse_jwt(std::string_view text);

/// RS256, RS384, RS512, PS256, PS384, PS512. Everything else, above all "none" and HS*, is none.
bool is_rsa_algorithm(std::string_view algorithm);

/// A public key of a key set.
struct JwtKey {
  std::string id;         ///< `kid`
  std::string algorithm;  ///< the only one that it may be used with; empty = any
  std::shared_ptr<evp_pkey_st> key;
};

/// The RSA keys for signatures in a JWK set. Others, and those that are too weak (less than 2048 bits) or malformed,
/// are left out: they must not make the good ones useless. Of two with one id the first counts. Errors  kCorrupt
/// "token.bad-keys" when it is not a key set.
Result<std::vector<JwtKey>> parse_jwt_keys(std::string_view text);

/// True when the token was signed with that key, by an algorithm that is one of is_rsa_algorithm() and the key's.
bool signature_is_good(const Jwt& token, const JwtKey& key);

}  // namespace twinstep::azure
