#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/error.h"
#include "twinstep/obs/metric_table.h"

namespace twinstep::obs {

/// What became of a call to a remote: "ok", "not-found", "conflict", "throttled", "denied", "refused" (another 4xx),
/// "server-error", "redirect" by the status, else "timeout", "unavailable", "cancelled", "broken".
std::string_view outcome_of_status(int status);
std::string_view outcome_of_error(ErrorKind kind);

/// What the store says of one link, the same on every replica.
struct LinkFigures {
  std::string link;
  std::optional<SystemTime> in_step, last_good_run, last_run;
  std::string last_outcome;
  std::optional<uint64_t> owned, orphans;
  uint64_t blocked = 0;
  std::map<std::pair<std::string, std::string>, uint64_t> last_changes;  ///< by kind and result
};

/// What the store says of one lane.
struct LaneBacklog {
  std::string lane;
  std::map<std::string, int64_t> by_state;
  Millis overdue{0};
  bool resting = false;
};

struct StoreFigures {
  std::vector<LinkFigures> links;
  std::vector<LaneBacklog> lanes;
  SteadyTime at{};  ///< when they were read
};

/// How the lanes of this process stand.
struct LaneFigures {
  std::string lane;
  int threads = 0, busy = 0;
  bool blind = false;
};

/// Numbers of one process, as Prometheus reads them. Values of labels beyond the first 500 of a metric count as
/// "other", so that nothing outside can make it grow.
///
/// Threads   any method, any thread.
class Metrics {
 public:
  /// `clock` outlives the metrics.
  Metrics(std::string_view version, Clock& clock);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  using Span = std::chrono::nanoseconds;
  void http_answered(std::string_view method, std::string_view route, int status, Span took);
  void deliveries(uint64_t count);
  void events(std::string_view outcome, uint64_t count);
  void remote_called(std::string_view remote, std::string_view operation, std::string_view outcome, Span took);
  void budget_taken(std::string_view hub, std::string_view operation, double tokens, Span waited);
  void budget_exhausted(std::string_view hub, std::string_view operation);
  void hub_throttled(std::string_view hub, std::string_view operation);
  void store_called(std::string_view operation, Span took);
  void store_failed(std::string_view operation, ErrorKind kind);
  void attempt_ended(std::string_view lane, std::string_view outcome, Span took);
  // A count of 0 makes the series, so that its first rise is one for increase() too.
  void task_ended(std::string_view link, std::string_view outcome, uint64_t count = 1);
  void run_ended(std::string_view link, std::string_view outcome, uint64_t count = 1);
  void run_worked(std::string_view link, Span took);
  void changed(std::string_view link, std::string_view kind, std::string_view result, uint64_t count);
  void guard_tripped(std::string_view link, std::string_view rule);
  void spans(std::string_view outcome, uint64_t count);

  // What is so until it is said otherwise.
  void store_up(bool up);
  void replicas(int count);
  void certificate_ends(SystemTime when);
  void lane_alarm(std::string_view lane, bool alarm);
  void store_figures(StoreFigures figures);
  /// Asked at every text(), from its thread; must not block. Empty = no lanes.
  void lanes_from(std::function<std::vector<LaneFigures>()> source);
  /// Forgets all that the configuration before said of its lanes and links, but no counter.
  void forget_service();

  /// The text format 0.0.4, every family with its head also while it has no value.
  std::string text() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Numbers of a process as the operating system tells them; what it does not tell is empty.
struct ProcessFigures {
  std::optional<double> resident_bytes, virtual_bytes, cpu_seconds, open_fds, most_fds, start_time;
};
ProcessFigures process_figures();

}  // namespace twinstep::obs
