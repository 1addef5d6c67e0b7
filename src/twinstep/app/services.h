#pragma once

#include <memory>
#include <string>

#include "twinstep/config/load.h"
#include "twinstep/http/client.h"
#include "twinstep/workflows/link_context.h"

namespace twinstep::app {

/// The clients of one link, wired by hand from the configuration. Declared in the order in which they depend on each
/// other, so that they go in the opposite order.
struct LinkServices {
  const config::Link* link = nullptr;
  const config::Hub* hub_config = nullptr;
  std::unique_ptr<http::Client> transport;
  std::unique_ptr<http::Client> logged;
  std::unique_ptr<http::Client> token_client;  ///< with Entra ID
  std::unique_ptr<http::Authenticator> authenticator;
  std::unique_ptr<azure::IotHubClient> hub;
  std::unique_ptr<azure::BlobClient> blobs;  ///< null without storage
  std::unique_ptr<providers::ExternalRegistry> external;
};

/// Settings that a provider's definition knows, for config::LoadOptions.
Result<std::vector<std::string>> provider_settings(const std::string& provider);

/// Picks the link: the named one, or the only one. Errors  kInvalid "config.unknown-link" with the
/// names that there are, "config.which-link", "config.no-link".
Result<const config::Link*> choose_link(const config::Config& config, const std::string& name);

/// Opens every client of the link. Contacts nothing. `clock` and `rng` outlive the services, and so does `config`.
/// Errors  kInvalid: connection strings, provider settings.
Result<LinkServices> open_link(const config::Config& config, const config::Link& link, Clock& clock, Rng& rng);

/// Opens the external system alone, for `provider try`.
Result<LinkServices> open_external(const config::Config& config, const config::External& external, Clock& clock,
                                   Rng& rng);

/// Where the state is kept, for open_database(): as configured, else twinstep.db in the user's state folder.
Secret store_of(const config::Config& config);

}  // namespace twinstep::app
