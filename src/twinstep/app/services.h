#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/config/load.h"
#include "twinstep/http/client.h"
#include "twinstep/obs/telemetry.h"
#include "twinstep/workflows/link_context.h"

namespace twinstep::app {

/// How anything is reached. Goes last.
struct Transport {
  std::unique_ptr<http::Client> bare;
  std::unique_ptr<http::Client> logged;
};

/// One hub. Declared in the order in which the parts depend on each other, so that they go in the opposite order.
struct HubServices {
  std::unique_ptr<http::Client> token_client;  ///< with Entra ID
  std::unique_ptr<http::Authenticator> authenticator;
  std::shared_ptr<azure::HubBudget> budget;
  std::unique_ptr<azure::IotHubClient> client;
  std::unique_ptr<azure::IotHubClient> interactive;  ///< for callers that wait for their answer
};

/// The clients of one link, wired by hand from the configuration, for a command.
struct LinkServices {
  const config::Link* link = nullptr;
  const config::Hub* hub_config = nullptr;
  Transport transport;
  HubServices hub;
  std::unique_ptr<http::Client> blob_token_client;  ///< with Entra ID
  std::unique_ptr<azure::BlobClient> blobs;         ///< null without storage
  std::unique_ptr<providers::ExternalRegistry> external;
};

/// Every remote of a configuration, opened once: what works on one hub shares its client and so its budget.
///
/// Threads  any, once it is open.
class Remotes {
 public:
  /// Contacts nothing. `config`, `clock` and `rng` outlive the remotes. With `telemetry` every call is counted and
  /// traced as one of "hub/NAME", "external/NAME" or "storage", and every hub's budget is metered.
  /// Errors  as open_link().
  static Result<std::unique_ptr<Remotes>> open(const config::Config& config, Clock& clock, Rng& rng,
                                               const std::optional<obs::Telemetry>& telemetry = {});

  /// Of a link of that configuration.
  azure::IotHubClient& hub(const config::Link& link) const;
  /// The same hub for callers that wait for their answer: they go before everybody else.
  azure::IotHubClient& interactive_hub(const config::Link& link) const;
  azure::HubBudget& budget(const config::Link& link) const;
  providers::ExternalRegistry& external(const config::Link& link) const;
  azure::BlobClient* blobs() const { return blobs_.get(); }  ///< null without storage
  /// So many processes work on the same remotes: each takes its share of their limits. Any thread.
  void share_between(int processes);

 private:
  Transport transport_;
  std::vector<std::unique_ptr<http::Client>> observed_;  // one for each remote, with telemetry
  std::map<std::string, HubServices> hubs_;              // by host, in lower case: two names of one address are one hub
  std::map<std::string, std::string> hosts_;             // by the name of the hub
  std::map<std::string, std::unique_ptr<providers::ExternalRegistry>> externals_;
  std::unique_ptr<http::Client> blob_token_client_;  // with Entra ID
  std::unique_ptr<azure::BlobClient> blobs_;
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
