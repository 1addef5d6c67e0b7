#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/ids.h"
#include "twinstep/base/result.h"
#include "twinstep/base/secret.h"
#include "twinstep/base/time_format.h"
#include "twinstep/json/json.h"

namespace twinstep::http {
class Authenticator;
class Client;
}  // namespace twinstep::http

namespace twinstep {
class Rng;
}

namespace twinstep::azure {

class HubBudget;
enum class Priority;

enum class AuthKind { kSas, kSelfSigned, kCertificateAuthority, kNone };

/// A device identity as the hub gave it.
struct Identity {
  DeviceId id;
  Etag etag;
  std::string generation_id;
  bool enabled = true;
  std::string status_reason;
  AuthKind auth = AuthKind::kSas;
  bool edge = false;
  json::object document;  ///< the complete answer, keys included: never logged, never stored. Modify and send it back
};

/// A device twin without its reported properties' meaning: what a synchronizer reads and writes.
struct Twin {
  DeviceId id;
  Etag etag;         ///< of the twin
  Etag device_etag;  ///< of the identity
  bool enabled = true;
  std::string status_reason;
  AuthKind auth = AuthKind::kSas;
  bool edge = false;
  json::object tags;     ///< empty when the twin has none
  json::object desired;  ///< with $metadata and $version as sent
};

enum class BulkMode { kCreate, kUpdateTwinIfMatchEtag, kDelete, kDeleteIfMatchEtag };

struct BulkEntry {
  DeviceId id;
  BulkMode mode = BulkMode::kCreate;
  Etag etag;       ///< for kDeleteIfMatchEtag
  Etag twin_etag;  ///< for kUpdateTwinIfMatchEtag
  json::object tags;
};

/// One line of a bulk call or import file, as the hub reads it. Always has `status`, which import files demand; never
/// has `authentication`, so that the hub generates the keys of new devices.
std::string import_line(const BulkEntry& entry);

struct EntryProblem {
  DeviceId id;
  std::string code;  ///< symbolic ("DeviceAlreadyExists") or a number as text
  std::string text;  ///< the hub's free text
  ErrorKind kind = ErrorKind::kInvalid;
};

struct BulkResult {
  std::vector<EntryProblem> errors;    ///< entries that were not applied
  std::vector<EntryProblem> warnings;  ///< e.g. DeviceRegisteredWithoutTwin

  /// The identity was made and its twin was not: the tags are missing and must be written.
  bool made_without_twin(const DeviceId& id) const;
};

struct QueryPage {
  std::string body;          ///< the JSON array as received
  std::string item_type;     ///< x-ms-item-type
  std::string continuation;  ///< empty = last page
};

enum class JobState { kEnqueued, kRunning, kCompleted, kFailed, kCancelled, kUnknown };
bool is_final(JobState state);

struct Job {
  JobId id;
  bool is_import = false;
  bool is_export = false;
  JobState state = JobState::kUnknown;
  int progress = 0;
  std::string failure_reason;
  std::optional<SystemTime> started;
  std::optional<SystemTime> ended;
  std::string input_blob;   ///< when the hub echoes it
  std::string output_blob;  ///< when the hub echoes it
};

struct ExportJob {
  Secret container_uri;  ///< with SAS for keyBased, without for identityBased
  std::string blob_name = "devices.txt";
  bool exclude_keys = true;
  bool identity_based = false;
  std::string user_assigned_identity;  ///< resource id; empty = the hub's system-assigned identity
};

struct ImportJob {
  Secret input_container_uri;
  Secret output_container_uri;
  std::string blob_name = "devices.txt";
  bool identity_based = false;
  std::string user_assigned_identity;
};

/// The device registry, twins, queries and jobs of one IoT Hub.
///
/// Threads   any method, any thread, at the same time.
/// Blocking  waits for the hub's budget, then the network; returns before call.deadline, within 100 ms of call.stop.
/// Retries   reads and ETag-guarded writes are repeated inside on transient answers; creates and job creation are not,
///           unless the hub surely did nothing. What is still kThrottled afterwards carries retry_after.
/// Errors    by the `iothub-errorcode` header, then the body's Message, then the status. kNotFound DeviceNotFound,
///           JobNotFound; kConflict DeviceAlreadyExists, PreconditionFailed; kDenied IotHubUnauthorizedAccess;
///           kThrottled 429; kUnavailable 5xx and JobQuotaExceeded; kInvalid the other 4xx. kCancelled "call.not-ours"
///           when call.guard does not hold any more (http::still_ours).
/// Source    IoT Hub service REST API, api-version 2021-04-12.
class IotHubClient {
 public:
  virtual ~IotHubClient() = default;

