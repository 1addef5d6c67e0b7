#include "twinstep/azure/blob_client.h"
#include "twinstep/base/units.h"
#include "twinstep/config/draft.h"
#include "twinstep/config/entra_reader.h"
#include "twinstep/config/key_reader.h"
#include "twinstep/config/link_reader.h"
#include "twinstep/config/telemetry_reader.h"

namespace twinstep::config {
namespace {

/// Reads one file into a draft.
class FileReader {
 public:
  explicit FileReader(Draft& draft) : draft_(draft) {}

  Status read(const std::string& path) {
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
    if (auto store = map.secret("store", draft_.lookup)) {
      if (const auto named = check_store(*store); !named)
        diagnostics.error(*map.at("store"), named.error().code, named.error().what);
      draft_.loaded.config.store = std::move(*store);
      draft_.origin["store"] = place(path, *map.at("store"));
    }
    read_store_keys(map, path, diagnostics);
    if (const auto ca = map.text("ca_file")) draft_.set_ca_file(*ca, place(path, *map.at("ca_file")));
    if (const auto use = map.boolean("use_export_jobs")) {
      draft_.loaded.config.use_export_jobs = *use;
      draft_.origin["use_export_jobs"] = place(path, *map.at("use_export_jobs"));
    }
    if (const auto threshold = map.integer("job_threshold")) {
      draft_.loaded.config.job_threshold = static_cast<int>(*threshold);
      draft_.origin["job_threshold"] = place(path, *map.at("job_threshold"));
    }
    read_polling(map, "export_polling", draft_.loaded.config.export_polling, diagnostics);
    read_polling(map, "import_polling", draft_.loaded.config.import_polling, diagnostics);
    read_retry(map, "twin_check", draft_.loaded.config.twin_check, diagnostics);
    read_retry(map, "external_calls", draft_.loaded.config.external_calls, diagnostics);
    if (const yaml::Node* node = map.section("serve")) {
      KeyReader inner(*node, diagnostics, "serve", serve_keys());
      if (const auto listen = inner.text("listen")) draft_.loaded.config.serve.listen = *listen;
      if (const auto operations = inner.text("operations")) draft_.loaded.config.serve.operations = *operations;
      if (const auto history = inner.duration("history"))
        draft_.loaded.config.serve.history = std::max(*history, Millis{1000});
      if (const auto lease = inner.duration("lease")) draft_.loaded.config.serve.lease = std::max(*lease, Millis{2000});
      draft_.loaded.config.serve.tls_certificate = inner.text("tls_certificate").value_or("");
      draft_.loaded.config.serve.tls_key = inner.text("tls_key").value_or("");
      if (draft_.loaded.config.serve.tls_certificate.empty() != draft_.loaded.config.serve.tls_key.empty())
        diagnostics.error(*node, "config.tls", "serve: tls_certificate and tls_key belong together");
      draft_.loaded.config.serve.operations_keys = inner.choice("operations_keys").value_or(0) == 1;
      draft_.loaded.config.serve.host_names = pieces(inner.text("host_names").value_or(""), ' ');
      draft_.loaded.config.serve.client_ca = inner.text("client_ca").value_or("");
      if (!draft_.loaded.config.serve.client_ca.empty() && draft_.loaded.config.serve.tls_certificate.empty())
        diagnostics.error(*inner.at("client_ca"), "config.tls",
                          "serve: client_ca needs tls_certificate and tls_key; without TLS nobody shows a certificate");
      read_serve_limits(inner, draft_.loaded.config.serve);
      if (const yaml::Node* webhook = inner.section("webhook"))
        draft_.loaded.config.serve.webhook = read_webhook(*webhook, diagnostics);
      inner.finish();
      draft_.origin["serve"] = place(path, *node);
    }
    if (const yaml::Node* node = map.section("telemetry")) {
      draft_.loaded.config.telemetry = read_telemetry(*node, diagnostics, draft_.lookup, [&](const yaml::Node& otlp) {
        read_otlp(otlp, diagnostics);
        draft_.origin["telemetry.otlp"] = place(path, otlp);
      });
      draft_.origin["telemetry"] = place(path, *node);
    }
    if (const yaml::Node* notices = map.section_list("notices")) {
      for (const yaml::Node& node : notices->items)
        draft_.loaded.config.notices.push_back(read_notice(node, diagnostics, draft_.lookup));
      draft_.origin["notices"] = place(path, *notices);
    }
    if (const yaml::Node* node = map.section("facade")) {
      KeyReader inner(*node, diagnostics, "facade", facade_keys());
      Facade& facade = draft_.loaded.config.facade;
      if (const auto enabled = inner.boolean("enabled")) facade.enabled = draft_.facade_asked_for = *enabled;
      if (const auto soft = inner.boolean("soft_delete")) facade.soft_delete = *soft;
      if (const auto grace = inner.duration("grace")) facade.grace = *grace;
      inner.finish();
      draft_.origin["facade"] = place(path, *node);
    }
    map.finish();
    if (!diagnostics.ok()) return fail(diagnostics.combined());
    return {};
  }

