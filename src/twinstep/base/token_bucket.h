#pragma once

#include <mutex>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace twinstep {

/// A rate limit: `rate_per_second` tokens, at most `burst` saved up. Callers are served in order of arrival: a
/// caller reserves its tokens at once and then waits until they exist, so nobody starves.
///
/// Threads   any method, any thread.
class TokenBucket {
 public:
  TokenBucket(double rate_per_second, double burst, Clock& clock);

  /// Takes `tokens` (may exceed burst), waiting until they are there.
  /// Errors  kTimeout when the wait would pass call.deadline (nothing is taken then), kCancelled.
  Status acquire(double tokens, const Call& call);

  /// From now on `share` (0 to 1) of rate and burst: others spend the rest. What was saved up above it is given up.
  void set_share(double share);

  /// Nobody gets a token before `when`: the remote said that it is too busy.
  void pause_until(SteadyTime when);

  /// How long a caller who asks for `tokens` now would wait.
  std::chrono::nanoseconds wait_for(double tokens) const;

  double rate_per_second() const;  ///< of our share

 private:
  void refill(SteadyTime now);

  const double full_rate_;
  const double full_burst_;
  Clock& clock_;
  mutable std::mutex mutex_;  // guards all below
  double rate_;
  double burst_;
  double tokens_;  // negative: owed to callers that wait
  SteadyTime filled_at_;
};

}  // namespace twinstep
