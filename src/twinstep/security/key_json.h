#pragma once

#include "twinstep/json/json.h"
#include "twinstep/security/key_store.h"

/// How keys travel through the API, for both of its ends.
namespace twinstep::security {

/// A key without salt and hashes.
json::object to_json(const Key& key, SystemTime now);
/// What is answered once: to_json() and the text of the key as `key`.
json::object to_json(const MadeKey& made, SystemTime now);

/// {"name","scopes","hubs","ids","may","rate","expires"}; scopes is ["facade"] when absent, and `may` everything then.
/// Errors  kInvalid "api.bad-body" naming the member; the values are checked by KeyStore::create.
Result<NewKey> new_key_of(const json::object& body);
json::object to_json(const NewKey& wanted);

/// "30m", "24h", "90d"; a life or an overlap. Errors  kInvalid "key.time".
Result<Millis> parse_span(std::string_view text, std::string_view what);

}  // namespace twinstep::security
