#pragma once

#include <memory>

#include "twinstep/base/clock.h"
#include "twinstep/base/secret.h"
#include "twinstep/http/client.h"

namespace twinstep::azure {

/// A bearer token and when to replace it. Times are steady ones: a wall clock that is set does not age a token.
struct AccessToken {
  Secret value;
  SteadyTime renew_at;  ///< from here on a new one should be fetched; not after `expires`
  SteadyTime expires;
};

/// Gives tokens for one audience.
///
/// Threads   any method, any thread.
/// Blocking  as http::Client.
/// Errors    kDenied, kInvalid: the set-up is wrong, the text says what to do. kUnavailable, kThrottled, kTimeout:
///           may work later. kCorrupt: not a token. Never a secret in any of them.
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  virtual Result<AccessToken> token(const Call& call) = 0;
  /// After a refusal: drops a kept token. False when none is kept, or one so fresh that its successor would be refused
  /// just as well.
  virtual bool discard() { return false; }
};

/// Keeps the token, renews it early, and lets one caller at a time fetch while the others use the old one or wait for
/// the new. When renewing fails and the old one still lives, the old one is given and renewing is tried again in 30 s.
std::unique_ptr<TokenSource> make_cached_token_source(std::unique_ptr<TokenSource> source, Clock& clock);

/// Sends `Authorization: Bearer <token>`.
std::unique_ptr<http::Authenticator> make_bearer_authenticator(std::shared_ptr<TokenSource> tokens);

}  // namespace twinstep::azure
