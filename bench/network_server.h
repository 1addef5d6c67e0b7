#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "twinstep/http/server.h"

namespace twinstep::bench {

/// A network server as twinstep's ThingPark definition speaks to it, in this process, so that it knows to the
/// microsecond when a create arrives. It takes as much at once as comes and answers every create after `delay`.
///
/// Threads  any method, any thread.
class NetworkServer {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Errors  those of http::Server.
  static Result<std::unique_ptr<NetworkServer>> start(std::chrono::milliseconds delay);
  uint16_t port() const { return server_->port(); }
  std::chrono::milliseconds delay() const { return delay_; }

  /// When the first create of a device arrived.
  std::optional<Time> created(const std::string& device) const;
  bool wait_until_created(const std::string& device, std::chrono::milliseconds patience);
  size_t devices() const;
  /// Creates of devices that were there already.
  uint64_t repeated() const;
  bool wait_until_devices(size_t count, std::chrono::milliseconds patience);
  void forget();

 private:
  explicit NetworkServer(std::chrono::milliseconds delay) : delay_(delay) {}
  http::ServerResponse answer(const http::ServerRequest& request);

  const std::chrono::milliseconds delay_;
  mutable std::mutex mutex_;  // guards the two below
  std::condition_variable changed_;
  std::map<std::string, Time> created_;
  uint64_t repeated_ = 0;
  std::unique_ptr<http::Server> server_;  // last: its handler uses all above
};

}  // namespace twinstep::bench
