#pragma once

#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "twinstep/config/config.h"
#include "twinstep/engine/engine.h"
#include "twinstep/obs/event.h"

namespace twinstep::app {

/// Turns what the engine recorded into events (docs/events.md). What a run does to single devices and jobs it tells the
/// sink itself, as it happens.
///
/// Threads  any method, any thread.
class EventMaker {
 public:
  /// All references outlive this.
  EventMaker(const config::Config& config, obs::EventSink& sink, Clock& clock)
      : config_(config), sink_(sink), clock_(clock) {}

  /// A claim begins: RunStarted at the first one of a run.
  void begun(const store::Workflow& claim);
  void recorded(const store::Workflow& claim, const store::Finish& finish, store::State state);
  /// What a caller of the façade had done: a task that was written as ended.
  void done_by_facade(const store::NewWorkflow& task);
  void rested(const engine::LaneRest& rest);
  /// A person decided about a run that is not at work: "RunApproved", "RunRejected", "RunCancelled".
  void answered(std::string_view event, const store::Workflow& run, std::string_view by);
  void unknown_hub(std::string_view hub, uint64_t events);
  void backlog(std::string_view lane, int64_t tasks, Millis oldest);

 private:
  obs::Event about(std::string_view name, const store::Workflow& workflow) const;
  void run_recorded(const store::Workflow& claim, const store::Finish& finish, store::State state);

  const config::Config& config_;
  obs::EventSink& sink_;
  Clock& clock_;
  std::mutex mutex_;                   // guards throttled_
  std::set<std::string> throttled_{};  // lanes that rest without an alarm
};

}  // namespace twinstep::app
