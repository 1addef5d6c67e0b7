#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/http/client.h"

/// Tokens that others send to us: Event Grid puts an Entra ID token into the Authorization header of each delivery when
/// the subscription names an application. (Tokens that we send: entra.h.)
namespace twinstep::azure {

inline constexpr std::string_view kEventGridApplication = "4962773b-9cdb-44cf-a8bf-237846a00ab7";  ///< public cloud
inline constexpr std::string_view kEventGridGovernmentApplication = "54316b56-3481-47f9-8f30-0300f5542a7b";

/// Whose tokens are believed. Compared exactly, letter by letter, except for the case of GUIDs.
struct EntraTrust {
  std::string tenant;                  ///< GUID: it is a part of the issuer's name
  std::vector<std::string> audiences;  ///< one of them must be `aud`: the application's GUID, or its App ID URI
  std::string application = std::string(kEventGridApplication);  ///< who may call us: `appid` or `azp`
  std::string authority = "https://login.microsoftonline.com";   ///< https; of a national cloud, or of a test
  std::string keys_host{};                                       ///< of `jwks_uri`; empty = the authority's
  std::vector<std::string> algorithms = std::vector{std::string("RS256")};  ///< of RS256..RS512 and PS256..PS512
};

/// Errors  kInvalid "token.bad-settings" naming the setting.
Status check(const EntraTrust& trust);

/// What a good token says.
struct VerifiedToken {
  std::string app_id, tenant, subject;
  SystemTime expires;
};

/// Believes a token, or says whether it could ever be believed.
///
/// The difference decides about events: Event Grid takes 401 as final and drops the event (azure.md 2.4), but delivers
/// again for a day after a 503. So kDenied means that this sender can never succeed with this configuration: no token
/// of ours at all, forged, or made for somebody else. Everything that a later delivery can cure is kUnavailable:
///
///  - The keys cannot be had, or the token's key is not known and may not be looked for yet.
///  - The token is right in everything but its time. Expired by a moment, it is one that Event Grid had kept a little
///    too long, and the next delivery brings a fresh one. Expired by days, either somebody plays an old one back, who
///    learns no more from a 503 than from a 401, or it is our clock that is wrong: then every token looks like that,
///    and a 401 would lose every event until somebody looks. The same holds for one that is not valid yet.
///
/// Both are refusals; the sender gets nothing from us either way.
///
/// Threads   any method, any thread.
/// Blocking  waits for the keys before the first token; later only the one caller who fetches them, for at most ten
///           seconds, at most once in five minutes (in half a minute after a fetch that failed).
/// Errors    kDenied "token.*": 401. kUnavailable "token.keys-away", "token.expired", "token.not-yet-valid": 503, with
///           retry_after when it is known. kCancelled, kTimeout: the call ended while waiting; 503. Nothing of the
///           token is repeated.
class TokenVerifier {
 public:
  virtual ~TokenVerifier() = default;
  virtual Result<VerifiedToken> verify(std::string_view jwt, const Call& call) = 0;
};

/// Of Entra ID, v1 and v2 tokens. `trust` has passed check(); one that has not throws std::invalid_argument. The keys
/// come from the tenant's OpenID metadata; they are kept for a day, fetched again when a token names another one, and
/// go on being used, for a week, while they cannot be fetched. `client` and `clock` outlive the verifier. Source
/// azure.md 2.5; RFC 7519, RFC 7517, RFC 8725.
std::unique_ptr<TokenVerifier> make_entra_verifier(EntraTrust trust, http::Client& client, Clock& clock);

}  // namespace twinstep::azure
