#include "twinstep/config/load.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "twinstep/azure/blob_client.h"
#include "twinstep/base/units.h"
#include "twinstep/config/entra_reader.h"
#include "twinstep/config/environment.h"
#include "twinstep/config/key_reader.h"
#include "twinstep/config/link_reader.h"
#include "twinstep/config/telemetry_reader.h"
#include "twinstep/telemetry/app_insights.h"

extern char** environ;

namespace twinstep::config {
namespace {

template <class List>
auto by_name(List& list, std::string_view name) {
  return std::find_if(list.begin(), list.end(), [&](const auto& one) { return same_name(one.name, name); });
}

/// The address for traces below that of a collector.
std::string traces_endpoint(std::string base) {
  while (base.ends_with('/')) base.pop_back();
  return base + "/v1/traces";
}

/// Builds one Loaded from the file first and the environment on top of it.
class Loader {
 public:
  explicit Loader(const LoadOptions& options) : options_(options), environment_(options.environment) {
    lookup_ = [this](std::string_view name) { return environment_.get(name); };
  }

  Result<Loaded> run() {
    TRY_ASSIGN(const std::string file, find_file());
    if (!file.empty()) TRY(read_file(file));
    TRY(read_environment());
    if (const auto state = environment_.get("XDG_STATE_HOME"))
      out_.config.state_folder = *state + "/twinstep";
    else if (const auto home = environment_.get("HOME"))
      out_.config.state_folder = *home + "/.local/state/twinstep";
    TRY(check());
    out_.warnings.insert(out_.warnings.begin(), warnings_.begin(), warnings_.end());
    describe();
    return std::move(out_);
  }

 private:
  Result<std::string> find_file() {
    if (!options_.file.empty()) return options_.file;
    if (const auto named = environment_.get("TWINSTEP_CONFIG")) return *named;
    std::error_code ignored;
    return std::filesystem::exists("twinstep.yaml", ignored) ? std::string("twinstep.yaml") : std::string();
  }

