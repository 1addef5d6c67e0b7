#pragma once

#include <list>
#include <mutex>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace twinstep {

/// Who gets tokens before whom.
enum class Turn {
  kInOrder,  ///< after everybody who came before, and leaving the reserve
  kFirst,    ///< before everybody that waits in order; may take the reserve
};

/// A rate limit: `rate_per_second` tokens, at most `burst` saved up. Callers of one turn are served in order of
/// arrival: a caller takes its place at once and then waits until its tokens exist, so none of them starves. Those that
/// go first push the others back, for as long as they use the whole rate.
///
/// Threads   any method, any thread.
class TokenBucket {
 public:
  TokenBucket(double rate_per_second, double burst, Clock& clock);

  /// Takes `tokens` (may exceed burst), waiting until they are there.
  /// Errors  kTimeout when the wait would pass call.deadline (nothing is taken then), kCancelled.
  Status acquire(double tokens, const Call& call, Turn turn = Turn::kInOrder);

  /// From now on `share` (0 to 1) of rate and burst: others spend the rest. What was saved up above it is given up.
  void set_share(double share);

  /// From now on those that wait in order leave `share` (0 to 1) of the burst to those that go first.
  void set_reserve(double share);

  /// Nobody gets a token before `when`: the remote said that it is too busy. What was saved up is given up.
  void pause_until(SteadyTime when);

  /// How long a caller who asks for `tokens` now would wait.
  std::chrono::nanoseconds wait_for(double tokens, Turn turn = Turn::kInOrder) const;

  double rate_per_second() const;  ///< of our share
  double burst() const;            ///< of our share: what can be had at once after a rest

 private:
  struct Waiter {
    double tokens;
    Turn turn;
  };
  using Place = std::list<Waiter>::iterator;
  void refill(SteadyTime now);
  double waiting_in_order() const;
  SteadyTime ready_at(Place place, SteadyTime now) const;
  void give_back(Place place);

  const double full_rate_;
  const double full_burst_;
  Clock& clock_;
  mutable std::mutex mutex_;  // guards all below
  double rate_;
  double burst_;
  double reserve_ = 0;  // share of the burst
  double tokens_;       // after all of waiting_ got theirs; negative: owed to them
  SteadyTime filled_at_;
  std::list<Waiter> waiting_;  // those that go first stand first
};

}  // namespace twinstep
