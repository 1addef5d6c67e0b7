#include "twinstep/app/services.h"

#include "twinstep/azure/budget.h"
#include "twinstep/azure/connection_string.h"
#include "twinstep/azure/entra.h"
#include "twinstep/azure/sas.h"
#include "twinstep/base/units.h"
#include "twinstep/http/text.h"
#include "twinstep/providers/builtin.h"

namespace twinstep::app {
namespace {

azure::HubTier tier_of(config::Tier tier) { return static_cast<azure::HubTier>(tier); }
static_assert(static_cast<int>(azure::HubTier::kS3) == static_cast<int>(config::Tier::kS3));

/// Where tokens for the audience come from; `token_client` is made here and asks for them.
Result<std::shared_ptr<azure::TokenSource>> open_entra(const config::Entra& entra, std::string_view audience,
                                                       std::unique_ptr<http::Client>& token_client,
                                                       http::Client& logged, Clock& clock, Rng& rng) {
  azure::EntraApplication application;
  application.audience = audience;
  application.tenant = entra.tenant;
  application.client_id = entra.client_id;
  if (!entra.authority.empty()) application.authority = entra.authority;
  token_client = http::with_retry(logged, {}, clock, rng);
  Result<std::unique_ptr<azure::TokenSource>> source;
  switch (entra.kind) {
    case config::EntraKind::kClientSecret:
      source = azure::make_client_secret_source(std::move(application), entra.client_secret, *token_client, clock);
      break;
    case config::EntraKind::kWorkloadIdentity:
      source = azure::make_workload_identity_source(std::move(application), entra.token_file, *token_client, clock);
      break;
    case config::EntraKind::kManagedIdentity: {
      azure::ManagedIdentity identity;
      identity.audience = audience;
      identity.client_id = entra.client_id;
      if (!entra.imds.empty()) identity.imds = entra.imds;
      identity.endpoint = entra.identity_endpoint;
      identity.endpoint_header = entra.identity_header;
      // The metadata service is on the link: a proxy would look for it on the wrong machine.
      token_client = http::make_transport({.ca_file = {}, .proxy = "-", .user_agent = {}});
      source = azure::make_managed_identity_source(std::move(identity), *token_client, clock);
      break;
    }
  }
  if (!source) return fail(std::move(source).error());
  return std::shared_ptr(azure::make_cached_token_source(std::move(*source), clock));
}

std::string lower(std::string text) {
  for (char& c : text) c = http::lower(c);
  return text;
}

template <class List>
std::string did_you_mean(const List& list, std::string_view name) {
  std::vector<std::string> names;
  for (const auto& one : list) names.push_back(one.name);
  const std::string meant = nearest(name, names);
  return meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant);
}

std::string link_names(const config::Config& config) {
  std::string names;
  for (const config::Link& link : config.links) names += (names.empty() ? "" : ", ") + link.name;
  return names.empty() ? "no links" : names;
}

Transport open_transport(const config::Config& config, Clock& clock) {
  Transport out;
  out.bare = http::make_transport({.ca_file = config.ca_file, .proxy = {}, .user_agent = {}});
  out.logged = http::with_log(*out.bare, clock);
  return out;
}

Result<HubServices> open_hub(const config::Hub& hub, http::Client& logged, Clock& clock, Rng& rng) {
  HubServices out;
  std::string host = hub.host;
  if (hub.entra) {
    TRY_ASSIGN(auto tokens, open_entra(*hub.entra, azure::kHubAudience, out.token_client, logged, clock, rng));
    out.authenticator = azure::make_bearer_authenticator(std::move(tokens));
  } else {
    auto connection = azure::HubConnection::parse(hub.connection_string.reveal());
    if (!connection) return fail_within(std::move(connection), fmt::format("hub {}", hub.name));
    host = connection->host;
    out.authenticator = azure::make_hub_sas_authenticator(std::move(*connection), clock);
  }
  out.budget = std::make_shared<azure::HubBudget>(tier_of(hub.tier), hub.units, clock, rng, hub.time_factor);
  out.client = azure::make_iothub_client(hub.name, host, *out.authenticator, out.budget, logged, clock, rng);
  out.interactive = azure::make_iothub_client(hub.name, host, *out.authenticator, out.budget, logged, clock, rng,
                                              azure::Priority::kInteractive);
  return out;
}

std::string_view label_of(azure::HubOperation operation) {
  switch (operation) {
    case azure::HubOperation::kRegistry:
      return "registry";
    case azure::HubOperation::kQuery:
      return "query";
    case azure::HubOperation::kTwinRead:
      return "twin-read";
    case azure::HubOperation::kTwinUpdate:
      return "twin-update";
    case azure::HubOperation::kJob:
      return "job";
  }
  return "other";
}

azure::HubBudget::Meter meter_of(const std::string& hub, obs::Metrics& metrics) {
  return {[hub, &metrics](azure::HubOperation operation, double count, std::chrono::nanoseconds waited) {
            metrics.budget_taken(hub, label_of(operation), count, waited);
          },
          [hub, &metrics](azure::HubOperation operation) { metrics.budget_exhausted(hub, label_of(operation)); },
          [hub, &metrics](azure::HubOperation operation) { metrics.hub_throttled(hub, label_of(operation)); }};
}

/// Null without storage. `token_client` as in open_entra().
Result<std::unique_ptr<azure::BlobClient>> open_storage(const config::Config& config,
                                                        std::unique_ptr<http::Client>& token_client,
                                                        http::Client& logged, Clock& clock, Rng& rng) {
  if (!config.storage) return std::unique_ptr<azure::BlobClient>();
  if (config.storage->entra) {
    TRY_ASSIGN(auto place, azure::StorageAccount::of_identity(config.storage->account));
    auto tokens = open_entra(*config.storage->entra, azure::kStorageAudience, token_client, logged, clock, rng);
    if (!tokens) return fail_within(std::move(tokens), "storage");
    return azure::make_blob_client(std::move(place), std::move(*tokens), logged, clock, rng);
  }
  auto account = azure::StorageAccount::parse(config.storage->connection_string.reveal());
  if (!account) return fail_within(std::move(account), "storage");
  return azure::make_blob_client(std::move(*account), logged, clock, rng);
}

Result<std::unique_ptr<providers::ExternalRegistry>> open_registry(const config::External& external,
                                                                   http::Client& client, Clock& clock, Rng& rng) {
  TRY_ASSIGN(const providers::Definition definition, providers::load_definition(external.provider));
  auto registry = providers::open(definition, external.settings, client, clock, rng);
  if (!registry) return fail_within(std::move(registry), fmt::format("external system {}", external.name));
  return registry;
}

}  // namespace

