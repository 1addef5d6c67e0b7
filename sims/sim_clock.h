#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "twinstep/base/clock.h"

namespace twinstep::sims {

/// A clock for rehearsals. The steady clock, which rates, queues, jobs and delays follow, runs `factor` times as fast
/// as the machine's; the system clock keeps real time, because clients put it into their tokens.
///
/// Threads   any method, any thread.
class SimClock final : public Clock {
 public:
  explicit SimClock(double factor);

  SystemTime system_now() const override;
  SteadyTime steady_now() const override;
  bool sleep_until(SteadyTime when, std::stop_token stop) override;

  /// Jumps both clocks ahead and wakes the sleepers.
  void advance(std::chrono::nanoseconds span);
  double factor() const { return factor_; }

 private:
  const double factor_;
  const SteadyTime start_;
  mutable std::mutex mutex_;  // guards ahead_
  std::chrono::nanoseconds ahead_{0};
  std::condition_variable_any advanced_;
};

}  // namespace twinstep::sims
