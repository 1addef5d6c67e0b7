#include <charconv>

#include "twinstep/config/draft.h"
#include "twinstep/config/entra_reader.h"
#include "twinstep/config/keys.h"
#include "twinstep/telemetry/app_insights.h"

namespace twinstep::config {
namespace {

/// Reads the variables and the flags into a draft.
class EnvironmentReader {
 public:
  explicit EnvironmentReader(Draft& draft) : draft_(draft) {}

  Status read() {
    Config& config = draft_.loaded.config;
    if (const auto value = draft_.environment.get("iothub")) TRY(environment_hub("default", "iothub", *value));
    for (const auto& [name, value] : draft_.environment.with_prefix("iothub_"))
      TRY(environment_hub(name, "iothub_" + name, value));

    // The sample kept its own state in AzureWebJobsStorage; a hub cannot reach an emulator, so `storage` stands in
    // then.
    auto main_storage = draft_.environment.get("AzureWebJobsStorage");
    const auto second = draft_.environment.get("storage");
    std::string variable = "AzureWebJobsStorage";
    if (second && (!main_storage || main_storage->find("UseDevelopmentStorage=true") != std::string::npos)) {
      main_storage = second;
      variable = "storage";
    }
    if (main_storage) {
      if (config.storage && config.storage->entra)
        draft_.warnings.push_back(fmt::format("environment variable {} wins over storage.entra of the file", variable));
      if (!config.storage || config.storage->entra) config.storage.emplace();
      config.storage->connection_string = Secret(*main_storage);
      draft_.origin["storage"] = "environment " + variable;
    } else {
      TRY_ASSIGN(auto keyless, read_keyless_storage(draft_.environment));
      if (keyless.storage) {
        if (config.storage) keyless.storage->user_assigned_identity = config.storage->user_assigned_identity;
        config.storage = std::move(keyless.storage);
        draft_.origin["storage"] = "environment " + keyless.variable;
      }
    }

    TRY(environment_external());
    TRY_ASSIGN(const auto use, draft_.environment.boolean("useJobToExportIoTHubDevices"));
    if (use) {
      config.use_export_jobs = *use;
      draft_.origin["use_export_jobs"] = "environment useJobToExportIoTHubDevices";
    }
    TRY(integer("devicesChangeJobThreshold", 0, "job_threshold", [&](int n) { config.job_threshold = n; }));
    const auto seconds = [](int n) { return Millis{static_cast<Millis::rep>(n) * 1000}; };
    TRY(integer("retryIntervalForIoTHubExportJobInSeconds", 1, "export_polling",
                [&](int n) { config.export_polling.interval = seconds(n); }));
    TRY(integer("retryAttemptsForIoTHubExportJob", 1, "export_polling",
                [&](int n) { config.export_polling.attempts = n; }));
    TRY(integer("retryIntervalForIoTHubImportJobInSeconds", 1, "import_polling",
                [&](int n) { config.import_polling.interval = seconds(n); }));
    TRY(integer("retryAttemptsForIoTHubImportJob", 1, "import_polling",
                [&](int n) { config.import_polling.attempts = n; }));
    const auto minutes = [](int n) { return Millis{static_cast<Millis::rep>(n) * 60'000}; };
    RetrySettings& twin = config.twin_check;
    TRY(integer("twinCheckIntervalInSeconds", 1, "twin_check", [&](int n) { twin.first = seconds(n); }));
    TRY(integer("twinCheckMaxIntervalInSeconds", 1, "twin_check", [&](int n) { twin.cap = seconds(n); }));
    TRY(integer("twinCheckMaxRetryCount", 1, "twin_check", [&](int n) { twin.attempts = n; }));
    TRY(integer("twinCheckRetryTimeoutInMinutes", 1, "twin_check", [&](int n) { twin.total = minutes(n); }));
    // The second names are those that the sample documents; the first are those that it really read.
    RetrySettings& calls = config.external_calls;
    for (const std::string prefix : {"externalSystemDeviceCreation", "externalSystemCall"}) {
      const auto read = [&](const char* end, auto keep) {
        return integer((prefix + end).c_str(), 1, "external_calls", keep);
      };
      TRY(read("RetryIntervalInSeconds", [&](int n) { calls.first = seconds(n); }));
      TRY(read("MaxIntervalInSeconds", [&](int n) { calls.cap = seconds(n); }));
      TRY(read("MaxRetryCount", [&](int n) { calls.attempts = n; }));
      TRY(read("RetryTimeoutInMinutes", [&](int n) { calls.total = minutes(n); }));
    }
    TRY(environment_otlp());
    TRY_ASSIGN(const auto facade, draft_.environment.boolean("iothubfacadeEnabled"));
    if (facade) {
      config.facade.enabled = draft_.facade_asked_for = *facade;
      draft_.origin["facade"] = "environment iothubfacadeEnabled";
    }
    TRY_ASSIGN(const auto soft, draft_.environment.boolean("iotHubFacadeUseSoftDelete"));
    if (soft) {
      config.facade.soft_delete = *soft;
      draft_.origin["facade"] = "environment iotHubFacadeUseSoftDelete";
    }
    TRY(environment_telemetry());
    if (const auto ca = draft_.environment.get("TWINSTEP_CA_FILE"))
      draft_.set_ca_file(*ca, "environment TWINSTEP_CA_FILE");
    if (const auto store = draft_.environment.get("TWINSTEP_STORE"))
      TRY(draft_.set_store(*store, "environment TWINSTEP_STORE"));
    TRY(environment_store_key());
    if (!draft_.options.ca_file.empty()) draft_.set_ca_file(draft_.options.ca_file, "flag --ca-file");
    if (!draft_.options.store.empty()) TRY(draft_.set_store(draft_.options.store, "flag --store"));
    for (auto& warning : draft_.environment.near_misses()) draft_.warnings.push_back(std::move(warning));
    return {};
  }

 private:
  template <class Use>
  Status integer(const char* variable, int least, const char* name, Use use) {
    TRY_ASSIGN(const auto value, draft_.environment.integer(variable, least, draft_.warnings));
    if (value) {
      use(*value);
      draft_.origin[name] = fmt::format("environment {}", variable);
    }
    return {};
  }

  Status environment_hub(const std::string& name, const std::string& variable, const std::string& value) {
    auto host = hub_host(Secret(value));
    if (!host) return fail_within(std::move(host), fmt::format("environment variable {}", variable));
    auto found = by_name(draft_.loaded.config.hubs, name);
    Hub& hub = found != draft_.loaded.config.hubs.end() ? *found : draft_.loaded.config.hubs.emplace_back();
    hub.name = name;
    hub.connection_string = Secret(value);
    hub.host = *host;
    draft_.origin["hubs." + name] = "environment " + variable;
    if (const auto tier = draft_.environment.get("TWINSTEP_TIER")) {
      const auto at =
          std::find_if(tier_names().begin(), tier_names().end(), [&](const auto& t) { return same_name(t, *tier); });
      if (at == tier_names().end())
        return fail(
            ErrorKind::kInvalid, "config.environment",
            fmt::format("environment variable TWINSTEP_TIER is '{}'; it must be F1, B1, B2, B3, S1, S2 or S3", *tier));
      hub.tier = static_cast<Tier>(at - tier_names().begin());
    }
    TRY_ASSIGN(const auto units, draft_.environment.integer("TWINSTEP_UNITS", 1, draft_.warnings));
    if (units) hub.units = *units;
    TRY_ASSIGN(const auto factor, draft_.environment.integer("TWINSTEP_TIME_FACTOR", 1, draft_.warnings));
    if (factor) hub.time_factor = *factor;
    return {};
  }

  /// The external system and the link that the sample's variables describe, when the file has none.
  Status environment_external() {
    Config& config = draft_.loaded.config;
    const std::string wanted = draft_.environment.get("externalSystemName").value_or("Actility");
    std::string provider = wanted;
    for (char& c : provider) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    static const std::map<std::string, std::string> kSettings{
        {"tokenUri", "actility_api_token_uri"},
        {"devicesUri", "actility_api_devices_uri"},
        {"clientId", "actility_api_client_id"},
        {"clientSecret", "actility_api_client_secret"},
        {"requestsPerSecond", "actility_api_requests_per_second"}};
    External external;
    external.name = provider;
    external.provider = provider;
    if (provider == "actility")
      for (const auto& [setting, variable] : kSettings)
        if (const auto value = draft_.environment.get(variable)) external.settings[setting] = Secret(*value);
    const bool named = draft_.environment.get("externalSystemName").has_value();
    if (config.externals.empty() && (named || !external.settings.empty())) {
      if (draft_.options.provider_settings) {
        auto known = draft_.options.provider_settings(provider);
        if (!known)
          return fail_within(std::move(known), fmt::format("environment variable externalSystemName '{}'", wanted));
      }
      draft_.origin["externals." + external.name] = "environment actility_api_*";
      config.externals.push_back(std::move(external));
    } else {
      // Settings of the file's externals of that provider that are not in the file come from the environment.
      for (External& one : config.externals)
        if (same_name(one.provider, "actility"))
          for (const auto& [setting, variable] : kSettings)
            if (const auto value = draft_.environment.get(variable)) one.settings[setting] = Secret(*value);
    }
    TRY_ASSIGN(const auto enabled, draft_.environment.boolean("ioTHubSynchronizerEnabled"));
    config.synchronizer_enabled = enabled.value_or(true);
    if (config.links.empty() && config.externals.size() == 1 && draft_.environment.get("iothub")) {
      Link link;
      link.name = "default";
      link.hub = config.hubs.size() == 1 ? config.hubs.front().name : "default";
      link.external = config.externals.front().name;
      link.schedule = "0 * * * *";
      link.deletes = Deletes::kDelete;
      link.events = true;
      if (!config.synchronizer_enabled) link.schedule.clear();
      draft_.origin["links.default"] = "environment";
      config.links.push_back(std::move(link));
    }
    return {};
  }

  /// OpenTelemetry's own variables, which other programs on the machine know too.
  Status environment_otlp() {
    Otlp& otlp = draft_.loaded.config.otlp;
    const auto from = [&](const char* variable) -> std::optional<std::string> {
      auto value = draft_.environment.get(variable);
      if (value) draft_.origin["telemetry.otlp"] = fmt::format("environment {}", variable);
      return value;
    };
    if (const auto base = from("OTEL_EXPORTER_OTLP_ENDPOINT")) otlp.traces_endpoint = traces_endpoint(*base);
    if (const auto whole = from("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) otlp.traces_endpoint = *whole;
    if (const auto headers = from("OTEL_EXPORTER_OTLP_HEADERS")) otlp.headers = Secret(*headers);
    if (const auto name = draft_.environment.get("OTEL_SERVICE_NAME")) otlp.service_name = *name;
    if (const auto text = draft_.environment.get("OTEL_TRACES_SAMPLER_ARG")) {
      const char* end = text->data() + text->size();
      const auto read = std::from_chars(text->data(), end, otlp.sample);
      if (read.ec != std::errc{} || read.ptr != end || !(otlp.sample >= 0 && otlp.sample <= 1))
        return fail(ErrorKind::kInvalid, "config.environment",
                    fmt::format("environment variable OTEL_TRACES_SAMPLER_ARG is '{}'; it must be a number from 0 to 1",
                                text->substr(0, 40)));
    }
    return {};
  }

  /// The connection string wins over the older key alone.
  Status environment_telemetry() {
    for (const char* variable : {"APPINSIGHTS_INSTRUMENTATIONKEY", "APPLICATIONINSIGHTS_CONNECTION_STRING"}) {
      const auto value = draft_.environment.get(variable);
      if (!value) continue;
      auto parsed = telemetry::parse_ingestion(*value);
      if (!parsed) return fail_within(std::move(parsed), fmt::format("environment variable {}", variable));
      draft_.loaded.config.telemetry.application_insights = Secret(*value);
      draft_.origin["application_insights"] = fmt::format("environment {}", variable);
    }
    return {};
  }

  /// The variable's key seals; one of the file goes on opening.
  Status environment_store_key() {
    const auto text = draft_.environment.get("TWINSTEP_STORE_KEY");
    if (!text) return {};
    TRY_ASSIGN(const Secret value, resolve_secret(*text, draft_.lookup));
    TRY_ASSIGN(security::SealKey key, security::SealKey::parse(value, "environment variable TWINSTEP_STORE_KEY"));
    draft_.loaded.config.store_keys.insert(draft_.loaded.config.store_keys.begin(), std::move(key));
    draft_.origin["store_key"] = "environment TWINSTEP_STORE_KEY";
    return {};
  }

  Draft& draft_;
};

}  // namespace

Status read_environment(Draft& draft) { return EnvironmentReader(draft).read(); }

}  // namespace twinstep::config
