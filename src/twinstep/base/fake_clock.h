#pragma once

#include <mutex>
#include <vector>

#include "twinstep/base/clock.h"

namespace twinstep {

/// A clock for tests: time moves only by advance() or by somebody sleeping, which returns at once.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(SystemTime start = SystemTime{std::chrono::seconds{1'700'000'000}}) : system_(start) {}

  SystemTime system_now() const override {
    std::scoped_lock lock(mutex_);
    return system_;
  }
  SteadyTime steady_now() const override {
    std::scoped_lock lock(mutex_);
    return steady_;
  }
  bool sleep_until(SteadyTime when, std::stop_token stop) override {
    if (stop.stop_requested()) return false;
    std::scoped_lock lock(mutex_);
    if (when > steady_) {
      sleeps_.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(when - steady_));
      system_ += std::chrono::duration_cast<std::chrono::microseconds>(when - steady_);
      steady_ = when;
    }
    return true;
  }

  void advance(std::chrono::nanoseconds span) {
    std::scoped_lock lock(mutex_);
    steady_ += std::chrono::duration_cast<SteadyTime::duration>(span);
    system_ += std::chrono::duration_cast<std::chrono::microseconds>(span);
  }

  /// Every wait so far, in order.
  std::vector<std::chrono::milliseconds> sleeps() const {
    std::scoped_lock lock(mutex_);
    return sleeps_;
  }

 private:
  mutable std::mutex mutex_;  // guards all below
  SystemTime system_;
  SteadyTime steady_{std::chrono::hours{1000}};
  std::vector<std::chrono::milliseconds> sleeps_;
};

}  // namespace twinstep
