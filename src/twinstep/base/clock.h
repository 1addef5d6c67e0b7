#pragma once

#include <chrono>
#include <stop_token>

namespace twinstep {

using SystemTime = std::chrono::sys_time<std::chrono::microseconds>;
using SteadyTime = std::chrono::steady_clock::time_point;

/// Time is passed in, so that tests need no sleeps.
///
/// Threads   any method, any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual SystemTime system_now() const = 0;
  virtual SteadyTime steady_now() const = 0;

  /// Blocks until `when` or until `stop` is requested. True when the time was reached.
  virtual bool sleep_until(SteadyTime when, std::stop_token stop) = 0;

  bool sleep_for(std::chrono::nanoseconds span, std::stop_token stop) {
    return sleep_until(steady_now() + std::chrono::duration_cast<SteadyTime::duration>(span), std::move(stop));
  }
};

/// The machine's clock.
Clock& real_clock();

/// Whether what is at work may still change things: a process that was paused goes on where it was, while another one
/// has taken its work over.
///
/// Threads   any. Blocking  no.
class WriteGuard {
 public:
  virtual ~WriteGuard() = default;
  /// False once another process may be at work on the same things.
  virtual bool holds() const = 0;
};

/// Where an operation must end: deadline and stop token. Passed down unchanged, or made shorter with `sooner`.
struct Call {
  SteadyTime deadline = SteadyTime::max();
  std::stop_token stop;
  /// Asked right before something remote is changed, after every wait; null = nobody else can be at work. Outlives the
  /// call.
  const WriteGuard* guard = nullptr;

  Call sooner(SteadyTime limit) const { return {limit < deadline ? limit : deadline, stop, guard}; }
};

}  // namespace twinstep
