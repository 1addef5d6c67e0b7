#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/secret.h"
#include "twinstep/http/client.h"
#include "twinstep/telemetry/courier.h"

namespace twinstep::telemetry {

/// "t=<unix seconds>,v1=<hex>": HMAC-SHA256 of "<t>.<body>". A receiver computes the same and refuses an old t.
std::string webhook_signature(const Secret& secret, SystemTime now, std::string_view body);

/// Posts lines as one JSON array, signed when there is a secret.
///
/// Threads  one.
class Webhook {
 public:
  /// `client` (without retries of its own) and `clock` outlive this.
  Webhook(Secret url, Secret secret, http::Client& client, Clock& clock)
      : url_(std::move(url)), secret_(std::move(secret)), client_(client), clock_(clock) {}

  /// Again: no answer, 408, 425, 429, 5xx, with its Retry-After. Refused: every other answer but 2xx.
  Outcome deliver(const std::vector<std::string>& lines, const Call& call);

 private:
  const Secret url_;
  const Secret secret_;
  http::Client& client_;
  Clock& clock_;
};

/// One POST of JSON. Errors  those of the client, without the address: it is often a secret; kThrottled, kUnavailable
/// (with retry_after) where trying again may help, kDenied or kInvalid where not.
Status post_json(http::Client& client, const Secret& url, const Secret& secret, const std::string& body, Clock& clock,
                 std::string operation, const Call& call);

}  // namespace twinstep::telemetry
