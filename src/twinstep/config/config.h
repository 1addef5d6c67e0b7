#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/error.h"
#include "twinstep/base/secret.h"
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
  Secret connection_string;
  /// Jobs reach the container by SAS (false) or by the hub's own identity (true).
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

/// Where the daemon listens: ADDRESS:PORT, port 0 = any free one.
struct Serve {
  std::string listen = "127.0.0.1:8080";      ///< webhook and API
  std::string operations = "127.0.0.1:8081";  ///< health
  Millis history{30ll * 24 * 3600 * 1000};    ///< how long ended runs and tasks are kept
  Millis lease{60'000};         ///< of a replica's work: how long it may be silent before others take over
  std::string tls_certificate;  ///< PEM file of `listen`; empty = plain HTTP
  std::string tls_key;          ///< PEM file
};

struct Config {
  std::vector<Hub> hubs;
  std::optional<Storage> storage;
  std::vector<External> externals;
  std::vector<Link> links;
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
  twinstep::telemetry::TelemetryOptions telemetry{};
  std::vector<twinstep::telemetry::NoticeOptions> notices{};

  const Hub* find_hub(std::string_view name) const;
  const External* find_external(std::string_view name) const;
  const Link* find_link(std::string_view name) const;
};

}  // namespace twinstep::config
