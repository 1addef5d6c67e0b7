#include "twinstep/base/token_bucket.h"

#include <algorithm>

namespace twinstep {

using Seconds = std::chrono::duration<double>;

TokenBucket::TokenBucket(double rate_per_second, double burst, Clock& clock)
    : full_rate_(rate_per_second),
      full_burst_(burst),
      clock_(clock),
      rate_(rate_per_second),
      burst_(burst),
      tokens_(burst),
      filled_at_(clock.steady_now()) {}

void TokenBucket::set_share(double share) {
  std::scoped_lock lock(mutex_);
  refill(clock_.steady_now());
  rate_ = full_rate_ * share;
  burst_ = std::max(std::min(1.0, full_burst_), full_burst_ * share);
  tokens_ = std::min(tokens_, burst_);
}

double TokenBucket::rate_per_second() const {
  std::scoped_lock lock(mutex_);
  return rate_;
}

void TokenBucket::refill(SteadyTime now) {
  if (now <= filled_at_) return;
  tokens_ = std::min(burst_, tokens_ + rate_ * Seconds(now - filled_at_).count());
  filled_at_ = now;
}

Status TokenBucket::acquire(double tokens, const Call& call) {
  SteadyTime ready;
  {
    std::scoped_lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    refill(now);
    const double missing = tokens - tokens_;
    ready = std::max(now, filled_at_);  // filled_at_ lies ahead while paused
    if (missing > 0) ready += std::chrono::duration_cast<SteadyTime::duration>(Seconds(missing / rate_));
    if (ready > call.deadline)
      return fail(ErrorKind::kTimeout, "budget.wait-too-long", "the rate budget leaves no room before the deadline");
    tokens_ -= tokens;
  }
  if (ready <= clock_.steady_now()) return {};
  if (clock_.sleep_until(ready, call.stop)) return {};
  std::scoped_lock lock(mutex_);
  tokens_ += tokens;
  return fail(ErrorKind::kCancelled, "cancelled", "stopped while waiting for the rate budget");
}

void TokenBucket::pause_until(SteadyTime when) {
  std::scoped_lock lock(mutex_);
  refill(clock_.steady_now());
  tokens_ = std::min(tokens_, 0.0);
  filled_at_ = std::max(filled_at_, when);
}

std::chrono::nanoseconds TokenBucket::wait_for(double tokens) const {
  std::scoped_lock lock(mutex_);
  const SteadyTime now = clock_.steady_now();
  const double have = std::min(burst_, tokens_ + rate_ * std::max(0.0, Seconds(now - filled_at_).count()));
  const auto paused = std::max(std::chrono::nanoseconds{0}, std::chrono::nanoseconds(filled_at_ - now));
  if (tokens <= have) return paused;
  return paused + std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds((tokens - have) / rate_));
}

}  // namespace twinstep
