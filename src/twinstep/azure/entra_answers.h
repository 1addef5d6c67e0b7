#pragma once

#include <string_view>

#include "twinstep/azure/token_source.h"

/// What the token endpoints say.
namespace twinstep::azure {

/// Reads lifetimes as numbers, texts of numbers, and dates; renewal is due at refresh_in, at half of a life of two
/// hours or more, else five minutes (at most a quarter of the life) before the end. Errors  kCorrupt "entra.bad-token";
/// nothing of the answer is repeated.
Result<AccessToken> parse_token(const http::Response& response, std::string_view context, Clock& clock);

/// A refusal. Branches on `error` and `error_codes`; the description is not repeated, since it may echo what was sent.
Error entra_error(const http::Response& response, std::string_view context, SystemTime now);

/// A refusal of the metadata service or the App Service endpoint.
Error managed_identity_error(const http::Response& response, std::string_view context, SystemTime now);

}  // namespace twinstep::azure
