#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "twinstep/api/api.h"
#include "twinstep/api/event_intake.h"
#include "twinstep/api/facade_routes.h"
#include "twinstep/app/figures.h"
#include "twinstep/app/notifier.h"
#include "twinstep/app/services.h"
#include "twinstep/engine/engine.h"
#include "twinstep/telemetry/telemetry.h"
#include "twinstep/workflows/scheduler.h"

namespace twinstep::app {

/// What works by one configuration over an open store: remotes, lanes, schedules, routes. A reload makes a new one.
///
/// Threads   handle() any; start() and stop() from one.
class Service {
 public:
  /// Opens every remote; contacts nothing and starts nothing. All references outlive the service.
  /// Errors  as open_link(): a configuration that passes here can be worked by.
  static Result<std::unique_ptr<Service>> open(std::shared_ptr<const config::Config> config, store::Database& database,
                                               const obs::Telemetry& telemetry, Clock& clock, Rng& rng,
                                               api::KeyDeps keys);
  ~Service();  ///< stop()

  /// Begins to work. Errors  those of the store.
  Status start(const Call& call);
  /// Ends what is at work at its next safe point.
  void stop();

  const api::Router& router() const { return router_; }
  const config::Config& config() const { return *config_; }
  std::vector<engine::LaneState> lanes() const { return engine_->lanes(); }
  Result<std::vector<store::Pause>> pauses(const Call& call) { return engine_->store().pauses(call); }
  api::IntakeCounts intake() const { return intake_->counts(); }
  const telemetry::Telemetry& sinks() const { return *sinks_; }

 private:
  class LogProgress;
  struct LinkWork;

  Service(std::shared_ptr<const config::Config> config, store::Database& database, const obs::Telemetry& telemetry,
          Clock& clock, Rng& rng);
  void add_lanes();
  Status take_along(const Call& call);
  void add_routes(api::KeyDeps keys);
  LinkWork* find(std::string_view link);
  Status open_telemetry(engine::EngineOptions& options);

  const std::shared_ptr<const config::Config> config_;
  store::Database& database_;
  const obs::Telemetry telemetry_;
  Clock& clock_;
  Rng& rng_;
  std::unique_ptr<Remotes> remotes_;
  store::StateFile state_;
  store::RunStore runs_;
  store::LinkLocks locks_;
  workflows::HintMemory hints_;
  std::unique_ptr<telemetry::Telemetry> sinks_;
  std::unique_ptr<EventMaker> events_;
  std::unique_ptr<http::Client> notice_client_;
  std::unique_ptr<Notifier> notifier_;
  std::list<LinkWork> links_;
  std::unique_ptr<Figures> figures_;  // before the engine, whose threads tell it what they do
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<workflows::Scheduler> scheduler_;
  std::unique_ptr<api::EventIntake> intake_;
  std::unique_ptr<api::Facade> facade_;
  std::stop_source stopping_;  // ends requests that wait
  api::Router router_;
};

}  // namespace twinstep::app
