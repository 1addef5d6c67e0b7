#pragma once

#include <condition_variable>
#include <mutex>

#include "twinstep/base/clock.h"

namespace twinstep {

/// A clock for tests of several threads: time moves only by advance(), and whoever sleeps waits for that.
class HeldClock final : public Clock {
 public:
  SystemTime system_now() const override {
    std::scoped_lock lock(mutex_);
    return SystemTime{std::chrono::seconds{1'700'000'000}} +
           std::chrono::duration_cast<std::chrono::microseconds>(steady_ - start());
  }
  SteadyTime steady_now() const override {
    std::scoped_lock lock(mutex_);
    return steady_;
  }
  bool sleep_until(SteadyTime when, std::stop_token stop) override {
    const std::stop_callback wake(stop, [this] {
      std::scoped_lock lock(mutex_);
      changed_.notify_all();
    });
    std::unique_lock lock(mutex_);
    ++sleepers_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return steady_ >= when || stop.stop_requested(); });
    --sleepers_;
    changed_.notify_all();
    return steady_ >= when;
  }

  void advance(std::chrono::nanoseconds span) {
    std::scoped_lock lock(mutex_);
    steady_ += std::chrono::duration_cast<SteadyTime::duration>(span);
    changed_.notify_all();
  }
  /// Blocks until so many threads sleep.
  void wait_for_sleepers(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return sleepers_ == count; });
  }

 private:
  static SteadyTime start() { return SteadyTime{std::chrono::hours{1000}}; }
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  SteadyTime steady_ = start();
  int sleepers_ = 0;
};

}  // namespace twinstep
