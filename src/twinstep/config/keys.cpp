#include "twinstep/config/keys.h"

#include <algorithm>
#include <array>

#include "twinstep/azure/token_verifier.h"
#include "twinstep/config/config.h"
#include "twinstep/config/load.h"

namespace twinstep::config {
namespace {

/// As a user would write it: "1d", "5m", "1500ms".
std::string duration_text(Millis span) {
  struct Unit {
    const char* name;
    Millis::rep length;
  };
  constexpr std::array kUnits{Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"m", 60'000}, Unit{"s", 1000}};
  for (const Unit& unit : kUnits)
    if (span.count() % unit.length == 0) return fmt::format("{}{}", span.count() / unit.length, unit.name);
  return fmt::format("{}ms", span.count());
}

json::value polling_text(const JobPolling& polling) {
  return json::object{{"interval", duration_text(polling.interval)}, {"attempts", polling.attempts}};
}

json::value retry_text(const RetrySettings& retry) {
  return json::object{{"first", duration_text(retry.first)},
                      {"cap", duration_text(retry.cap)},
                      {"attempts", retry.attempts},
                      {"total", duration_text(retry.total)}};
}

Key limit(std::string name, const Limit& otherwise, std::string description) {
  return {.name = std::move(name),
          .type = KeyType::kLimit,
          .description = std::move(description),
          .otherwise = json::value(to_string(otherwise))};
}

}  // namespace

const Key* Section::find(std::string_view name) const {
  const auto found = std::find_if(keys.begin(), keys.end(), [&](const Key& key) { return key.name == name; });
  return found == keys.end() ? nullptr : &*found;
}

const std::vector<std::string>& tier_names() {
  static const std::vector<std::string> names{"F1", "B1", "B2", "B3", "S1", "S2", "S3"};
  return names;
}

const Section& root_keys() {
  static const Config defaults;
  static const Section section{{
      {.name = "hubs", .type = KeyType::kNamedSections, .section = &hub_keys()},
      {.name = "storage", .type = KeyType::kSection, .section = &storage_keys()},
      {.name = "externals", .type = KeyType::kNamedSections, .section = &external_keys()},
      {.name = "links", .type = KeyType::kSectionList, .section = &link_keys()},
      {.name = "store",
       .type = KeyType::kSecret,
       .description = "sqlite:PATH or postgresql://..., or env:NAME or file:/path that holds it",
       .pattern = "^(sqlite:|postgres(ql)?://|env:|file:)"},
      {.name = "store_key",
       .type = KeyType::kSecret,
       .description = "32 bytes as base64 or hexadecimal text; secrets in the store are sealed with it",
       .pattern = "^(env:|file:)"},
      {.name = "store_old_keys",
       .description =
           "env:NAME or file:/path, several with commas between them: keys before store_key, which still open"},
      {.name = "ca_file", .description = "PEM file to trust instead of the system's"},
      {.name = "use_export_jobs", .type = KeyType::kBoolean, .otherwise = json::value(defaults.use_export_jobs)},
      {.name = "job_threshold",
       .type = KeyType::kInteger,
       .description = "from this many creates and deletes on an import job; 0 = always",
       .most = 1'000'000'000,
       .otherwise = json::value(defaults.job_threshold)},
      {.name = "export_polling",
       .type = KeyType::kSection,
       .otherwise = polling_text(defaults.export_polling),
       .section = &polling_keys()},
      {.name = "import_polling",
       .type = KeyType::kSection,
       .otherwise = polling_text(defaults.import_polling),
       .section = &polling_keys()},
      {.name = "twin_check",
       .type = KeyType::kSection,
       .description = "waiting for the tags of a new device",
       .otherwise = retry_text(defaults.twin_check),
       .section = &retry_keys()},
      {.name = "external_calls",
       .type = KeyType::kSection,
       .description = "creating and deleting in the external system",
       .otherwise = retry_text(defaults.external_calls),
       .section = &retry_keys()},
      {.name = "serve", .type = KeyType::kSection, .description = "the daemon", .section = &serve_keys()},
      {.name = "telemetry",
       .type = KeyType::kSection,
       .description = "what the daemon tells of itself, and where that goes",
       .section = &telemetry_keys()},
      {.name = "notices",
       .type = KeyType::kSectionList,
       .description = "who is told when a person is needed",
       .section = &notice_keys()},
      {.name = "facade",
       .type = KeyType::kSection,
       .description = "callers create and delete single devices of a hub by HTTP",
       .section = &facade_keys()},
  }};
  return section;
}

const Section& hub_keys() {
  static const Hub defaults;
  static const Section section{{
      {.name = "connection_string", .type = KeyType::kSecret},
      {.name = "host", .description = "instead of connection_string, with entra"},
      {.name = "entra", .type = KeyType::kSection, .section = &entra_keys()},
      {.name = "tier",
       .type = KeyType::kChoice,
       .choices = tier_names(),
       .otherwise = json::value(to_string(defaults.tier))},
      {.name = "units", .type = KeyType::kInteger, .least = 1, .most = 200, .otherwise = json::value(defaults.units)},
      {.name = "time_factor",
       .type = KeyType::kInteger,
       .description = "of a simulated hub",
       .least = 1,
       .most = 100'000,
       .otherwise = json::value(defaults.time_factor)},
  }};
  return section;
}

const Section& entra_keys() {
  static const Section section{{
      {.name = "kind",
       .type = KeyType::kChoice,
       .choices = {"client-secret", "workload-identity", "managed-identity"},
       .otherwise = "client-secret"},
      {.name = "tenant", .description = "else AZURE_TENANT_ID"},
      {.name = "client_id", .description = "else AZURE_CLIENT_ID"},
      {.name = "client_secret", .type = KeyType::kSecret, .description = "else AZURE_CLIENT_SECRET"},
  }};
  return section;
}

const Section& storage_keys() {
  static const Storage defaults;
  static const Section section{{
      {.name = "connection_string", .type = KeyType::kSecret},
      {.name = "account",
       .description =
           "instead of connection_string, with entra: the account's name or the address of its blob service"},
      {.name = "entra", .type = KeyType::kSection, .section = &entra_keys()},
      {.name = "identity_based_jobs",
       .type = KeyType::kBoolean,
       .description = "the hub reaches the storage with its own identity instead of a SAS; always so with entra",
       .otherwise = json::value(defaults.identity_based_jobs)},
      {.name = "user_assigned_identity", .description = "resource id; else the hub's system-assigned identity"},
  }};
  return section;
}

const Section& external_keys() {
  static const Section section{{
      {.name = "provider", .description = "a built-in provider or the path of a definition", .required = true},
      {.name = "settings", .type = KeyType::kSettings, .description = "the settings of the provider's definition"},
  }};
  return section;
}

const Section& link_keys() {
  static const Link defaults;
  static const Section section{{
      {.name = "name", .required = true},
      {.name = "hub", .description = "one of hubs", .required = true},
      {.name = "external", .description = "one of externals", .required = true},
      {.name = "master", .type = KeyType::kChoice, .choices = {"external", "hub"}, .otherwise = "external"},
      {.name = "schedule", .description = "cron with 5 fields, or NCRONTAB with 6"},
      {.name = "zone", .otherwise = json::value(defaults.zone)},
      {.name = "scope",
       .type = KeyType::kChoice,
       .choices = {"owned", "whole-hub"},
       .otherwise = json::value(to_string(defaults.scope))},
      {.name = "deletes",
       .type = KeyType::kChoice,
       .description = "what happens to devices that the master lacks",
       .choices = {"delete", "disable", "never"},
       .required = true,
       .if_missing = "a link must say what happens to devices its master lacks; write 'deletes: delete' (remove them), "
                     "'deletes: disable' (keep them and their keys, but refuse connections) or 'deletes: never'"},
      {.name = "limits", .type = KeyType::kSection, .section = &limits_keys()},
      {.name = "copy_secrets",
       .type = KeyType::kBoolean,
       .description = "copy the provider's secret tags into the twin",
       .otherwise = json::value(defaults.copy_secrets)},
      {.name = "include",
       .type = KeyType::kChoices,
       .description = "also manage these kinds of devices",
       .choices = {"edge", "modules", "certificates"}},
      {.name = "ids",
       .type = KeyType::kChoice,
       .description = "spelling of DevEUI-shaped ids of new devices",
       .choices = {"as-listed", "upper", "lower"},
       .otherwise = "as-listed"},
      {.name = "overlap",
       .type = KeyType::kChoice,
       .description = "what a run becomes while another one of the link is active",
       .choices = {"skip", "queue"},
       .otherwise = "skip"},
      {.name = "facade",
       .type = KeyType::kBoolean,
       .description = "devices that callers of the facade make in the hub are this link's; must be said where several "
                      "links with an external master share a hub"},
      {.name = "plan_lifetime",
       .type = KeyType::kDuration,
       .description = "a plan is refused after that, and a blocked run ends",
       .otherwise = json::value(duration_text(defaults.plan_lifetime))},
  }};
  return section;
}

const Section& limits_keys() {
  static const Limits defaults;
  static const Section section{{
      limit("deletes", defaults.deletes, "of the owned devices"),
      limit("updates", defaults.updates, "of the owned devices"),
      limit("shrink", defaults.shrink, "how much smaller the master list may be than at the last good run"),
  }};
  return section;
}

const Section& polling_keys() {
  static const Section section{{
      {.name = "interval", .type = KeyType::kDuration, .description = "at least 1s"},
      {.name = "attempts", .type = KeyType::kInteger, .least = 1, .most = 1'000'000},
  }};
  return section;
}

const Section& retry_keys() {
  static const Section section{{
      {.name = "first", .type = KeyType::kDuration, .description = "first wait, doubled from then on; at least 1s"},
      {.name = "cap", .type = KeyType::kDuration, .description = "longest wait; at least 1s"},
      {.name = "attempts", .type = KeyType::kInteger, .least = 1, .most = 1'000'000},
      {.name = "total", .type = KeyType::kDuration, .description = "of all waits together; at least 1s"},
  }};
  return section;
}

const Section& serve_keys() {
  static const Serve defaults;
  static const Section section{{
      {.name = "listen", .description = "ADDRESS:PORT of webhook and API", .otherwise = json::value(defaults.listen)},
      {.name = "operations",
       .description = "ADDRESS:PORT of health, for this machine's eyes",
       .otherwise = json::value(defaults.operations)},
      {.name = "history",
       .type = KeyType::kDuration,
       .description = "how long ended runs and tasks are kept; at least 1s",
       .otherwise = json::value(duration_text(defaults.history))},
      {.name = "lease",
       .type = KeyType::kDuration,
       .description = "with PostgreSQL: how long a silent replica keeps its work before others take over; at least 2s",
       .otherwise = json::value(duration_text(defaults.lease))},
      {.name = "tls_certificate", .description = "PEM file: listen speaks TLS"},
      {.name = "tls_key", .description = "PEM file of the certificate's key"},
      {.name = "operations_keys",
       .type = KeyType::kChoice,
       .description = "whether operations needs keys although only this machine reaches it",
       .choices = {"optional", "required"},
       .otherwise = "optional"},
      {.name = "host_names",
       .description = "names under which listeners may be called that need no keys, with blanks between them; "
                      "localhost and loopback addresses always"},
      {.name = "client_ca",
       .description = "PEM file: who connects to listen must show a certificate that chains to one in it"},
      {.name = "max_connections",
       .type = KeyType::kInteger,
       .description = "of listen, at once",
       .least = 1,
       .most = 1'000'000,
       .otherwise = json::value(defaults.max_connections)},
      {.name = "max_connections_per_address",
       .type = KeyType::kInteger,
       .description = "of listen, at once, of an IPv4 address or an IPv6 /64; 0 = no limit; not for this machine's own "
                      "addresses unless set",
       .most = 1'000'000,
       .otherwise = json::value(Serve::kConnectionsPerAddress)},
      {.name = "max_requests_per_address",
       .type = KeyType::kInteger,
       .description = "likewise, requests being answered at once",
       .most = 1'000'000,
       .otherwise = json::value(Serve::kRequestsPerAddress)},
      {.name = "idle_timeout",
       .type = KeyType::kDuration,
       .description = "how long a connection may stay without a request; at least 1s",
       .otherwise = json::value(duration_text(defaults.idle_timeout))},
      {.name = "request_timeout",
       .type = KeyType::kDuration,
       .description = "how long a request may take to arrive; at least 1s",
       .otherwise = json::value(duration_text(defaults.request_timeout))},
      {.name = "webhook", .type = KeyType::kSection, .section = &webhook_keys()},
  }};
  return section;
}

const Section& webhook_keys() {
  static const Section section{{
      {.name = "entra",
       .type = KeyType::kSection,
       .description = "deliveries may prove themselves by a token of Entra ID",
       .section = &webhook_entra_keys()},
  }};
  return section;
}

const Section& webhook_entra_keys() {
  static const azure::EntraTrust defaults;
  static const Section section{{
      {.name = "tenant", .description = "the tenant's GUID", .required = true},
      {.name = "audience",
       .description = "id or App ID URI of the webhook's application; several with blanks between them",
       .required = true},
      {.name = "application",
       .description = "application id of Event Grid in its cloud",
       .otherwise = json::value(json::string(defaults.application))},
      {.name = "authority",
       .description = "https:// and the host that issues tokens",
       .otherwise = json::value(json::string(defaults.authority))},
  }};
  return section;
}

const Section& otlp_keys() {
  static const Otlp defaults;
  static const Section section{{
      {.name = "endpoint", .description = "address of an OTLP/HTTP collector; /v1/traces is added"},
      {.name = "headers", .type = KeyType::kSecret, .description = "name=value,name=value for the collector"},
      {.name = "service_name", .otherwise = json::value(defaults.service_name)},
      {.name = "sample_percent",
       .type = KeyType::kInteger,
       .description = "how many of a hundred traces that begin here are recorded",
       .least = 0,
       .most = 100,
       .otherwise = json::value(static_cast<int>(defaults.sample * 100))},
  }};
  return section;
}

const Section& facade_keys() {
  static const Facade defaults;
  static const Section section{{
      {.name = "enabled",
       .type = KeyType::kBoolean,
       .description = "false: its routes answer 403",
       .otherwise = json::value(defaults.enabled)},
      {.name = "soft_delete",
       .type = KeyType::kBoolean,
       .description = "a DELETE disables the device and keeps its keys",
       .otherwise = json::value(defaults.soft_delete)},
      {.name = "grace",
       .type = KeyType::kDuration,
       .description = "runs delete no device that a caller of the facade asked for so recently",
       .otherwise = json::value(duration_text(defaults.grace))},
  }};
  return section;
}

}  // namespace twinstep::config