 private:
  static std::vector<std::string> pieces(std::string_view text, char between) {
    std::vector<std::string> out;
    for (size_t from = 0; from < text.size();) {
      const size_t end = std::min(text.find(between, from), text.size());
      if (end > from) out.emplace_back(text.substr(from, end - from));
      from = end + 1;
    }
    return out;
  }

  static std::string place(const std::string& file, const yaml::Node& node) {
    return fmt::format("{}:{}:{}", file, node.line, node.column);
  }

  void read_store_keys(KeyReader& map, const std::string& path, yaml::Diagnostics& diagnostics) {
    const auto add = [&](const Secret& text, const char* name) {
      if (auto key = security::SealKey::parse(text, name))
        draft_.loaded.config.store_keys.push_back(std::move(*key));
      else
        diagnostics.error(*map.at(name), key.error().code, key.error().what);
    };
    if (const auto text = map.secret("store_key", draft_.lookup)) {
      add(*text, "store_key");
      draft_.origin["store_key"] = place(path, *map.at("store_key"));
    }
    const auto old = map.text("store_old_keys");
    if (!old) return;
    if (map.at("store_key") == nullptr && !draft_.environment.get("TWINSTEP_STORE_KEY"))
      diagnostics.error(*map.at("store_old_keys"), "config.store-key", "store_old_keys need a store_key beside them");
    for (const std::string& one : pieces(*old, ',')) {
      if (!one.starts_with("env:") && !one.starts_with("file:")) {
        diagnostics.error(*map.at("store_old_keys"), "config.store-key",
                          "store_old_keys must be env:NAME or file:/path, with commas between them and no blanks");
      } else if (const auto text = resolve_secret(one, draft_.lookup)) {
        add(*text, "store_old_keys");
      } else {
        diagnostics.error(*map.at("store_old_keys"), text.error().code, text.error().what);
      }
    }
  }

  void read_otlp(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    Otlp& otlp = draft_.loaded.config.otlp;
    KeyReader map(node, diagnostics, "telemetry.otlp", otlp_keys());
    if (const auto endpoint = map.text("endpoint")) otlp.traces_endpoint = traces_endpoint(*endpoint);
    if (auto headers = map.secret("headers", draft_.lookup)) otlp.headers = std::move(*headers);
    if (const auto name = map.text("service_name")) otlp.service_name = *name;
    if (const auto percent = map.integer("sample_percent")) otlp.sample = static_cast<double>(*percent) / 100.0;
    map.finish();
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
    draft_.origin[key] = place(diagnostics.file(), *node);
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
    draft_.origin[key] = place(diagnostics.file(), *node);
  }

  void read_hub(const std::string& name, const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    Hub hub;
    hub.name = name;
    KeyReader map(node, diagnostics, fmt::format("hub {}", name), hub_keys());
    const auto connection = map.secret("connection_string", draft_.lookup);
    const auto host = map.text("host");
    if (const auto tier = map.choice("tier")) hub.tier = static_cast<Tier>(*tier);
    if (const auto units = map.integer("units")) hub.units = static_cast<int>(*units);
    if (const auto factor = map.integer("time_factor")) hub.time_factor = static_cast<int>(*factor);
    if (const yaml::Node* entra = map.section("entra")) hub.entra = read_entra(*entra, diagnostics, draft_.environment);
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
    if (by_name(draft_.loaded.config.hubs, name) != draft_.loaded.config.hubs.end())
      diagnostics.error(node, "config.duplicate-name",
                        fmt::format("hub {} is here twice; names compare without case", name));
    draft_.origin["hubs." + name] = place(diagnostics.file(), node);
    draft_.loaded.config.hubs.push_back(std::move(hub));
  }

