#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "twinstep/api/event_intake.h"
#include "twinstep/app/link_figures.h"
#include "twinstep/engine/engine.h"
#include "twinstep/obs/metrics.h"

namespace twinstep::app {

/// Feeds the metrics of one service: counts what its engine and its intake tell, and reads from the store what is kept
/// there. The latter by a thread of its own, so that a scrape never waits for the store: every 5 s, and so seldom that
/// counting takes at most a four hundredth of the time.
///
/// Threads  any method, any thread; start() and stop() from one.
class Figures {
 public:
  /// All references outlive it.
  Figures(const config::Config& config, store::Database& database, obs::Metrics& metrics, Clock& clock);
  ~Figures();  ///< stop()
  Figures(const Figures&) = delete;
  Figures& operator=(const Figures&) = delete;

  /// Puts its ears behind those that the options have already.
  void listen_to(engine::EngineOptions& options);
  void taken_in(const api::IntakeCounts& more);
  /// What a caller of the façade had done: a task that was written as ended.
  void done_by_facade(const store::NewWorkflow& task);

  /// The engine outlives what follows until stop().
  void start(const engine::Engine& engine);
  void stop();

  /// Reads everything from the store once. Errors  those of the store: then the figures stay as they are.
  Status read_store(const Call& call);

 private:
  void worked(const store::Workflow& claim, const store::Finish& finish, std::chrono::nanoseconds took);
  void recorded(const store::Workflow& claim, const store::Finish& finish, store::State state);
  void rested(const engine::LaneRest& rest);
  void watch(std::stop_token stop);
  Status read_backlog(const Call& call);
  Status read_links(const Call& call);

  const config::Config& config_;
  store::Database& database_;
  obs::Metrics& metrics_;
  Clock& clock_;
  store::WorkflowStore store_;
  store::StateFile state_;
  LinkReader links_;

  // Of whoever reads the store.
  std::vector<obs::LaneBacklog> backlog_;
  std::vector<obs::LinkFigures> read_;
  SteadyTime count_again_{};

  std::mutex mutex_;  // guards the two below
  std::condition_variable_any changed_;
  bool run_ended_ = false;
  std::vector<std::pair<std::string, store::WorkflowId>>
      ended_;  // runs of this process by link, changes not counted yet
  std::jthread thread_;
};

}  // namespace twinstep::app
