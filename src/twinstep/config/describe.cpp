#include "twinstep/base/units.h"
#include "twinstep/config/draft.h"

namespace twinstep::config {
namespace {

/// Lists the values of a draft.
class Describer {
 public:
  explicit Describer(const Draft& draft) : draft_(draft) {}

  std::vector<Effective> all() {
    auto& values = values_;
    const Config& config = draft_.loaded.config;
    for (const Hub& hub : config.hubs) {
      const std::string at = origin("hubs." + hub.name);
      values.push_back({fmt::format("hubs.{}.host", hub.name), hub.host, at});
      values.push_back(
          {fmt::format("hubs.{}.credentials", hub.name), hub.entra ? "Entra ID" : "connection string ***", at});
      values.push_back(
          {fmt::format("hubs.{}.tier", hub.name), fmt::format("{} x {}", to_string(hub.tier), hub.units), at});
      if (hub.time_factor != 1)
        values.push_back({fmt::format("hubs.{}.time_factor", hub.name), fmt::format("{}", hub.time_factor), at});
    }
    const auto retry = [&](const char* name, const RetrySettings& settings) {
      values.push_back(
          {name,
           fmt::format("{}, doubling to {}, at most {} times and {} together", format_duration(settings.first),
                       format_duration(settings.cap), settings.attempts, format_duration(settings.total)),
           origin(name)});
    };
    retry("twin_check", config.twin_check);
    retry("external_calls", config.external_calls);
    values.push_back({"serve.listen", config.serve.listen, origin("serve")});
    values.push_back({"serve.operations", config.serve.operations, origin("serve")});
    values.push_back(
        {"serve.operations_keys", config.serve.operations_keys ? "required" : "optional", origin("serve")});
    std::string hosts;
    for (const std::string& one : config.serve.host_names) hosts += (hosts.empty() ? "" : " ") + one;
    values.push_back({"serve.host_names", hosts.empty() ? "none beside this machine's" : hosts, origin("serve")});
    describe_edge(config.serve);
    if (const auto& trust = config.serve.webhook.entra)
      values.push_back({"serve.webhook.entra",
                        fmt::format("tenant {}, audience {}, application {}", trust->tenant,
                                    fmt::join(trust->audiences, " "), trust->application),
                        origin("serve")});
    if (const Otlp& otlp = config.otlp; !otlp.traces_endpoint.empty())
      values.push_back({"telemetry.otlp",
                        fmt::format("{:g} % of the traces to {}{}", otlp.sample * 100,
                                    // A user and password may stand before the host.
                                    otlp.traces_endpoint.find('@') == std::string::npos ? otlp.traces_endpoint : "***",
                                    otlp.headers.empty() ? "" : " with headers ***"),
                        origin("telemetry.otlp")});
    values.push_back({"facade",
                      !config.facade.enabled      ? "off"
                      : config.facade.soft_delete ? "on, a DELETE disables the device"
                                                  : "on",
                      origin("facade")});
    const auto& sinks = config.telemetry;
    const bool from_variable = draft_.origin.contains("application_insights");
    values.push_back({"telemetry.application_insights", sinks.application_insights.empty() ? "none" : "***",
                      origin(from_variable ? "application_insights" : "telemetry")});
    values.push_back({"telemetry.file", sinks.file.empty() ? "none" : sinks.file, origin("telemetry")});
    values.push_back({"telemetry.webhooks", fmt::format("{}", sinks.webhooks.size()), origin("telemetry")});
    values.push_back({"notices", fmt::format("{}", config.notices.size()), origin("notices")});
    values.push_back({"storage",
                      !config.storage ? "none: no jobs, queries and bulk calls instead"
                      : config.storage->entra
                          ? fmt::format("{} by Entra ID; jobs go by the hub's identity", config.storage->account)
                          : "connection string ***",
                      origin("storage")});
    for (const External& external : config.externals) {
      const std::string at = origin("externals." + external.name);
      values.push_back({fmt::format("externals.{}.provider", external.name), external.provider, at});
      for (const auto& [setting, value] : external.settings)
        values.push_back({fmt::format("externals.{}.settings.{}", external.name, setting), "***", at});
    }
    for (const Link& link : config.links) {
      const std::string at = origin("links." + link.name);
      const auto add = [&](const char* key, std::string value) {
        values.push_back({fmt::format("links.{}.{}", link.name, key), std::move(value), at});
      };
      add("hub", link.hub);
      add("external", link.external);
      add("master", link.master == Master::kExternal ? "external" : "hub");
      add("schedule", link.schedule.empty() ? "none" : link.schedule);
      add("scope", std::string(to_string(link.scope)));
      add("deletes", std::string(to_string(link.deletes)));
      add("limits", fmt::format("deletes {}, updates {}, shrink {}", to_string(link.limits.deletes),
                                to_string(link.limits.updates), to_string(link.limits.shrink)));
    }
    values.push_back(
        {"store",
         config.store.empty() ? fmt::format("sqlite:{}/twinstep.db", config.state_folder) : store_text(config.store),
         origin("store")});
    values.push_back({"store_key",
                      config.store_keys.empty() ? std::string("none: nothing secret is kept in the store")
                                                : fmt::format("*** (id {}{})", config.store_keys.front().id(),
                                                              config.store_keys.size() == 1 ? "" : ", and older ones"),
                      origin("store_key")});
    values.push_back({"ca_file", config.ca_file.empty() ? "the system's" : config.ca_file, origin("ca_file")});
    values.push_back({"use_export_jobs", config.use_export_jobs ? "true" : "false", origin("use_export_jobs")});
    values.push_back({"job_threshold", fmt::format("{}", config.job_threshold), origin("job_threshold")});
    const auto polling = [](const JobPolling& p) {
      return fmt::format("every {}, {} times", format_duration(p.interval), p.attempts);
    };
    values.push_back({"export_polling", polling(config.export_polling), origin("export_polling")});
    values.push_back({"import_polling", polling(config.import_polling), origin("import_polling")});
    return std::move(values_);
  }

 private:
  void describe_edge(const Serve& serve) {
    const auto add = [&](const char* key, std::string value) {
      values_.push_back({fmt::format("serve.{}", key), std::move(value), origin("serve")});
    };
    const auto per_address = [](const std::optional<int>& set, int otherwise) {
      if (!set) return fmt::format("{}, none for this machine's own addresses", otherwise);
      return *set == 0 ? std::string("none") : fmt::format("{}", *set);
    };
    add("tls_certificate", serve.tls_certificate.empty() ? "none: plain HTTP" : serve.tls_certificate);
    add("tls_key", serve.tls_key.empty() ? "none" : serve.tls_key);
    add("client_ca", serve.client_ca.empty() ? "none: no certificates of clients" : serve.client_ca);
    add("max_connections", fmt::format("{}", serve.max_connections));
    add("max_connections_per_address", per_address(serve.max_connections_per_address, Serve::kConnectionsPerAddress));
    add("max_requests_per_address", per_address(serve.max_requests_per_address, Serve::kRequestsPerAddress));
    add("idle_timeout", format_duration(serve.idle_timeout));
    add("request_timeout", format_duration(serve.request_timeout));
  }

  std::string origin(const std::string& name) const {
    const auto found = draft_.origin.find(name);
    return found == draft_.origin.end() ? "default" : found->second;
  }

  const Draft& draft_;
  std::vector<Effective> values_;
};

}  // namespace

std::vector<Effective> describe(const Draft& draft) { return Describer(draft).all(); }

}  // namespace twinstep::config
