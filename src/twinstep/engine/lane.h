#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "twinstep/engine/claim_book.h"
#include "twinstep/engine/engine.h"

namespace twinstep::engine {

/// The threads of one lane: one claims what is due, as much as there are free hands for, the others work on it.
///
/// Threads  any method, any thread, but start() and stop() from one.
class Lane {
 public:
  /// All references outlive the lane.
  Lane(LaneOptions options, store::WorkflowStore& store, ClaimBook& claims, const EngineOptions& engine, Clock& clock,
       Rng& rng);
  ~Lane();  ///< stop()

  const std::string& name() const { return options_.name; }
  /// `resting`: the store knows it as paused from before.
  void start(bool resting);
  /// Claims no more. wait_until_idle() and stop() come after.
  void stop_claiming();
  /// Waits for what is worked on, then ends the threads.
  void stop();
  /// A hint that something may be due.
  void look_now();
  LaneState state() const;
  uint64_t attempts() const { return attempts_.load(); }

 private:
  struct Job {
    store::Claimed claim;
    std::stop_source stop;
    SteadyTime claimed;  ///< when the claim was asked for
  };
  void claim_loop(std::stop_token stop);
  void work_loop();
  void work_on(Job job);
  store::Finish attempt_of(Attempt& attempt);
  void record(const store::Workflow& claim, const store::Finish& finish);
  bool others_got_through(const store::WorkflowId& since) const;
  /// Who was refused, and when somebody got through.
  void remember(const store::WorkflowId& id, bool refused, bool good);
  void settle_rest(const std::optional<Attempt::Rest>& rest, SteadyTime claimed, bool good);

  const LaneOptions options_;
  store::WorkflowStore& store_;
  ClaimBook& claims_;
  const EngineOptions& engine_;
  Clock& clock_;
  Rng& rng_;
  std::atomic<uint64_t> attempts_{0};

  mutable std::mutex mutex_;  // guards all below but the threads
  std::condition_variable_any changed_;
  std::deque<Job> queue_;
  int free_ = 0;              // workers without work, minus what is queued for them
  bool hinted_ = true;        // look at once
  bool closed_ = false;       // no more work comes
  int rests_ = 0;             // in a row; while not 0, one workflow at a time finds out whether all may go on
  bool alarmed_ = false;      // a person was told since it last worked
  SteadyTime rested_{};       // when the last one began
  SteadyTime got_through_{};  // when somebody did last
  std::map<store::WorkflowId, SteadyTime> refused_;
  std::string trouble_;
  std::jthread claimer_;
  std::vector<std::jthread> workers_;
};

}  // namespace twinstep::engine