  void read_storage(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    KeyReader map(node, diagnostics, "storage", storage_keys());
    Storage storage;
    if (auto value = map.secret("connection_string", draft_.lookup)) storage.connection_string = *value;
    storage.account = map.text("account").value_or("");
    if (const yaml::Node* entra = map.section("entra"))
      storage.entra = read_entra(*entra, diagnostics, draft_.environment);
    if (storage.entra ? storage.account.empty() : !map.at("connection_string") || !storage.account.empty()) {
      diagnostics.error(node, "config.storage-credentials", "storage needs connection_string, or account and entra");
    } else if (storage.entra) {
      if (auto account = azure::StorageAccount::of_identity(storage.account); !account)
        diagnostics.error(*map.at("account"), account.error().code, account.error().what);
      if (map.at("connection_string"))
        draft_.warnings.push_back(
            "storage.connection_string is not used, because storage.entra is there; remove the key");
    }
    const auto identity = map.boolean("identity_based_jobs");
    if (storage.entra && identity && !*identity)
      diagnostics.error(*map.at("identity_based_jobs"), "config.storage-credentials",
                        "without the account's key there is no SAS for jobs: with entra, identity_based_jobs is always "
                        "true");
    storage.identity_based_jobs = storage.entra || identity.value_or(false);
    storage.user_assigned_identity = map.text("user_assigned_identity").value_or("");
    map.finish();
    draft_.origin["storage"] = place(diagnostics.file(), node);
    draft_.loaded.config.storage = std::move(storage);
  }

  void read_external(const std::string& name, const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    External external;
    external.name = name;
    KeyReader map(node, diagnostics, fmt::format("external {}", name), external_keys());
    external.provider = map.text("provider").value_or("");
    std::optional<std::vector<std::string>> known;
    if (draft_.options.provider_settings && !external.provider.empty()) {
      auto names = draft_.options.provider_settings(external.provider);
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
        } else if (auto resolved = read_secret(inner, key.scalar, diagnostics, draft_.lookup)) {
          external.settings[key.scalar] = *resolved;
        }
      }
    }
    map.finish();
    draft_.origin["externals." + name] = place(diagnostics.file(), node);
    draft_.loaded.config.externals.push_back(std::move(external));
  }

  void read_one_link(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
    Link link = read_link(node, diagnostics);
    const auto check_name = [&](const auto& list, const std::string& name, const char* what) {
      if (name.empty() || by_name(list, name) != list.end()) return;
      std::vector<std::string> names;
      for (const auto& one : list) names.push_back(one.name);
      // Hubs may also come from the environment, which is read later.
      if (draft_.environment.get("iothub_" + name) || (same_name(name, "default") && draft_.environment.get("iothub")))
        return;
      const std::string meant = nearest(name, names);
      diagnostics.error(*node.find(what), "config.unknown-name",
                        fmt::format("link {}: there is no {} '{}'{}", link.name, what, name,
                                    meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
    };
    check_name(draft_.loaded.config.hubs, link.hub, "hub");
    check_name(draft_.loaded.config.externals, link.external, "external");
    if (by_name(draft_.loaded.config.links, link.name) != draft_.loaded.config.links.end())
      diagnostics.error(node, "config.duplicate-name",
                        fmt::format("link {} is here twice; names compare without case", link.name));
    draft_.origin["links." + link.name] = place(diagnostics.file(), node);
    draft_.loaded.config.links.push_back(std::move(link));
  }

  Draft& draft_;
};

}  // namespace

Status read_file(Draft& draft, const std::string& path) { return FileReader(draft).read(path); }

}  // namespace twinstep::config