  Status read_file(const std::string& path) {
    TRY_ASSIGN(const yaml::Node root, yaml::load(path));
    yaml::Diagnostics diagnostics(path);
    KeyReader map(root, diagnostics, "the configuration", root_keys());
    if (const yaml::Node* hubs = map.named_sections("hubs"))
      for (const auto& [name, node] : hubs->members) read_hub(name.scalar, node, diagnostics);
    if (const yaml::Node* storage = map.section("storage")) read_storage(*storage, diagnostics);
    if (const yaml::Node* externals = map.named_sections("externals"))
      for (const auto& [name, node] : externals->members) read_external(name.scalar, node, diagnostics);
    if (const yaml::Node* links = map.section_list("links"))
      for (const yaml::Node& node : links->items) read_one_link(node, diagnostics);
    if (auto store = map.secret("store", lookup_)) {
      if (const auto named = check_store(*store); !named)
        diagnostics.error(*map.at("store"), named.error().code, named.error().what);
      out_.config.store = std::move(*store);
      origin_["store"] = place(path, *map.at("store"));
    }
    read_store_keys(map, path, diagnostics);
    if (const auto ca = map.text("ca_file")) set(out_.config.ca_file, *ca, "ca_file", place(path, *map.at("ca_file")));
    if (const auto use = map.boolean("use_export_jobs")) {
      out_.config.use_export_jobs = *use;
      origin_["use_export_jobs"] = place(path, *map.at("use_export_jobs"));
    }
    if (const auto threshold = map.integer("job_threshold")) {
      out_.config.job_threshold = static_cast<int>(*threshold);
      origin_["job_threshold"] = place(path, *map.at("job_threshold"));
    }
    read_polling(map, "export_polling", out_.config.export_polling, diagnostics);
    read_polling(map, "import_polling", out_.config.import_polling, diagnostics);
    read_retry(map, "twin_check", out_.config.twin_check, diagnostics);
    read_retry(map, "external_calls", out_.config.external_calls, diagnostics);
    if (const yaml::Node* node = map.section("serve")) {
      KeyReader inner(*node, diagnostics, "serve", serve_keys());
      if (const auto listen = inner.text("listen")) out_.config.serve.listen = *listen;
      if (const auto operations = inner.text("operations")) out_.config.serve.operations = *operations;
      if (const auto history = inner.duration("history")) out_.config.serve.history = std::max(*history, Millis{1000});
      if (const auto lease = inner.duration("lease")) out_.config.serve.lease = std::max(*lease, Millis{2000});
      out_.config.serve.tls_certificate = inner.text("tls_certificate").value_or("");
      out_.config.serve.tls_key = inner.text("tls_key").value_or("");
      if (out_.config.serve.tls_certificate.empty() != out_.config.serve.tls_key.empty())
        diagnostics.error(*node, "config.tls", "serve: tls_certificate and tls_key belong together");
      out_.config.serve.operations_keys = inner.choice("operations_keys").value_or(0) == 1;
      out_.config.serve.host_names = pieces(inner.text("host_names").value_or(""), ' ');
      out_.config.serve.client_ca = inner.text("client_ca").value_or("");
      if (!out_.config.serve.client_ca.empty() && out_.config.serve.tls_certificate.empty())
        diagnostics.error(*inner.at("client_ca"), "config.tls",
                          "serve: client_ca needs tls_certificate and tls_key; without TLS nobody shows a certificate");
      read_serve_limits(inner, out_.config.serve);
      if (const yaml::Node* webhook = inner.section("webhook"))
        out_.config.serve.webhook = read_webhook(*webhook, diagnostics);
      inner.finish();
      origin_["serve"] = place(path, *node);
    }
    if (const yaml::Node* node = map.section("telemetry")) {
      out_.config.telemetry = read_telemetry(*node, diagnostics, lookup_, [&](const yaml::Node& otlp) {
        read_otlp(otlp, diagnostics);
        origin_["telemetry.otlp"] = place(path, otlp);
      });
      origin_["telemetry"] = place(path, *node);
    }
    if (const yaml::Node* notices = map.section_list("notices")) {
      for (const yaml::Node& node : notices->items)
        out_.config.notices.push_back(read_notice(node, diagnostics, lookup_));
      origin_["notices"] = place(path, *notices);
    }
    if (const yaml::Node* node = map.section("facade")) {
      KeyReader inner(*node, diagnostics, "facade", facade_keys());
      Facade& facade = out_.config.facade;
      if (const auto enabled = inner.boolean("enabled")) facade.enabled = facade_asked_for_ = *enabled;
      if (const auto soft = inner.boolean("soft_delete")) facade.soft_delete = *soft;
      if (const auto grace = inner.duration("grace")) facade.grace = *grace;
      inner.finish();
      origin_["facade"] = place(path, *node);
    }
    map.finish();
    if (!diagnostics.ok()) return fail(diagnostics.combined());
    return {};
  }

  static std::vector<std::string> pieces(std::string_view text, char between) {
    std::vector<std::string> out;
    for (size_t from = 0; from < text.size();) {
      const size_t end = std::min(text.find(between, from), text.size());
      if (end > from) out.emplace_back(text.substr(from, end - from));
      from = end + 1;
    }
    return out;
  }

