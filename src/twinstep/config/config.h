#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/error.h"
#include "twinstep/base/secret.h"
#include "twinstep/security/seal.h"
#include "twinstep/telemetry/options.h"

/// What a user can set, typed, with the defaults beside the fields. Filled by load() from YAML and environment.
namespace twinstep::config {

enum class Tier { kFree, kB1, kB2, kB3, kS1, kS2, kS3 };
enum class EntraKind { kClientSecret, kWorkloadIdentity, kManagedIdentity };

struct Entra {
  EntraKind kind = EntraKind::kClientSecret;
  std::string tenant;
  std::string client_id;
  Secret client_secret;
  // What the platform sets for workload and managed identities; from the environment.
  std::string authority;          ///< AZURE_AUTHORITY_HOST
  std::string token_file;         ///< AZURE_FEDERATED_TOKEN_FILE
  std::string imds;               ///< AZURE_POD_IDENTITY_AUTHORITY_HOST
  std::string identity_endpoint;  ///< IDENTITY_ENDPOINT
  Secret identity_header;         ///< IDENTITY_HEADER
};

struct Hub {
  std::string name;          ///< compared without case
  Secret connection_string;  ///< or host and entra
  std::string host;          ///< "contoso.azure-devices.net", a port may follow; filled from the connection string
  std::optional<Entra> entra;
  Tier tier = Tier::kS1;
  int units = 1;
  int time_factor = 1;  ///< of a simulated hub; its budget of calls runs so many times as fast
};

struct Storage {
  Secret connection_string;    ///< or account and entra
  std::string account;         ///< its name, or the address of its blob service
  std::optional<Entra> entra;  ///< whoever reads and writes blobs for us, instead of the account's key
  /// Jobs reach the container by SAS (false) or by the hub's own identity (true). Without a key there is no SAS: with
  /// entra it is always true.
  bool identity_based_jobs = false;
  std::string user_assigned_identity;  ///< resource id; empty = the hub's system-assigned one
};

struct External {
  std::string name;
  std::string provider;                    ///< a built-in definition's name, or a path
  std::map<std::string, Secret> settings;  ///< values for the definition's settings, secrets resolved
};

enum class Master { kExternal, kHub };
enum class Scope { kOwned, kWholeHub };
enum class Deletes { kDelete, kDisable, kNever };
enum class Overlap { kSkip, kQueue };                 ///< what a run becomes while another one of its link is active
enum class IdSpelling { kAsListed, kUpper, kLower };  ///< of DevEUI-shaped ids when a hub device is created

/// "10%" of something, or an absolute number.
struct Limit {
  std::optional<double> percent;
  std::optional<uint64_t> count;
};

struct Limits {
  Limit deletes{10.0, {}};  ///< of the owned devices; a percentage counts from 10 owned devices up
  Limit updates{30.0, {}};
  Limit shrink{20.0, {}};  ///< how much smaller the master list may be than at the last good run
};

struct Link {
  std::string name;
  std::string hub;
  std::string external;
  Master master = Master::kExternal;
  std::string schedule;  ///< cron, 5 or 6 fields; empty = none
  std::string zone = "UTC";
  Scope scope = Scope::kOwned;
  Deletes deletes = Deletes::kNever;
  Limits limits;
  bool copy_secrets = false;          ///< copy the provider's secret tags (applicationKey, ...) into the twin
  bool include_edge = false;          ///< also manage Edge devices ("unless named")
  bool include_modules = false;       ///< also manage devices with modules
  bool include_certificates = false;  ///< also manage devices with X.509 authentication
  IdSpelling id_spelling = IdSpelling::kAsListed;
  Millis plan_lifetime{24 * 3600 * 1000};  ///< how long a plan may be applied, and a blocked run approved
  Overlap overlap = Overlap::kSkip;
  bool events = false;  ///< the hub's events are acted on: master hub, and the link of the sample's variables
  /// Devices that callers of the façade make in the hub are this link's. Said, or the only candidate
  /// (Config::facade_of).
  std::optional<bool> facade{};
};

struct JobPolling {
  Millis interval{60'000};
  int attempts = 5;
};

/// How long something is tried again: waits double from `first` to `cap`, until `attempts` or `total` is used up.
struct RetrySettings {
  Millis first{60'000};
  Millis cap{300'000};
  int attempts = 100;
  Millis total{2880 * 60'000};
};

/// Whose Entra ID tokens are believed when Event Grid sends them with its deliveries (azure::EntraTrust).
struct WebhookTrust {
  std::string tenant;                  ///< GUID
  std::vector<std::string> audiences;  ///< of the webhook's application: its id or App ID URI; one of them
  std::string application;             ///< who sends the events: Event Grid's application id of the cloud
  std::string authority;               ///< "https://login.microsoftonline.com", or that of a national cloud
};

struct Webhook {
  std::optional<WebhookTrust> entra;
};

/// Where the daemon listens: ADDRESS:PORT, port 0 = any free one.
struct Serve {
  std::string listen = "127.0.0.1:8080";      ///< webhook and API
  std::string operations = "127.0.0.1:8081";  ///< health
  Millis history{30ll * 24 * 3600 * 1000};    ///< how long ended runs and tasks are kept
  Millis lease{60'000};         ///< of a replica's work: how long it may be silent before others take over
  std::string tls_certificate;  ///< PEM file of `listen`; empty = plain HTTP
  std::string tls_key;          ///< PEM file
  /// The operations listener needs keys also where only this machine reaches it.
  bool operations_keys = false;
  std::vector<std::string> host_names;  ///< under which a listener that needs no keys may be called, beside loopback's
  std::string client_ca;  ///< PEM file: who connects to `listen` must show a certificate that chains to it
  // Of `listen`.
  int max_connections = 20'000;
  /// Of one address (IPv6: of one /64), 0 = no limit. While nobody has set it, this machine's own addresses have none:
  /// behind a proxy beside us all connections come from there.
  std::optional<int> max_connections_per_address;
  std::optional<int> max_requests_per_address;  ///< likewise, requests that are being answered at once
  Millis idle_timeout{75'000};                  ///< a connection without a request is closed
  Millis request_timeout{30'000};               ///< for a whole request to arrive

  static constexpr int kConnectionsPerAddress = 256;
  static constexpr int kRequestsPerAddress = 128;
  Webhook webhook;
};

/// telemetry.otlp: where spans go. Nothing is recorded without an endpoint.
struct Otlp {
  std::string traces_endpoint;  ///< the whole address, "http://localhost:4318/v1/traces"; empty = none
  Secret headers;               ///< "name=value,name=value" for the collector
  std::string service_name = "twinstep";
  double sample = 1.0;  ///< the part of the traces that begin here; others are recorded as their caller says

  friend bool operator==(const Otlp&, const Otlp&) = default;
};

/// Callers create and delete single devices of a hub by HTTP.
struct Facade {
  bool enabled = true;
  bool soft_delete = false;   ///< a DELETE disables the device and keeps its keys
  Millis grace{3600 * 1000};  ///< runs spare what was asked for in this time: their lists may be older
};

struct Config {
  std::vector<Hub> hubs;
  std::optional<Storage> storage;
  std::vector<External> externals;
  std::vector<Link> links;
  /// What secrets in the store are sealed with: the first seals, all of them open. Empty = none are kept there.
  std::vector<security::SealKey> store_keys;
  Secret store;                 ///< "sqlite:PATH" or "postgresql://..."; empty = the user's state folder
  std::string state_folder;     ///< $XDG_STATE_HOME/twinstep or ~/.local/state/twinstep; where the store is by default
  std::string ca_file;          ///< PEM file used instead of the system's CA store
  bool use_export_jobs = true;  ///< useJobToExportIoTHubDevices
  int job_threshold = 100;      ///< devicesChangeJobThreshold; 0 = always a job
  JobPolling export_polling{Millis{60'000}, 5};
  JobPolling import_polling{Millis{300'000}, 5};

  bool synchronizer_enabled = true;  ///< ioTHubSynchronizerEnabled: the sample's switch for its one synchronization

  RetrySettings twin_check{};  ///< waiting for the tags of a new device
  RetrySettings external_calls{Millis{300'000}, Millis{1'800'000}, 100, Millis{1440 * 60'000}};
  Serve serve;
  Otlp otlp;
  Facade facade;
  twinstep::telemetry::TelemetryOptions telemetry{};
  std::vector<twinstep::telemetry::NoticeOptions> notices{};

  /// The links whose master is an external system on the hub of that name or another name of its address, that the
  /// façade could work for: one that says `facade: true` alone, else all that do not say false.
  std::vector<const Link*> facade_links(std::string_view hub) const;
  /// The hub that is meant when none is named: `default`, or the only one; null among several.
  const Hub* default_hub() const;
  const Hub* find_hub(std::string_view name) const;
  const External* find_external(std::string_view name) const;
  const Link* find_link(std::string_view name) const;
};

}  // namespace twinstep::config
