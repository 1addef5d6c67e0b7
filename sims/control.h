#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "sims/event_grid_sim.h"
#include "sims/iothub_sim.h"
#include "sims/sim_faults.h"
#include "sims/thingpark_sim.h"
#include "twinstep/http/server.h"

namespace twinstep::sims {

/// What a rehearsal may look at and change while it runs: both registries, faults, counts, time.
///
///   GET /hub/devices[?keys=true]   the hub's devices and modules as export lines
///   PUT | POST /hub/devices        replaces | adds to them, from such lines; at once in queries, no quota, no
///   throttle;
///                                  events of what came and went only with ?events=true
///   GET | PUT | POST /thingpark/devices   the same for ThingPark
///   PUT /storage/identities        a JSON array of the hub's identities that may use the storage from now on: "system"
///                                  or resource ids of user-assigned ones
///   /subscriptions...              Event Grid, see EventGridSim
///   GET /stats, GET | DELETE /requests, POST | DELETE /faults, POST /advance {"seconds":N}
///
/// Threads   any method, any thread.
/// Errors    400 with {"error":...} naming the line; then nothing was changed.
class Control {
 public:
  using Grant = std::function<void(const std::vector<std::string>& identities)>;
  Control(IotHubSim& hub, ThingParkSim& thingpark, EventGridSim& events, FaultBox& faults,
          std::function<void(std::chrono::nanoseconds)> advance, Grant grant);
  http::ServerResponse handle(const http::ServerRequest& request);

 private:
  IotHubSim& hub_;
  ThingParkSim& thingpark_;
  EventGridSim& events_;
  FaultBox& faults_;
  std::function<void(std::chrono::nanoseconds)> advance_;
  Grant grant_;
};

}  // namespace twinstep::sims