  void read_store_keys(KeyReader& map, const std::string& path, yaml::Diagnostics& diagnostics) {
    const auto add = [&](const Secret& text, const char* name) {
      if (auto key = security::SealKey::parse(text, name))
        out_.config.store_keys.push_back(std::move(*key));
      else
        diagnostics.error(*map.at(name), key.error().code, key.error().what);
    };
    if (const auto text = map.secret("store_key", lookup_)) {
      add(*text, "store_key");
      origin_["store_key"] = place(path, *map.at("store_key"));
    }
    const auto old = map.text("store_old_keys");
    if (!old) return;
    if (map.at("store_key") == nullptr && !environment_.get("TWINSTEP_STORE_KEY"))
      diagnostics.error(*map.at("store_old_keys"), "config.store-key", "store_old_keys need a store_key beside them");
    for (const std::string& one : pieces(*old, ',')) {
      if (!one.starts_with("env:") && !one.starts_with("file:")) {
        diagnostics.error(*map.at("store_old_keys"), "config.store-key",
                          "store_old_keys must be env:NAME or file:/path, with commas between them and no blanks");
      } else if (const auto text = resolve_secret(one, lookup_)) {
        add(*text, "store_old_keys");
      } else {
        diagnostics.error(*map.at("store_old_keys"), text.error().code, text.error().what);
      }
    }
  }

  /// The variable's key seals; one of the file goes on opening.
  Status environment_store_key() {
    const auto text = environment_.get("TWINSTEP_STORE_KEY");
    if (!text) return {};
    TRY_ASSIGN(const Secret value, resolve_secret(*text, lookup_));
    TRY_ASSIGN(security::SealKey key, security::SealKey::parse(value, "environment variable TWINSTEP_STORE_KEY"));
    out_.config.store_keys.insert(out_.config.store_keys.begin(), std::move(key));
    origin_["store_key"] = "environment TWINSTEP_STORE_KEY";
    return {};
  }

  void read_otlp(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    Otlp& otlp = out_.config.otlp;
    KeyReader map(node, diagnostics, "telemetry.otlp", otlp_keys());
    if (const auto endpoint = map.text("endpoint")) otlp.traces_endpoint = traces_endpoint(*endpoint);
    if (auto headers = map.secret("headers", lookup_)) otlp.headers = std::move(*headers);
    if (const auto name = map.text("service_name")) otlp.service_name = *name;
    if (const auto percent = map.integer("sample_percent")) otlp.sample = static_cast<double>(*percent) / 100.0;
    map.finish();
  }