  virtual const std::string& host() const = 0;

  virtual Result<Identity> get_device(const DeviceId& id, const Call& call) = 0;
  /// Creates with hub-generated keys and no tags. kConflict when it exists.
  virtual Result<Identity> create_device(const DeviceId& id, const Call& call) = 0;
  /// Full replace, guarded by `etag` ("*" = whatever is there). `document` must be a modified Identity::document:
  /// without its `authentication` the hub would mint new keys, so such a document is refused as kInvalid.
  virtual Result<Identity> update_device(const json::object& document, const Etag& etag, const Call& call) = 0;
  /// Absent is kNotFound; the caller decides that this is success. An empty etag is refused as kInvalid; "*" deletes
  /// whatever is there.
  virtual Status delete_device(const DeviceId& id, const Etag& etag, const Call& call) = 0;

  /// Creates identity and tags in one go: a bulk call with one entry. kConflict when it exists.
  virtual Status create_with_tags(const DeviceId& id, const json::object& tags, const Call& call) = 0;

  virtual Result<Twin> get_twin(const DeviceId& id, const Call& call) = 0;
  /// JSON merge of tags; null removes a tag. `etag` guards it; empty = no guard.
  virtual Result<Twin> patch_tags(const DeviceId& id, const json::object& tags, const Etag& etag, const Call& call) = 0;

  /// At most 100 entries, no id twice. Costs one registry operation per entry. A partly failing call is a value.
  virtual Result<BulkResult> bulk(const std::vector<BulkEntry>& entries, const Call& call) = 0;

  /// One page of at most 1000; an empty continuation starts at the beginning.
  virtual Result<QueryPage> query(std::string_view text, int page_size, std::string_view continuation,
                                  const Call& call) = 0;
  /// How many devices the hub counts. Lags, and goes on counting deleted ones: for people, never for a decision.
  virtual Result<uint64_t> about_devices(const Call& call) = 0;
  /// Names of the device's modules.
  virtual Result<std::vector<std::string>> modules_of(const DeviceId& id, const Call& call) = 0;

  virtual Result<Job> create_export_job(const ExportJob& job, const Call& call) = 0;
  virtual Result<Job> create_import_job(const ImportJob& job, const Call& call) = 0;
  virtual Result<Job> get_job(const JobId& id, const Call& call) = 0;
  virtual Result<std::vector<Job>> list_jobs(const Call& call) = 0;
  virtual Status cancel_job(const JobId& id, const Call& call) = 0;
};

/// `name` is the hub's name in messages; `host` may carry a port. `http` is the bare transport, with a log at most:
/// the client signs and repeats by itself, because every try is paid from `budget`. All clients of one hub share one.
/// A transport error with the code "http.no-connection" means that the hub got nothing; others leave that open.
std::unique_ptr<IotHubClient> make_iothub_client(std::string name, std::string host, http::Authenticator& authenticator,
                                                 std::shared_ptr<HubBudget> budget, http::Client& http, Clock& clock,
                                                 Rng& rng);
/// The same for calls of that priority.
std::unique_ptr<IotHubClient> make_iothub_client(std::string name, std::string host, http::Authenticator& authenticator,
                                                 std::shared_ptr<HubBudget> budget, http::Client& http, Clock& clock,
                                                 Rng& rng, Priority priority);

}  // namespace twinstep::azure
