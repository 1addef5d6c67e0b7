#include "sims/sim_clock.h"

namespace twinstep::sims {

SimClock::SimClock(double factor) : factor_(factor > 0 ? factor : 1.0), start_(real_clock().steady_now()) {}

SystemTime SimClock::system_now() const {
  std::scoped_lock lock(mutex_);
  return real_clock().system_now() + std::chrono::duration_cast<std::chrono::microseconds>(ahead_);
}

SteadyTime SimClock::steady_now() const {
  const auto real = std::chrono::duration<double, std::nano>(real_clock().steady_now() - start_);
  std::scoped_lock lock(mutex_);
  return start_ + std::chrono::duration_cast<SteadyTime::duration>(real * factor_) + ahead_;
}

bool SimClock::sleep_until(SteadyTime when, std::stop_token stop) {
  while (!stop.stop_requested()) {
    const auto left = std::chrono::duration<double, std::nano>(when - steady_now());
    if (left.count() <= 0) return true;
    const auto real = std::chrono::duration_cast<std::chrono::nanoseconds>(left / factor_);
    std::unique_lock lock(mutex_);
    const auto before = ahead_;
    advanced_.wait_for(lock, stop, real, [&] { return ahead_ != before; });
  }
  return false;
}

void SimClock::advance(std::chrono::nanoseconds span) {
  {
    std::scoped_lock lock(mutex_);
    ahead_ += span;
  }
  advanced_.notify_all();
}

}  // namespace twinstep::sims
