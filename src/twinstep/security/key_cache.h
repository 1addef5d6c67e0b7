#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "twinstep/base/token_bucket.h"
#include "twinstep/security/key_store.h"

namespace twinstep::security {

/// A key in memory, with what its requests have used up. The same for as long as the process lives.
struct KeyUse {
  std::string rate;                     ///< that the bucket is of
  std::atomic<int64_t> last{0};         ///< microseconds since 1970; 0 = not since the start
  std::mutex mutex;                     ///< guards the bucket from one look to the taking
  std::unique_ptr<TokenBucket> bucket;  ///< null without a rate

  /// Takes one request from the rate. Gives how long to wait before the next try when none is left; 0 = taken.
  std::chrono::nanoseconds take();
  /// What was taken stands for `more` others as well: nothing is left until the rate has given them.
  void charge(size_t more, SteadyTime now);
};
struct CachedKey {
  Key key;
  std::shared_ptr<KeyUse> use;
};
using CachedKeyPtr = std::shared_ptr<const CachedKey>;

/// What the text that a caller showed turned out to be.
struct Verdict {
  enum What {
    kGood,
    kUnknown,   ///< no key of ours
    kReplaced,  ///< the secret before a rotation, and its time is over
    kExpired,
    kRevoked,
    kNotKnowable,  ///< the store is away, or not opened yet: nobody can say now
  } what = kUnknown;
  CachedKeyPtr key{};   ///< except for kUnknown and kNotKnowable
  SystemTime since{};   ///< of kReplaced, kExpired, kRevoked
  bool certain = true;  ///< of kUnknown: false when another replica may have made it a moment ago
};

/// All keys in memory, so that a request costs no look into the store. They are read again every few seconds: a key
/// that another process revokes stops within kPoll and the time of a read, which is 5 s while the store answers. While
/// the store is away those that were read go on working.
///
/// Threads   any method, any thread, except watch(): once.
class KeyCache {
 public:
  static constexpr Millis kPoll{3'000};

  explicit KeyCache(Clock& clock) : clock_(clock) {}

  /// From now on the keys are those of this database, which outlives the cache's use of it. Before that nothing is
  /// known.
  void open(store::Database& database);
  /// Reads them now. Errors  those of the store; what was read before stays.
  Status refresh(const Call& call);
  /// Reads them every kPoll from now on, writes down which were used, and calls `after` each time.
  void watch(std::function<void()> after);
  void stop();  ///< ends watch(); safe to call twice

  /// Whose text this is. Takes as long for a key that does not exist as for one that does, up to the one look into the
  /// store a second that an unknown key may cause.
  Verdict look_up(std::string_view text);
  CachedKeyPtr by_id(std::string_view id) const;

  bool known() const;   ///< the store has been read at least once
  bool any() const;     ///< there is a key, or there was one: revoked ones count, so that revoking opens nothing
  bool usable() const;  ///< there is one that is neither revoked nor expired
  /// When the very first key was made; empty without any.
  std::optional<SystemTime> first_made() const;

 private:
  struct Snapshot {
    std::unordered_map<std::string, CachedKeyPtr> keys;
    std::optional<SystemTime> first_made;
  };
  std::shared_ptr<const Snapshot> snapshot() const;
  Status load(const Call& call);  // with load_mutex_
  /// Reads again when that may be done now. True when what is in memory is younger than `came`.
  bool renew(SteadyTime came, bool& readable);
  void write_uses(const Call& call);

  Clock& clock_;
  mutable std::mutex mutex_;  // guards the next two; held for copying a pointer only
  std::shared_ptr<const Snapshot> snapshot_;
  store::Database* database_ = nullptr;

  std::mutex load_mutex_;  // one read at a time; guards the next two
  SteadyTime tried_at_{};
  bool readable_ = false;  // the last read succeeded

  std::jthread watcher_;
};

}  // namespace twinstep::security
