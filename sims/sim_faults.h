#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "twinstep/base/rng.h"
#include "twinstep/http/server.h"
#include "twinstep/json/json.h"

namespace twinstep::sims {

/// What goes wrong with one job.
struct JobFault {
  bool fail = false;
  int64_t break_line = 0;  ///< 0 = none
  bool with_id = false;
};

/// Misbehaviour on command, in front of any simulator, and a count of what was asked.
///
/// A fault is a JSON object: `server` (hub, blob, thingpark or *), `method`, `path` (part of path and query), `skip`
/// (calls let through first), `times` (then so many are hit, -1 = for ever), `probability`, and one effect: `status`
/// with `body` and `retryAfter`; `delayMs`; `cutAfter` bytes; `drop` (not executed); `lost` (executed, answer lost);
/// `page` with `repeat`, `missing`, `end` (empty list) or `notFound` at page number `at` of a numbered list;
/// `shift` (a device of page 1 vanishes after page 1 was served). Two effects are not on a call but on what a job does
/// after it was accepted: `failJob` with `export` or `import` (it ends as failed), `breakLine` with a line number of an
/// export's blob (that line is cut off; its id stays when `withId`).
///
/// Threads   any method, any thread.
class FaultBox {
 public:
  explicit FaultBox(uint64_t seed) : rng_(seed) {}
  Status add(const json::object& fault);
  void clear();
  /// Runs `handler` for `request` with whatever faults apply.
  http::ServerResponse serve(std::string_view server, const http::ServerRequest& request, const http::Handler& handler);
  /// What goes wrong with the job that starts now; `type` is export or import.
  JobFault job_fault(std::string_view type);
  /// Called by `shift`.
  std::function<void()> on_shift;
  json::object counts() const;    ///< calls by server, method and status: {"hub GET 200":3}
  json::object requests() const;  ///< calls by server, route and status: {"hub":{"GET /devices/{id}":{"200":3}}}
  void reset_requests();          ///< both counts start again

 private:
  struct Fault {
    json::object what;
    std::string server, method, path;
    int64_t skip = 0, times = 1;
    double probability = 1;
  };
  /// Counts the fault's `skip` and `times` down. True = it hits this time.
  bool hits(Fault& fault);

  Rng rng_;
  mutable std::mutex mutex_;  // guards all below
  std::vector<Fault> faults_;
  std::map<std::string, uint64_t> counts_;
  std::map<std::string, std::map<std::string, std::map<std::string, uint64_t>>> requests_;
};

}  // namespace twinstep::sims
