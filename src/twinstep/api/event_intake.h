#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "twinstep/api/router.h"
#include "twinstep/azure/event_grid.h"
#include "twinstep/store/start_queue.h"
#include "twinstep/workflows/device_task.h"

namespace twinstep::api {

/// What came in since the start, for health and metrics.
struct IntakeCounts {
  uint64_t deliveries = 0;
  uint64_t events = 0;
  uint64_t started = 0;  ///< tasks
  uint64_t joined = 0;   ///< events that a task of the same device took in
  uint64_t known = 0;    ///< repetitions
  uint64_t ignored = 0;  ///< of no concern to a registry
  uint64_t failed = 0;   ///< recorded as failed tasks, because nothing could ever be done about them
  std::map<std::string, uint64_t> unknown_hubs;  ///< refused, by the name that the event gave; at most 100 names
};

/// Takes Event Grid's deliveries: POST makes tasks of device events, in one transaction and before it answers; OPTIONS
/// is CloudEvents' handshake.
///
///   200  everything is recorded, or was already; a bad event is a failed task and does not hold up the others
///   400  not a delivery at all, or every event is of a hub that no link listens to ("event.unknown-hub", named)
///   413  larger than Event Grid ever sends
///   503  the store is away: Event Grid tries again (with Retry-After)
///
/// Never 401, 403, 404: Event Grid drops what is answered so, or leaves the endpoint alone for a while. (The gate
/// before it answers them to who can never succeed: key_gate.h.)
///
/// Threads   any method, any thread.
/// Source    azure.md 2.3 and 2.4.
class EventIntake {
 public:
  using OnCounted = std::function<void(const IntakeCounts& more)>;

  /// All references outlive the intake; `on_counted` hears what each delivery adds, from the threads of post(). Links
  /// whose hub's events are acted on: config::Link::events.
  EventIntake(const config::Config& config,
              std::vector<std::pair<const config::Link*, const providers::ExternalRegistry*>> links,
              store::WorkflowStore& store, workflows::HintMemory& hints, Clock& clock, Rng& rng,
              OnCounted on_counted = {});

  http::ServerResponse post(const http::ServerRequest& request);
  http::ServerResponse options(const http::ServerRequest& request) const;
  IntakeCounts counts() const;

  /// Adds the routes: the sample's POST|OPTIONS /api/ExternalRegistrySynchronizer_EventGridListener.
  void add_routes(Router& router);

 private:
  struct Target {
    const config::Link* link;
    const providers::ExternalRegistry* external;
  };
  const std::vector<Target>* targets_of(std::string_view hub) const;
  void add_event(const azure::RegistryEvent& event, const std::vector<Target>& targets,
                 std::vector<store::NewWorkflow>& out);
  store::NewWorkflow unusable(const Target* target, std::string_view device, std::string_view id, std::string_view hash,
                              std::string reason) const;
  void count(const std::function<void(IntakeCounts&)>& change);
  void refuse(std::string_view hub);

  std::map<std::string, std::vector<Target>, std::less<>> by_hub_;  // names in lower case
  store::StartQueue queue_;
  workflows::HintMemory& hints_;
  Clock& clock_;
  Rng& rng_;
  const OnCounted on_counted_;
  mutable std::mutex mutex_;  // guards counts_
  IntakeCounts counts_;
};

}  // namespace twinstep::api