Result<std::vector<std::string>> provider_settings(const std::string& provider) {
  TRY_ASSIGN(const providers::Definition definition, providers::load_definition(provider));
  std::vector<std::string> names;
  for (const auto& setting : definition.settings) names.push_back(setting.name);
  return names;
}

Result<const config::Link*> choose_link(const config::Config& config, const std::string& name) {
  if (!name.empty()) {
    if (const config::Link* link = config.find_link(name)) return link;
    return fail(ErrorKind::kInvalid, "config.unknown-link",
                fmt::format("there is no link '{}' in the configuration, which has {}{}", name, link_names(config),
                            did_you_mean(config.links, name)));
  }
  if (config.links.size() == 1) return &config.links.front();
  if (config.links.empty())
    return fail(
        ErrorKind::kInvalid, "config.no-link",
        "no link is configured; set the environment variables iothub, AzureWebJobsStorage and actility_api_..., or "
        "name a file with --config (see twinstep config check)");
  return fail(ErrorKind::kInvalid, "config.which-link",
              fmt::format("there are several links; name one of {}", link_names(config)));
}

Result<LinkServices> open_link(const config::Config& config, const config::Link& link, Clock& clock, Rng& rng) {
  LinkServices out;
  out.link = &link;
  out.hub_config = config.find_hub(link.hub);
  out.transport = open_transport(config, clock);
  http::Client& logged = *out.transport.logged;
  TRY_ASSIGN(out.hub, open_hub(*out.hub_config, logged, clock, rng));
  TRY_ASSIGN(out.blobs, open_storage(config, out.blob_token_client, logged, clock, rng));
  TRY_ASSIGN(out.external, open_registry(*config.find_external(link.external), logged, clock, rng));
  return out;
}

Result<std::unique_ptr<Remotes>> Remotes::open(const config::Config& config, Clock& clock, Rng& rng,
                                               const std::optional<obs::Telemetry>& telemetry) {
  auto out = std::make_unique<Remotes>();
  out->transport_ = open_transport(config, clock);
  const auto client = [&](std::string remote) -> http::Client& {
    http::Client& logged = *out->transport_.logged;
    if (!telemetry) return logged;
    return *out->observed_.emplace_back(
        http::with_telemetry(logged, telemetry->metrics, telemetry->tracer, std::move(remote), clock));
  };
  for (const config::Link& link : config.links) {
    const config::Hub& hub = *config.find_hub(link.hub);
    const std::string host = lower(hub.host);
    out->hosts_[link.hub] = host;
    if (!out->hubs_.contains(host)) {
      TRY_ASSIGN(out->hubs_[host], open_hub(hub, client("hub/" + hub.name), clock, rng));
      if (telemetry) out->hubs_[host].budget->set_meter(meter_of(hub.name, telemetry->metrics));
      if (config.facade.enabled && !config.facade_links(hub.name).empty()) out->hubs_[host].budget->keep_reserve();
    }
    if (!out->externals_.contains(link.external)) {
      TRY_ASSIGN(out->externals_[link.external],
                 open_registry(*config.find_external(link.external), client("external/" + link.external), clock, rng));
    }
  }
  TRY_ASSIGN(out->blobs_, open_storage(config, out->blob_token_client_, client("storage"), clock, rng));
  return out;
}

void Remotes::share_between(int processes) {
  const double share = 1.0 / std::max(1, processes);
  for (auto& [host, hub] : hubs_) hub.budget->set_share(share);
  for (auto& [name, external] : externals_) external->set_share(share);
}

azure::IotHubClient& Remotes::hub(const config::Link& link) const { return *hubs_.at(hosts_.at(link.hub)).client; }

azure::IotHubClient& Remotes::interactive_hub(const config::Link& link) const {
  return *hubs_.at(hosts_.at(link.hub)).interactive;
}

azure::HubBudget& Remotes::budget(const config::Link& link) const { return *hubs_.at(hosts_.at(link.hub)).budget; }

providers::ExternalRegistry& Remotes::external(const config::Link& link) const { return *externals_.at(link.external); }

Result<LinkServices> open_external(const config::Config& config, const config::External& external, Clock& clock,
                                   Rng& rng) {
  LinkServices out;
  out.transport = open_transport(config, clock);
  TRY_ASSIGN(out.external, open_registry(external, *out.transport.logged, clock, rng));
  return out;
}

Secret store_of(const config::Config& config) {
  if (!config.store.empty()) return config.store;
  return Secret("sqlite:" + (config.state_folder.empty() ? "" : config.state_folder + "/") + "twinstep.db");
}

}  // namespace twinstep::app
