#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "twinstep/api/device_sides.h"
#include "twinstep/api/router.h"
#include "twinstep/base/rng.h"
#include "twinstep/config/config.h"
#include "twinstep/security/key_store.h"
#include "twinstep/store/run_store.h"

/// What people and programs ask the daemon by HTTP: docs/http-api.md.
namespace twinstep::api {

/// What the routes read of store::RunStore; stored_runs() gives the real one.
struct RunReader {
  std::function<Status(const store::WorkflowId&, const store::RunStore::TextSink&, const Call&)> read_plan;
  std::function<Result<std::vector<store::DeviceOutcome>>(const store::WorkflowId&, std::string_view outcome,
                                                          const DeviceId& after, int limit, const Call&)>
      outcomes;
  std::function<Result<std::vector<store::RunStore::Mention>>(const DeviceId&, int limit, const Call&)> mentions;
};
RunReader stored_runs(store::RunStore& runs);

/// The keys that callers show.
struct KeyDeps {
  security::KeyStore* store = nullptr;  ///< null: there are no routes for keys
  std::function<void()> changed{};      ///< after one was made, revoked or rotated: it is in force here at once
  /// The `code` of an instance's address for this caller; empty when none is needed.
  std::function<std::string(const Principal&, std::string_view instance, bool operate)> address_key{};
};

/// Everything that the routes need. All references outlive the router; a router belongs to one configuration, so a
/// reload makes another one.
struct ApiDeps {
  const config::Config& config;
  store::WorkflowStore& store;
  RunReader runs;
  Clock& clock;
  Rng& rng;
  /// Both sides of one device of a link, for `explain`: look_at_device() with the link's clients. `remembered` are the
  /// tags of the ledger, for a device that the hub has no more.
  std::function<DeviceSides(const config::Link&, const DeviceId&, const json::object& remembered, const Call&)> look;
  std::stop_token stop{};   ///< fires when the daemon stops
  Millis patience{20'000};  ///< for one request
  KeyDeps keys{};
  /// Told when a person has decided about a run that is not at work: "RunApproved", "RunRejected", "RunCancelled".
  std::function<void(std::string_view event, const store::Workflow& run, std::string_view by)> answered{};

  Call call() const { return {clock.steady_now() + patience, stop}; }
};

/// Adds all of /api/v1/ (keys when deps.keys.store is there), its description at /openapi.json and
/// /api/v1/openapi.json, and what the sample's scripts call: /api/IoTHubSynchronizer_HttpListener and
/// /runtime/webhooks/durabletask/instances. The health routes and the webhook are not among them.
void add_api_routes(Router& router, const ApiDeps& deps);

}  // namespace twinstep::api
