#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace twinstep::workflows {

/// One mutex for each key, made when it is needed. Several keys are taken together or not at all, so that two callers
/// cannot wait for each other.
///
/// Threads   any method, any thread.
class KeyedLocks {
 public:
  /// Holds its keys until it goes.
  class Held {
   public:
    Held(KeyedLocks& locks, std::vector<std::string> keys) : locks_(&locks), keys_(std::move(keys)) {}
    Held(Held&& other) noexcept : locks_(std::exchange(other.locks_, nullptr)), keys_(std::move(other.keys_)) {}
    Held& operator=(Held&&) = delete;
    ~Held() {
      if (locks_) locks_->release(keys_);
    }

   private:
    KeyedLocks* locks_;
    std::vector<std::string> keys_;
  };

  /// Waits until nobody holds any of these keys. Errors  kUnavailable "facade.busy" when the call's deadline passes.
  Result<Held> take(std::vector<std::string> keys, const Call& call) {
    std::unique_lock lock(mutex_);
    const auto free = [&] {
      return std::none_of(keys.begin(), keys.end(), [&](const std::string& key) { return held_.contains(key); });
    };
    ++waiting_;
    const bool got = call.deadline == SteadyTime::max() ? (changed_.wait(lock, free), true)
                                                        : changed_.wait_until(lock, call.deadline, free);
    --waiting_;
    if (!got)
      return fail(ErrorKind::kUnavailable, "facade.busy",
                  "other calls for this device are still at work; nothing was done, ask again");
    held_.insert(keys.begin(), keys.end());
    return Held(*this, std::move(keys));
  }

 private:
  void release(const std::vector<std::string>& keys) {
    std::scoped_lock lock(mutex_);
    for (const std::string& key : keys) held_.erase(key);
    if (waiting_ > 0) changed_.notify_all();
  }

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::unordered_set<std::string> held_;
  int waiting_ = 0;
};

}  // namespace twinstep::workflows
