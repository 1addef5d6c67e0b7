#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "twinstep/azure/iothub_limits.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/token_bucket.h"

namespace twinstep::azure {

/// Whose call it is.
enum class Priority {
  kBackground,   ///< of a run or a task: waits as long as its call may
  kInteractive,  ///< somebody waits for the answer: goes before all background calls, and hears at once when it must
                 ///< wait
};

/// The rate limits of one hub, shared by everything that talks to it: runs, device tasks and the façade.
///
/// Spends 99 % of the documented quota, so that a hub that counts exactly never refuses a steady stream; half a
/// window's worth may be saved up while idle.
///
/// Threads   any method, any thread.
class HubBudget {
 public:
  /// Hears what the budget is asked for, from the threads that ask; must not block.
  struct Meter {
    std::function<void(HubOperation operation, double count, std::chrono::nanoseconds waited)> taken;
    std::function<void(HubOperation operation)> exhausted;  ///< the wait would have been too long
    std::function<void(HubOperation operation)> throttled;  ///< the hub answered 429
  };

  /// `time_factor` is that of a simulated hub, on which minutes pass in seconds: rates and the pauses after a refusal
  /// run so many times as fast. A real hub has 1.
  HubBudget(HubTier tier, int units, Clock& clock, Rng& rng, double time_factor = 1);

  /// Takes `count` operations, waiting until the hub allows them; for an interactive call not longer than
  /// kInteractivePatience.
  /// Errors  kThrottled "hub.budget" with retry_after when the wait would pass call.deadline or that patience (nothing
  ///         was taken and nothing sent), kCancelled.
  Status acquire(HubOperation operation, double count, const Call& call, Priority priority = Priority::kBackground);
  static constexpr Millis kInteractivePatience{1'000};

  /// From now on background calls leave a tenth of what may be saved up to interactive ones, so that these find
  /// something also while a run spends the whole rate.
  void keep_reserve();

  /// How many operations an interactive caller gets at once after a rest; at least 1. Asking for more than that can
  /// never succeed within its patience.
  size_t most_at_once(HubOperation operation) const;

  /// The hub answered 429 to a request sent at `sent`: nobody sends this kind of operation for the time that is
  /// returned. `told` is the answer's Retry-After; without one the pause is 10 s plus jitter and doubles to 60 s while
  /// refusals go on. Refusals of requests that were under way together count as one.
  Millis throttled(HubOperation operation, std::optional<Millis> told, SteadyTime sent);

  /// The hub accepted a request sent at `sent`: the next refusal starts at the shortest pause again.
  void succeeded(HubOperation operation, SteadyTime sent);

  /// How long `count` operations that begin now take until the last may be sent.
  std::chrono::nanoseconds estimate(HubOperation operation, double count) const;

  /// Other processes spend the rest of the quota: `share` is 0 to 1.
  void set_share(double share);

  /// Before anything is taken; all three must be set.
  void set_meter(Meter meter) { meter_ = std::move(meter); }

  HubTier tier() const { return tier_; }
  int units() const { return units_; }

 private:
  struct Lane {
    Lane(Quota quota, double time_factor, Clock& clock);
    TokenBucket bucket;
    std::mutex mutex;  // guards all below
    SteadyTime paused_until{};
    int refusals = 0;  // in a row
  };
  Status take(HubOperation operation, double count, const Call& given, Priority priority);
  Lane& lane(HubOperation operation) const { return *lanes_[static_cast<size_t>(operation)]; }

  const HubTier tier_;
  const int units_;
  const double time_factor_;
  Clock& clock_;
  Rng& rng_;
  std::optional<Meter> meter_;
  std::array<std::unique_ptr<Lane>, 5> lanes_;
};

}  // namespace twinstep::azure
