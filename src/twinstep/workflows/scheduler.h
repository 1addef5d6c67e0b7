#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "twinstep/base/rng.h"
#include "twinstep/config/config.h"
#include "twinstep/cron/cron.h"
#include "twinstep/store/workflow_store.h"

namespace twinstep::workflows {

/// The schedules of the configured links, by the system's clock in each link's zone.
///
/// A time fires once, however many replicas look; times that passed while nobody looked fire once together. A clock
/// that is set back fires nothing again: it is quiet until the next firing that was planned, or, when the clock had
/// been ahead by more than two hours, until the next one that the right clock knows.
///
/// Threads  one at a time.
class Schedules {
 public:
  /// Links without a schedule are left out, and forgotten by the store.
  Schedules(const std::vector<config::Link>& links, store::WorkflowStore& store, Clock& clock, Rng& rng);

  /// Starts what is due. Gives how long nothing will be, at most `kSlice`, so that a jump of the clock is noticed.
  /// Errors  those of the store; links that it concerns are looked at again the next time.
  Result<Millis> look(const Call& call);
  static constexpr Millis kSlice{30'000};

 private:
  struct Entry {
    config::Link link;
    Cron cron;
    std::string text;  // expression and zone
  };
  Result<Millis> look_at(const Entry& entry, const Call& call);

  std::vector<Entry> entries_;
  store::WorkflowStore& store_;
  Clock& clock_;
  Rng& rng_;
  bool kept_ = false;  // the store knows which links there are
  bool doubt_ = true;  // a firing may have been planned by a clock that was ahead
  Millis apart_{0};    // system time less steady time at the last look
};

/// Looks at the schedules in a thread of its own. While the store is away it asks again with back-off.
///
/// Threads   start() and stop() from one thread.
/// Blocking  stop() until the thread has ended, which takes no longer than one call of the store.
class Scheduler {
 public:
  /// All references outlive the scheduler.
  Scheduler(store::WorkflowStore& store, Clock& clock, Rng& rng) : store_(store), clock_(clock), rng_(rng) {}
  ~Scheduler() { stop(); }
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// Again after stop(), with the links of a new configuration.
  void start(const std::vector<config::Link>& links);
  void stop();

 private:
  void work(Schedules schedules, std::stop_token stop);

  store::WorkflowStore& store_;
  Clock& clock_;
  Rng& rng_;
  std::jthread thread_;
};

}  // namespace twinstep::workflows
