#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "twinstep/base/token_bucket.h"
#include "twinstep/http/server.h"
#include "twinstep/json/json.h"

namespace twinstep::sims {

struct ThingParkSimOptions {
  std::string client_id = "demo/client";
  std::string client_secret = "demo-secret";
  std::chrono::seconds token_lifetime{7 * 24 * 3600};
  bool end_is_404 = true;       ///< past the end: 404, else an empty array
  int duplicate_status = 409;   ///< for a create with a DevEUI that exists
  double rate_per_second = 0;   ///< 0 = no limit; more is answered 429
  bool show_keys = false;       ///< does extendedInfo give applicationKey back?
  std::chrono::seconds clock_skew{0};  ///< its clock is ahead by this
};

/// Actility ThingPark: DX Admin token and DX-Core devices.
///
/// Threads   any method, any thread.
/// Source    external-systems.md 1.2 and 1.3.
class ThingParkSim {
 public:
  ThingParkSim(ThingParkSimOptions options, Clock& clock);
  http::ServerResponse handle(const http::ServerRequest& request);

  /// Members as in a create. Errors  the text of the refusal.
  Result<std::string> add(json::object device);
  /// Removes the first listed device, so that every later page shifts by one.
  void remove_first();
  size_t device_count() const;
  std::string dump() const;  ///< NDJSON, keys included
  /// Replaces the registry, or adds to it: one device a line, with any members, so that odd data can be rehearsed; `ref`
  /// is made when absent. Gives the lines taken. Errors  kInvalid naming the line; then nothing was changed.
  Result<size_t> load(std::string_view ndjson, bool replace);

 private:
  struct Token {
    SystemTime expires;
  };
  http::ServerResponse route(const http::ServerRequest& r);
  http::ServerResponse token_call(const http::ServerRequest& r);
  http::ServerResponse list(const http::ServerRequest& r);
  http::ServerResponse create(const http::ServerRequest& r);
  http::ServerResponse refuse(int status, std::string_view message) const;
  Result<std::string> add_locked(json::object device);

  const ThingParkSimOptions options_;
  Clock& clock_;
  mutable std::mutex mutex_;               // guards all below
  std::map<uint64_t, std::string> devices_;  // by ref, JSON text
  std::map<std::string, uint64_t> by_eui_;
  std::map<std::string, Token> tokens_;
  std::string current_token_;
  uint64_t next_ref_ = 100001;
  double budget_ = 0;
  SteadyTime filled_;
};

}  // namespace twinstep::sims
