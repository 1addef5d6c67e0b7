#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "sims/hub_model.h"
#include "sims/sim_faults.h"
#include "twinstep/http/client.h"
#include "twinstep/http/server.h"

namespace twinstep::sims {

struct IotHubSimOptions {
  std::string name = "examplehub.azure-devices.net";
  std::string policy_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";  ///< of every built-in policy
  std::map<std::string, std::set<std::string>> policies;                    ///< more policies, with their rights
  std::string bearer_token;  ///< Entra token that is let in; empty = none
  /// Data actions that its identity has, below Microsoft.Devices/IotHubs/ ("devices/read"); empty = all. See
  /// role_actions().
  std::set<std::string> bearer_actions;
  /// What identity-based jobs present to the storage: this as the system-assigned identity, see identity_bearer().
  std::string identity_token;
  std::string tier = "S1";  ///< F1, B1 to B3, S1 to S3
  int units = 1;
  bool throttle = true;
  uint64_t max_devices = 0;  ///< 0 = as the tier has it
  double time_factor = 1;    ///< queueing delays on the wire are divided by it
  std::chrono::milliseconds index_lag{2'000};
  std::chrono::milliseconds ghost_time{25 * 60'000};
  std::chrono::milliseconds job_queue{1'000};
  std::chrono::milliseconds job_duration{2'000};  ///< besides what the lines of an import take
  double import_rate = 0;              ///< lines a minute; 0 = as the tier has it, negative or no throttle = at once
  std::chrono::seconds clock_skew{0};  ///< the hub's clock is ahead by this
  uint64_t seed = 1;
};

/// The Bearer token of one of the hub's identities: the system-assigned one, or `user_assigned` (a resource id).
std::string identity_bearer(const std::string& identity_token, const std::string& user_assigned);

/// The data actions of a built-in role: "contributor", "reader", "registry", "twin"; empty for another name.
/// Source  azure.md 1.2
std::set<std::string> role_actions(std::string_view role);

/// An IoT Hub's service API: identities, modules, twins, bulk updates, queries, statistics and import/export jobs.
/// Strict where the service is strict, and unkind where its behaviour is not settled.
///
/// Threads   any method, any thread. One thread of its own per active job.
/// Source    azure.md section 1.
class IotHubSim {
 public:
  /// `storage` reaches the containers that jobs name.
  IotHubSim(IotHubSimOptions options, Clock& clock, http::Client& storage);
  ~IotHubSim();
  http::ServerResponse handle(const http::ServerRequest& request);

  /// Puts a device in as a seed: present for ever, also in the query index.
  void seed_device(const std::string& id, bool enabled, bool edge, std::string tags);
  size_t device_count() const;
  uint64_t throttled_count() const;
  /// Operations that the throttle let through, by its name for their kind; each entry of a bulk call is one.
  std::map<std::string, uint64_t> operations() const;
  double seconds() const;  ///< since it started, on the clock that rates follow
  /// Devices and modules as export lines.
  std::string dump(bool keys = false) const;
  /// Replaces the registry, or adds to it, from such lines; queries show them at once. Gives the lines taken.
  /// `told`: on_change hears of the devices that came and went by it.
  /// Errors  kInvalid naming the line; then nothing was changed.
  Result<size_t> load(std::string_view ndjson, bool replace, bool told = false);
  /// Asked when a job starts to run, with its type; empty = nothing goes wrong. Set before the first call.
  std::function<JobFault(std::string_view type)> on_job;
  /// Told of every device that the REST API created or deleted, one by one, in bulk or by an import, in the order in
  /// which it happened; `entity` is the new device or the last one known. Set before the first call. The registry is
  /// locked meanwhile: it must return at once and not call the hub.
  std::function<void(HubChange change, const std::string& id, const Entity& entity)> on_change;
  /// Waits until no job is active.
  void wait_for_jobs();

 private:
  struct Job {
    std::string id, type, status = "enqueued", input_uri, output_uri, input_blob, output_blob, failure, user_assigned;
    bool hide_keys = false, identity = false;
    SystemTime started, ended;
    int progress = 0;
  };
  struct Shown {  ///< what the query index still shows
    std::optional<Entity> old;
    SteadyTime until;
  };
  struct Bucket {
    double rate = 0, burst = 0, tokens = 0;
    SteadyTime filled;
    uint64_t passed = 0;
  };
  struct Entry {
    std::string id, module, operation;
  };

  http::ServerResponse route(const http::ServerRequest& request);
  http::ServerResponse refuse(const HubError& error) const;
  /// `actions` are what an Entra identity needs for it, all of them.
  std::optional<HubError> authorize(const http::ServerRequest& request, std::string_view right,
                                    const std::set<std::string>& actions) const;
  /// Takes tokens; the answer's delay, or the refusal.
  Answer<std::chrono::nanoseconds> take(const std::string& bucket, double tokens);
  http::ServerResponse device_call(const http::ServerRequest& r, const std::string& id);
  http::ServerResponse module_call(const http::ServerRequest& r, const std::string& id, const std::string& module);
  http::ServerResponse twin_call(const http::ServerRequest& r, const std::string& id, const std::string& module);
  http::ServerResponse bulk_call(const http::ServerRequest& r);
  http::ServerResponse query_call(const http::ServerRequest& r);
  http::ServerResponse job_create(const http::ServerRequest& r);
  Answer<void> apply(const json::object& entry, bool import, Entry& about);
  Answer<void> probe(const Job& job);
  void run_job(std::string id, std::stop_token stop);
  Status run_export(const Job& job, const JobFault& fault, std::stop_token stop);
  Status run_import(const Job& job, std::stop_token stop);
  double import_rate() const;  ///< lines a minute, 0 = any
  http::Request blob_request(const Job& job, const std::string& uri, const std::string& blob, std::string_view method,
                             std::string_view query) const;
  json::object job_json(const Job& job) const;
  Entity fresh_entity();
  Answer<Entity> entity_of(const std::string& id, const json::object& line);
  std::optional<HubError> quota() const;            ///< the refusal when one more device or module does not fit
  void touch(const std::string& id, bool deleted);  ///< before a change: keeps what the index shows
  void purge_index();
  void tell(HubChange change, const std::string& id, const Entity& entity) const {
    if (on_change) on_change(change, id, entity);
  }
  int64_t now_us() const { return clock_.system_now().time_since_epoch().count(); }

  const IotHubSimOptions options_;
  Clock& clock_;
  const SteadyTime started_;
  http::Client& storage_;
  KeyMaker keys_;
  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, Entity, std::less<>> devices_;
  std::map<std::string, Shown, std::less<>> index_;
  std::map<std::string, Bucket> buckets_;
  std::map<std::string, Job> jobs_;
  uint64_t modules_ = 0, next_seed_ = 1, throttled_ = 0;
  std::condition_variable jobs_changed_;
  std::vector<std::jthread> runners_;
};

}  // namespace twinstep::sims
