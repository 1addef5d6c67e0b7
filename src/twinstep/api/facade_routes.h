#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "twinstep/api/idempotency.h"
#include "twinstep/api/router.h"
#include "twinstep/config/config.h"
#include "twinstep/workflows/facade_device.h"

namespace twinstep::api {

/// What the façade's routes need. All references outlive them.
struct FacadeDeps {
  const config::Config& config;
  store::Database& database;
  store::WorkflowStore& store;
  Clock& clock;
  Rng& rng;
  std::function<workflows::FacadeTarget(const config::Link&)> open;  ///< for a link of the configuration
  std::stop_token stop{};                                            ///< fires when the daemon stops
  workflows::FacadeDevices::OnRecorded recorded{};                   ///< hears of what was done
  int most_at_work = 64;  ///< calls that may wait for a hub at once; the others are 503 "facade.busy"
};

/// The façade: POST, DELETE and GET of /api/devices/{device} and /api/devices/{hub}/{device}, and
/// POST /api/v1/devices/{hub}:batch (docs/http-api.md). What a caller may not do is refused before anything is looked
/// at, so that nobody learns of a device that is not theirs.
///
/// Threads   add_routes() once; requests from any thread.
class Facade {
 public:
  explicit Facade(FacadeDeps deps)
      : deps_(std::move(deps)),
        devices_(deps_.store, deps_.clock, deps_.rng, deps_.recorded),
        repetitions_(deps_.database, deps_.clock, deps_.rng) {}

  void add_routes(Router& router);

 private:
  /// One request, once it is known what it asks.
  struct Ask {
    const http::ServerRequest& request;
    const Principal& who;
    const config::Hub* hub = nullptr;
    const config::Link* link = nullptr;
    DeviceId id{};
    workflows::FacadeCall call{};
  };
  using Act = Result<http::ServerResponse> (Facade::*)(Ask&);

  Status find_link(Ask& ask) const;
  http::ServerResponse answer(const http::ServerRequest& request, const RouteMatch& match, DeviceAction action,
                              Act act);
  Result<http::ServerResponse> create(Ask& ask);
  Result<http::ServerResponse> remove(Ask& ask);
  Result<http::ServerResponse> read(Ask& ask);
  http::ServerResponse batch(const http::ServerRequest& request, const RouteMatch& match);
  /// `work`, unless too many wait for a hub already: when it hangs they must not take all threads of the listener.
  http::ServerResponse in_turn(const std::function<http::ServerResponse()>& work);

  const FacadeDeps deps_;
  workflows::FacadeDevices devices_;
  Repetitions repetitions_;
  std::atomic<int> at_work_ = 0;
};

}  // namespace twinstep::api
