#include "twinstep/base/token_bucket.h"

#include <algorithm>
#include <numeric>

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

void TokenBucket::set_reserve(double share) {
  std::scoped_lock lock(mutex_);
  reserve_ = share;
}

double TokenBucket::rate_per_second() const {
  std::scoped_lock lock(mutex_);
  return rate_;
}

double TokenBucket::burst() const {
  std::scoped_lock lock(mutex_);
  return burst_;
}

void TokenBucket::refill(SteadyTime now) {
  if (now <= filled_at_) return;
  tokens_ = std::min(burst_, tokens_ + rate_ * Seconds(now - filled_at_).count());
  filled_at_ = now;
}

double TokenBucket::waiting_in_order() const {
  return std::accumulate(waiting_.begin(), waiting_.end(), 0.0, [](double sum, const Waiter& one) {
    return one.turn == Turn::kInOrder ? sum + one.tokens : sum;
  });
}

SteadyTime TokenBucket::ready_at(Place place, SteadyTime now) const {
  // What those behind this one have been promised is not theirs yet.
  double have = tokens_;
  for (auto behind = std::next(place); behind != waiting_.end(); ++behind) have += behind->tokens;
  const double missing = (place->turn == Turn::kInOrder ? reserve_ * burst_ : 0.0) - have;
  SteadyTime ready = std::max(now, filled_at_);  // filled_at_ lies ahead while paused
  if (missing > 0) ready += std::chrono::duration_cast<SteadyTime::duration>(Seconds(missing / rate_));
  return ready;
}

void TokenBucket::give_back(Place place) {
  tokens_ += place->tokens;
  waiting_.erase(place);
}

Status TokenBucket::acquire(double tokens, const Call& call, Turn turn) {
  std::unique_lock lock(mutex_);
  SteadyTime now = clock_.steady_now();
  refill(now);
  const auto before =
      turn == Turn::kInOrder ? waiting_.end() : std::find_if(waiting_.begin(), waiting_.end(), [](const Waiter& one) {
        return one.turn == Turn::kInOrder;
      });
  const Place place = waiting_.insert(before, {tokens, turn});
  tokens_ -= tokens;
  // Again after each wait: others may have gone first meanwhile.
  for (;;) {
    const SteadyTime ready = ready_at(place, now);
    if (ready > call.deadline) {
      give_back(place);
      return fail(ErrorKind::kTimeout, "budget.wait-too-long", "the rate budget leaves no room before the deadline");
    }
    if (ready <= now) {
      waiting_.erase(place);
      return {};
    }
    lock.unlock();
    const bool slept = clock_.sleep_until(ready, call.stop);
    lock.lock();
    if (!slept) {
      give_back(place);
      return fail(ErrorKind::kCancelled, "cancelled", "stopped while waiting for the rate budget");
    }
    now = clock_.steady_now();
    refill(now);
  }
}

void TokenBucket::pause_until(SteadyTime when) {
  std::scoped_lock lock(mutex_);
  refill(clock_.steady_now());
  const double owed = std::accumulate(waiting_.begin(), waiting_.end(), 0.0,
                                      [](double sum, const Waiter& one) { return sum + one.tokens; });
  tokens_ = std::min(tokens_, -owed);
  filled_at_ = std::max(filled_at_, when);
}

std::chrono::nanoseconds TokenBucket::wait_for(double tokens, Turn turn) const {
  std::scoped_lock lock(mutex_);
  const SteadyTime now = clock_.steady_now();
  double have = std::min(burst_, tokens_ + rate_ * std::max(0.0, Seconds(now - filled_at_).count()));
  if (turn == Turn::kFirst) have += waiting_in_order();
  if (turn == Turn::kInOrder) have -= reserve_ * burst_;
  const auto paused = std::max(std::chrono::nanoseconds{0}, std::chrono::nanoseconds(filled_at_ - now));
  if (tokens <= have) return paused;
  return paused + std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds((tokens - have) / rate_));
}

}  // namespace twinstep
