#pragma once

#include <string>
#include <string_view>

#include "twinstep/azure/token_source.h"

/// Where tokens come from. Nothing here reads the environment: values are passed in. The sources keep nothing; put
/// make_cached_token_source() around them. The client, and the clock, outlive the source.
namespace twinstep::azure {

inline constexpr std::string_view kHubAudience = "https://iothubs.azure.net";
inline constexpr std::string_view kStorageAudience = "https://storage.azure.com";
inline constexpr std::string_view kPublicAuthority = "https://login.microsoftonline.com";

struct EntraApplication {
  std::string tenant;                                     ///< GUID or domain
  std::string client_id;                                  ///< application id
  std::string authority = std::string(kPublicAuthority);  ///< https; plain http for this machine only
  std::string audience = std::string(kHubAudience);
};

/// Client credentials with a secret. `client` repeats (http::with_retry): asking twice does no harm.
/// Errors  kInvalid "entra.bad-settings" naming the setting.
/// Source  azure.md 5.1
Result<std::unique_ptr<TokenSource>> make_client_secret_source(EntraApplication application, Secret client_secret,
                                                               http::Client& client, Clock& clock);

/// Workload identity: the federated token in `token_file` is read anew for every request, because it is rotated.
/// Source  azure.md 5.2
Result<std::unique_ptr<TokenSource>> make_workload_identity_source(EntraApplication application, std::string token_file,
                                                                   http::Client& client, Clock& clock);

struct ManagedIdentity {
  /// A user-assigned identity by one of these; all empty = the system-assigned one.
  std::string client_id, object_id, resource_id;
  std::string audience = std::string(kHubAudience);
  std::string imds = "http://169.254.169.254";  ///< the virtual machine's metadata service
  /// App Service and the like instead: IDENTITY_ENDPOINT and IDENTITY_HEADER.
  std::string endpoint;
  Secret endpoint_header;
};

/// `direct` uses no proxy and need not repeat: this repeats by the rules of the metadata service. The first request is
/// preceded by a short probe, so that a machine outside of Azure learns it in seconds.
/// Source  azure.md 5.3
Result<std::unique_ptr<TokenSource>> make_managed_identity_source(ManagedIdentity identity, http::Client& direct,
                                                                  Clock& clock);

}  // namespace twinstep::azure
