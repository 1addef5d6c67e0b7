#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/azure/jwt.h"
#include "twinstep/base/clock.h"
#include "twinstep/http/client.h"

namespace twinstep::azure {

/// Where an issuer publishes its keys.
struct KeyAddress {
  std::string metadata;  ///< of the OpenID metadata, which names the key set
  std::string issuer;    ///< that the metadata must name
  std::string host;      ///< that the key set must be at; a port may follow
};

/// The issuer's public keys: kept for a day, fetched again for a key that is not among them, but by one caller at a
/// time and not before five minutes after the last time (half a minute, when that failed), so that tokens with invented
/// keys bring no load to the issuer nor to us. While they cannot be fetched the old ones go on being used, for a week.
///
/// Threads   any method, any thread.
class KeyRing {
 public:
  KeyRing(KeyAddress address, http::Client& client, Clock& clock);

  struct Found {
    JwtKey key;
    uint64_t edition;  ///< which fetch it came with
  };

  /// Blocking  while there are no keys at all, everybody waits for the one who fetches them. Later only the one.
  /// Errors    kDenied "token.unknown-key": fetched just now, and it is not there. kUnavailable "token.keys-away": it
  ///           cannot be had now; with retry_after. kCancelled, kTimeout.
  Result<Found> find(const std::string& id, const Call& call);

 private:
  struct Turn;

  std::optional<Found> known(const std::string& id) const;
  std::optional<Millis> must_rest(SteadyTime now) const;  ///< for how long nobody may fetch
  tl::unexpected<Error> away(std::optional<Millis> retry_after) const;
  Status wait(std::unique_lock<std::mutex>& lock, const Call& call);
  Result<std::vector<JwtKey>> fetch(const Call& call) const;
  Result<std::string> get(const std::string& url, const char* operation, const Call& call) const;
  void settle(Result<std::vector<JwtKey>> fetched);

  const KeyAddress address_;
  http::Client& client_;
  Clock& clock_;
  std::mutex mutex_;  // guards all below
  std::condition_variable_any fetched_;
  std::vector<JwtKey> keys_;
  SteadyTime fetched_at_{};
  uint64_t edition_ = 0;  // 0 = never fetched
  std::optional<SteadyTime> next_try_;
  std::string trouble_;  // of the last fetch; empty = it was good
  bool fetching_ = false;
};

}  // namespace twinstep::azure
