#pragma once

#include <mutex>

#include "twinstep/azure/blob_client.h"
#include "twinstep/azure/connection_string.h"
#include "twinstep/http/client.h"

namespace twinstep::azure {

/// The Authorization value of the hub's shared access signature. `resource` is not yet percent-encoded.
/// Errors  kInvalid when the key is not base64.
/// Source  azure.md 1.2
Result<Secret> hub_sas_token(std::string_view resource, std::string_view key_name, const Secret& key, int64_t expiry);

/// Signs hub requests with a token that lives an hour and is replaced after 75 % of that. A connection string with a
/// ready signature sends that one for ever.
/// Threads   any method, any thread.
std::unique_ptr<http::Authenticator> make_hub_sas_authenticator(HubConnection connection, Clock& clock);

/// The SharedKey string to sign; Content-Length is taken from `content_length`, everything else from the request.
/// Source  azure.md 3.3
std::string shared_key_text(const http::Request& request, std::string_view account, uint64_t content_length);

/// Adds x-ms-date, x-ms-version and either the SharedKey Authorization or the account's SAS to every try.
/// Threads   any method, any thread.
std::unique_ptr<http::Authenticator> make_blob_authenticator(StorageAccount account, Clock& clock);

/// Adds x-ms-date, x-ms-version and a Bearer token to every try.
/// Threads   any method, any thread.
/// Source    azure.md 3.3; the version is required with tokens.
std::unique_ptr<http::Authenticator> make_blob_token_authenticator(std::shared_ptr<TokenSource> tokens, Clock& clock);

/// Query string of a service SAS for a container (sv 2021-12-02). `start` and `expiry` as "2024-01-02T03:04:05Z".
/// Source  azure.md 3.4
Result<Secret> container_sas(const StorageAccount& account, std::string_view container, std::string_view permissions,
                             std::string_view start, std::string_view expiry);

}  // namespace twinstep::azure