  /// OpenTelemetry's own variables, which other programs on the machine know too.
  Status environment_otlp() {
    Otlp& otlp = out_.config.otlp;
    const auto from = [&](const char* variable) -> std::optional<std::string> {
      auto value = environment_.get(variable);
      if (value) origin_["telemetry.otlp"] = fmt::format("environment {}", variable);
      return value;
    };
    if (const auto base = from("OTEL_EXPORTER_OTLP_ENDPOINT")) otlp.traces_endpoint = traces_endpoint(*base);
    if (const auto whole = from("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) otlp.traces_endpoint = *whole;
    if (const auto headers = from("OTEL_EXPORTER_OTLP_HEADERS")) otlp.headers = Secret(*headers);
    if (const auto name = environment_.get("OTEL_SERVICE_NAME")) otlp.service_name = *name;
    if (const auto text = environment_.get("OTEL_TRACES_SAMPLER_ARG")) {
      const char* end = text->data() + text->size();
      const auto read = std::from_chars(text->data(), end, otlp.sample);
      if (read.ec != std::errc{} || read.ptr != end || !(otlp.sample >= 0 && otlp.sample <= 1))
        return fail(ErrorKind::kInvalid, "config.environment",
                    fmt::format("environment variable OTEL_TRACES_SAMPLER_ARG is '{}'; it must be a number from 0 to 1",
                                text->substr(0, 40)));
    }
    return {};
  }

  static std::string place(const std::string& file, const yaml::Node& node) {
    return fmt::format("{}:{}:{}", file, node.line, node.column);
  }

  void set(std::string& field, const std::string& value, const char* name, std::string origin) {
    field = value;
    origin_[name] = std::move(origin);
  }

  Status set_store(const std::string& text, const char* origin) {
    auto store = resolve_secret(text, lookup_);
    if (!store) return fail_within(std::move(store), origin);
    if (auto named = check_store(*store); !named) return fail_within(std::move(named), origin);
    out_.config.store = std::move(*store);
    origin_["store"] = origin;
    return {};
  }

  static void read_serve_limits(KeyReader& map, Serve& serve) {
    if (const auto most = map.integer("max_connections")) serve.max_connections = static_cast<int>(*most);
    if (const auto most = map.integer("max_connections_per_address"))
      serve.max_connections_per_address = static_cast<int>(*most);
    if (const auto most = map.integer("max_requests_per_address"))
      serve.max_requests_per_address = static_cast<int>(*most);
    if (const auto span = map.duration("idle_timeout")) serve.idle_timeout = std::max(*span, Millis{1000});
    if (const auto span = map.duration("request_timeout")) serve.request_timeout = std::max(*span, Millis{1000});
  }

  void read_polling(KeyReader& map, const char* key, JobPolling& polling, yaml::Diagnostics& diagnostics) {
    const yaml::Node* node = map.section(key);
    if (!node) return;
    KeyReader inner(*node, diagnostics, key, polling_keys());
    if (const auto interval = inner.duration("interval")) polling.interval = std::max(*interval, Millis{1000});
    if (const auto attempts = inner.integer("attempts")) polling.attempts = static_cast<int>(*attempts);
    inner.finish();
    origin_[key] = place(diagnostics.file(), *node);
  }

  void read_retry(KeyReader& map, const char* key, RetrySettings& retry, yaml::Diagnostics& diagnostics) {
    const yaml::Node* node = map.section(key);
    if (!node) return;
    KeyReader inner(*node, diagnostics, key, retry_keys());
    const auto at_least_a_second = [&](const char* name, Millis& field) {
      if (const auto span = inner.duration(name)) field = std::max(*span, Millis{1000});
    };
    at_least_a_second("first", retry.first);
    at_least_a_second("cap", retry.cap);
    if (const auto attempts = inner.integer("attempts")) retry.attempts = static_cast<int>(*attempts);
    at_least_a_second("total", retry.total);
    inner.finish();
    origin_[key] = place(diagnostics.file(), *node);
  }

  void read_hub(const std::string& name, const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    Hub hub;
    hub.name = name;
    KeyReader map(node, diagnostics, fmt::format("hub {}", name), hub_keys());
    const auto connection = map.secret("connection_string", lookup_);
    const auto host = map.text("host");
    if (const auto tier = map.choice("tier")) hub.tier = static_cast<Tier>(*tier);
    if (const auto units = map.integer("units")) hub.units = static_cast<int>(*units);
    if (const auto factor = map.integer("time_factor")) hub.time_factor = static_cast<int>(*factor);
    if (const yaml::Node* entra = map.section("entra")) hub.entra = read_entra(*entra, diagnostics, environment_);
    if (connection) {
      hub.connection_string = *connection;
      if (auto parsed = hub_host(*connection))
        hub.host = *parsed;
      else
        diagnostics.error(*map.at("connection_string"), parsed.error().code, parsed.error().what);
    }
    if (host) hub.host = *host;
    if (!map.at("connection_string") && !(host && hub.entra))
      diagnostics.error(node, "config.hub-credentials",
                        fmt::format("hub {} needs connection_string, or host and entra", name));
    map.finish();
    if (by_name(out_.config.hubs, name) != out_.config.hubs.end())
      diagnostics.error(node, "config.duplicate-name",
                        fmt::format("hub {} is here twice; names compare without case", name));
    origin_["hubs." + name] = place(diagnostics.file(), node);
    out_.config.hubs.push_back(std::move(hub));
  }

  void read_storage(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    KeyReader map(node, diagnostics, "storage", storage_keys());
    Storage storage;
    if (auto value = map.secret("connection_string", lookup_)) storage.connection_string = *value;
    storage.account = map.text("account").value_or("");
    if (const yaml::Node* entra = map.section("entra")) storage.entra = read_entra(*entra, diagnostics, environment_);
    if (storage.entra ? storage.account.empty() : !map.at("connection_string") || !storage.account.empty()) {
      diagnostics.error(node, "config.storage-credentials", "storage needs connection_string, or account and entra");
    } else if (storage.entra) {
      if (auto account = azure::StorageAccount::of_identity(storage.account); !account)
        diagnostics.error(*map.at("account"), account.error().code, account.error().what);
      if (map.at("connection_string"))
        warnings_.push_back("storage.connection_string is not used, because storage.entra is there; remove the key");
    }
    const auto identity = map.boolean("identity_based_jobs");
    if (storage.entra && identity && !*identity)
      diagnostics.error(*map.at("identity_based_jobs"), "config.storage-credentials",
                        "without the account's key there is no SAS for jobs: with entra, identity_based_jobs is always "
                        "true");
    storage.identity_based_jobs = storage.entra || identity.value_or(false);
    storage.user_assigned_identity = map.text("user_assigned_identity").value_or("");
    map.finish();
    origin_["storage"] = place(diagnostics.file(), node);
    out_.config.storage = std::move(storage);
  }

  void read_external(const std::string& name, const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    External external;
    external.name = name;
    KeyReader map(node, diagnostics, fmt::format("external {}", name), external_keys());
    external.provider = map.text("provider").value_or("");
    std::optional<std::vector<std::string>> known;
    if (options_.provider_settings && !external.provider.empty()) {
      auto names = options_.provider_settings(external.provider);
      if (names)
        known = std::move(*names);
      else
        diagnostics.error(*map.at("provider"), names.error().code, names.error().what);
    }
    if (const yaml::Node* settings = map.settings("settings")) {
      yaml::MapReader inner(*settings, diagnostics, fmt::format("settings of external {}", name));
      for (const auto& [key, value] : settings->members) {
        if (known && std::find(known->begin(), known->end(), key.scalar) == known->end()) {
          const std::string meant = nearest(key.scalar, *known);
          diagnostics.error(key, "yaml.unknown-key",
                            fmt::format("provider {} has no setting '{}'{}", external.provider, key.scalar,
                                        meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
        } else if (auto resolved = read_secret(inner, key.scalar, diagnostics, lookup_)) {
          external.settings[key.scalar] = *resolved;
        }
      }
    }
    map.finish();
    origin_["externals." + name] = place(diagnostics.file(), node);
    out_.config.externals.push_back(std::move(external));
  }

  void read_one_link(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    Link link = read_link(node, diagnostics);
    const auto check_name = [&](const auto& list, const std::string& name, const char* what) {
      if (name.empty() || by_name(list, name) != list.end()) return;
      std::vector<std::string> names;
      for (const auto& one : list) names.push_back(one.name);
      // Hubs may also come from the environment, which is read later.
      if (environment_.get("iothub_" + name) || (same_name(name, "default") && environment_.get("iothub"))) return;
      const std::string meant = nearest(name, names);
      diagnostics.error(*node.find(what), "config.unknown-name",
                        fmt::format("link {}: there is no {} '{}'{}", link.name, what, name,
                                    meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
    };
    check_name(out_.config.hubs, link.hub, "hub");
    check_name(out_.config.externals, link.external, "external");
    if (by_name(out_.config.links, link.name) != out_.config.links.end())
      diagnostics.error(node, "config.duplicate-name",
                        fmt::format("link {} is here twice; names compare without case", link.name));
    origin_["links." + link.name] = place(diagnostics.file(), node);
    out_.config.links.push_back(std::move(link));
  }

  Status environment_hub(const std::string& name, const std::string& variable, const std::string& value) {
    auto host = hub_host(Secret(value));
    if (!host) return fail_within(std::move(host), fmt::format("environment variable {}", variable));
    auto found = by_name(out_.config.hubs, name);
    Hub& hub = found != out_.config.hubs.end() ? *found : out_.config.hubs.emplace_back();
    hub.name = name;
    hub.connection_string = Secret(value);
    hub.host = *host;
    origin_["hubs." + name] = "environment " + variable;
    if (const auto tier = environment_.get("TWINSTEP_TIER")) {
      const auto at =
          std::find_if(tier_names().begin(), tier_names().end(), [&](const auto& t) { return same_name(t, *tier); });
      if (at == tier_names().end())
        return fail(
            ErrorKind::kInvalid, "config.environment",
            fmt::format("environment variable TWINSTEP_TIER is '{}'; it must be F1, B1, B2, B3, S1, S2 or S3", *tier));
      hub.tier = static_cast<Tier>(at - tier_names().begin());
    }
    TRY_ASSIGN(const auto units, environment_.integer("TWINSTEP_UNITS", 1, warnings_));
    if (units) hub.units = *units;
    TRY_ASSIGN(const auto factor, environment_.integer("TWINSTEP_TIME_FACTOR", 1, warnings_));
    if (factor) hub.time_factor = *factor;
    return {};
  }

  Status read_environment() {
    Config& config = out_.config;
    if (const auto value = environment_.get("iothub")) TRY(environment_hub("default", "iothub", *value));
    for (const auto& [name, value] : environment_.with_prefix("iothub_"))
      TRY(environment_hub(name, "iothub_" + name, value));

    // The sample kept its own state in AzureWebJobsStorage; a hub cannot reach an emulator, so `storage` stands in
    // then.
    auto main_storage = environment_.get("AzureWebJobsStorage");
    const auto second = environment_.get("storage");
    std::string variable = "AzureWebJobsStorage";
    if (second && (!main_storage || main_storage->find("UseDevelopmentStorage=true") != std::string::npos)) {
      main_storage = second;
      variable = "storage";
    }
    if (main_storage) {
      if (config.storage && config.storage->entra)
        warnings_.push_back(fmt::format("environment variable {} wins over storage.entra of the file", variable));
      if (!config.storage || config.storage->entra) config.storage.emplace();
      config.storage->connection_string = Secret(*main_storage);
      origin_["storage"] = "environment " + variable;
    } else {
      TRY_ASSIGN(auto keyless, read_keyless_storage(environment_));
      if (keyless.storage) {
        if (config.storage) keyless.storage->user_assigned_identity = config.storage->user_assigned_identity;
        config.storage = std::move(keyless.storage);
        origin_["storage"] = "environment " + keyless.variable;
      }
    }

    TRY(environment_external());
    TRY_ASSIGN(const auto use, environment_.boolean("useJobToExportIoTHubDevices"));
    if (use) config.use_export_jobs = *use, origin_["use_export_jobs"] = "environment useJobToExportIoTHubDevices";
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
    TRY_ASSIGN(const auto facade, environment_.boolean("iothubfacadeEnabled"));
    if (facade) {
      config.facade.enabled = facade_asked_for_ = *facade;
      origin_["facade"] = "environment iothubfacadeEnabled";
    }
    TRY_ASSIGN(const auto soft, environment_.boolean("iotHubFacadeUseSoftDelete"));
    if (soft) {
      config.facade.soft_delete = *soft;
      origin_["facade"] = "environment iotHubFacadeUseSoftDelete";
    }
    TRY(environment_telemetry());
    if (const auto ca = environment_.get("TWINSTEP_CA_FILE"))
      set(config.ca_file, *ca, "ca_file", "environment TWINSTEP_CA_FILE");
    if (const auto store = environment_.get("TWINSTEP_STORE")) TRY(set_store(*store, "environment TWINSTEP_STORE"));
    TRY(environment_store_key());
    if (!options_.ca_file.empty()) set(config.ca_file, options_.ca_file, "ca_file", "flag --ca-file");
    if (!options_.store.empty()) TRY(set_store(options_.store, "flag --store"));
    for (auto& warning : environment_.near_misses()) warnings_.push_back(std::move(warning));
    return {};
  }

  /// The connection string wins over the older key alone.
  Status environment_telemetry() {
    for (const char* variable : {"APPINSIGHTS_INSTRUMENTATIONKEY", "APPLICATIONINSIGHTS_CONNECTION_STRING"}) {
      const auto value = environment_.get(variable);
      if (!value) continue;
      auto parsed = telemetry::parse_ingestion(*value);
      if (!parsed) return fail_within(std::move(parsed), fmt::format("environment variable {}", variable));
      out_.config.telemetry.application_insights = Secret(*value);
      origin_["application_insights"] = fmt::format("environment {}", variable);
    }
    return {};
  }

  template <class Use>
  Status integer(const char* variable, int least, const char* name, Use use) {
    TRY_ASSIGN(const auto value, environment_.integer(variable, least, warnings_));
    if (value) {
      use(*value);
      origin_[name] = fmt::format("environment {}", variable);
    }
    return {};
  }

  /// The external system and the link that the sample's variables describe, when the file has none.
  Status environment_external() {
    Config& config = out_.config;
    const std::string wanted = environment_.get("externalSystemName").value_or("Actility");
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
        if (const auto value = environment_.get(variable)) external.settings[setting] = Secret(*value);
    const bool named = environment_.get("externalSystemName").has_value();
    if (config.externals.empty() && (named || !external.settings.empty())) {
      if (options_.provider_settings) {
        auto known = options_.provider_settings(provider);
        if (!known)
          return fail_within(std::move(known), fmt::format("environment variable externalSystemName '{}'", wanted));
      }
      origin_["externals." + external.name] = "environment actility_api_*";
      config.externals.push_back(std::move(external));
    } else {
      // Settings of the file's externals of that provider that are not in the file come from the environment.
      for (External& one : config.externals)
        if (same_name(one.provider, "actility"))
          for (const auto& [setting, variable] : kSettings)
            if (const auto value = environment_.get(variable)) one.settings[setting] = Secret(*value);
    }
    TRY_ASSIGN(const auto enabled, environment_.boolean("ioTHubSynchronizerEnabled"));
    config.synchronizer_enabled = enabled.value_or(true);
    if (config.links.empty() && config.externals.size() == 1 && environment_.get("iothub")) {
      Link link;
      link.name = "default";
      link.hub = config.hubs.size() == 1 ? config.hubs.front().name : "default";
      link.external = config.externals.front().name;
      link.schedule = "0 * * * *";
      link.deletes = Deletes::kDelete;
      link.events = true;
      if (!config.synchronizer_enabled) link.schedule.clear();
      origin_["links.default"] = "environment";
      config.links.push_back(std::move(link));
    }
    return {};
  }

  Status check() {
    const Otlp& otlp = out_.config.otlp;
    if (!otlp.traces_endpoint.empty() && !otlp.traces_endpoint.starts_with("http://") &&
        !otlp.traces_endpoint.starts_with("https://"))
      return fail(ErrorKind::kInvalid, "config.otlp",
                  "telemetry.otlp: the endpoint must begin with http:// or https:// (OTLP over gRPC is not spoken)");
    for (const Hub& hub : out_.config.hubs) {
      // Against a real hub it would only bring refusals, so a variable left over from a rehearsal must not reach one.
      if (hub.time_factor != 1 && hub.host.find(".azure-devices.") != std::string::npos)
        return fail(
            ErrorKind::kInvalid, "config.time-factor",
            fmt::format("hub {}: time_factor (TWINSTEP_TIME_FACTOR) is for a simulated hub, and {} is a real one",
                        hub.name, hub.host));
    }
    for (const auto& [name, text] :
         {std::pair{"serve.listen", out_.config.serve.listen}, {"serve.operations", out_.config.serve.operations}})
      if (auto address = parse_listen(text); !address) return fail_within(std::move(address), name);
    for (Link& link : out_.config.links) {
      if (!out_.config.find_hub(link.hub))
        return fail(ErrorKind::kInvalid, "config.unknown-name",
                    fmt::format("link {}: there is no hub '{}'", link.name, link.hub));
      if (!out_.config.find_external(link.external))
        return fail(ErrorKind::kInvalid, "config.unknown-name",
                    fmt::format("link {}: there is no external system '{}'", link.name, link.external));
      // As they are spelled where they are defined: lanes and budgets go by these names.
      link.hub = out_.config.find_hub(link.hub)->name;
      link.external = out_.config.find_external(link.external)->name;
      if (link.name.find_first_of("\"\\\n") != std::string::npos || link.name.size() > 128)
        return fail(ErrorKind::kInvalid, "config.bad-name",
                    fmt::format("link name '{}' must have at most 128 characters and no quotes", link.name));
    }
    return check_facade();
  }

  /// Which link a device made by the façade belongs to must be plain, where somebody wants the façade.
  Status check_facade() {
    const Config& config = out_.config;
    for (const Link& link : config.links)
      if (link.facade.value_or(false) && link.master != Master::kExternal)
        return fail(ErrorKind::kInvalid, "config.facade",
                    fmt::format("link {}: facade: true needs an external system as master", link.name));
    if (!config.facade.enabled) return {};
    for (const Hub& hub : config.hubs) {
      const auto links = config.facade_links(hub.name);
      if (links.size() > 1) {
        std::string names;
        for (const Link* link : links) names += (names.empty() ? "" : ", ") + link->name;
        const std::string text = fmt::format(
            "hub {}: the facade cannot tell which of the links {} its devices belong to; write 'facade: true' at one "
            "of them",
            hub.name, names);
        if (facade_asked_for_) return fail(ErrorKind::kInvalid, "config.facade", text);
        out_.warnings.push_back(text + ", or 'facade: {enabled: false}'");
      }
      if (links.size() == 1 && config.facade.soft_delete && links.front()->deletes == Deletes::kDelete)
        out_.warnings.push_back(
            fmt::format("link {}: runs delete what the facade only disables, because the link says 'deletes: delete'; "
                        "'deletes: disable' keeps the keys",
                        links.front()->name));
    }
    return {};
  }

  std::string origin(const std::string& name) const {
    const auto found = origin_.find(name);
    return found == origin_.end() ? "default" : found->second;
  }

  void describe() {
    auto& values = out_.values;
    const Config& config = out_.config;
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
    const bool from_variable = origin_.contains("application_insights");
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
  }

  void describe_edge(const Serve& serve) {
    const auto add = [&](const char* key, std::string value) {
      out_.values.push_back({fmt::format("serve.{}", key), std::move(value), origin("serve")});
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

  const LoadOptions& options_;
  Environment environment_;
  EnvironmentLookup lookup_;
  Loaded out_;
  std::vector<std::string> warnings_;
  bool facade_asked_for_ = false;
  std::map<std::string, std::string> origin_;
};

}  // namespace

std::map<std::string, std::string> process_environment() {
  std::map<std::string, std::string> out;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

Result<Loaded> load(const LoadOptions& options) { return Loader(options).run(); }

std::string_view to_string(Tier tier) { return tier_names()[static_cast<size_t>(tier)]; }
std::string_view to_string(Scope scope) { return scope == Scope::kOwned ? "owned" : "whole-hub"; }
std::string_view to_string(Deletes deletes) {
  switch (deletes) {
    case Deletes::kDelete:
      return "delete";
    case Deletes::kDisable:
      return "disable";
    case Deletes::kNever:
      break;
  }
  return "never";
}
std::string to_string(const Limit& limit) {
  if (limit.count) return fmt::format("{}", *limit.count);
  return limit.percent ? fmt::format("{}%", *limit.percent) : "none";
}

}  // namespace twinstep::config
