#include "twinstep/obs/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/text_serializer.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <locale>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <unordered_map>

namespace twinstep::obs {
namespace {

constexpr size_t kMostChildren = 500;  // of one metric
constexpr std::string_view kOther = "other";

using Values = std::initializer_list<std::string_view>;

/// Finds a text without making one.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

prometheus::MetricType type_of(MetricKind kind) {
  return kind == MetricKind::kCounter ? prometheus::MetricType::Counter
         : kind == MetricKind::kGauge ? prometheus::MetricType::Gauge
                                      : prometheus::MetricType::Histogram;
}

/// The library's family with a quick way to its children.
template <class T>
class Children {
 public:
  explicit Children(const MetricRow& row)
      : row_(row), family_(std::string(row.name), std::string(row.help), prometheus::Labels{}) {}

  T& at(Values values) {
    // Label values joined, in a buffer that is kept: no memory is asked for on the way of a request.
    thread_local std::string key;
    key.clear();
    for (const std::string_view value : values) (key += value) += '\x1f';
    {
      std::shared_lock lock(mutex_);
      if (const auto found = known_.find(std::string_view(key)); found != known_.end()) return *found->second;
    }
    std::unique_lock lock(mutex_);
    if (known_.size() >= kMostChildren && !known_.contains(key)) return add_other();
    T*& child = known_[key];
    if (!child) {
      prometheus::Labels labels;
      auto value = values.begin();
      for (const std::string_view name : row_.labels) labels[std::string(name)] = std::string(*value++);
      child = &add(labels);
    }
    return *child;
  }

  std::vector<prometheus::MetricFamily> collect() const { return family_.Collect(); }

 private:
  T& add(const prometheus::Labels& labels) {
    if constexpr (std::is_same_v<T, prometheus::Histogram>)
      return family_.Add(labels, prometheus::Histogram::BucketBoundaries(row_.buckets));
    else
      return family_.Add(labels);
  }
  T& add_other() {
    prometheus::Labels labels;
    for (const std::string_view name : row_.labels) labels[std::string(name)] = std::string(kOther);
    return add(labels);
  }

  const MetricRow& row_;
  prometheus::Family<T> family_;
  std::shared_mutex mutex_;  // guards known_
  std::unordered_map<std::string, T*, TextHash, std::equal_to<>> known_;
};

using Counters = Children<prometheus::Counter>;
using Histograms = Children<prometheus::Histogram>;

double seconds(std::chrono::nanoseconds span) { return std::chrono::duration<double>(span).count(); }
double seconds(SystemTime time) { return static_cast<double>(time.time_since_epoch().count()) / 1e6; }

/// Values of gauges, made anew for every text.
class Sampled {
 public:
  void set(Metric metric, std::vector<std::string> values, double value) {
    const MetricRow& row = row_of(metric);
    prometheus::ClientMetric one;
    for (size_t i = 0; i < row.labels.size(); ++i) one.label.push_back({std::string(row.labels[i]), values[i]});
    (row.kind == MetricKind::kCounter ? one.counter.value : one.gauge.value) = value;
    of_[static_cast<size_t>(metric)].push_back(std::move(one));
  }
  void set(Metric metric, const std::optional<double>& value) {
    if (value) set(metric, {}, *value);
  }
  std::vector<prometheus::ClientMetric>& of(size_t metric) { return of_[metric]; }

 private:
  std::array<std::vector<prometheus::ClientMetric>, kMetricCount> of_;
};

}  // namespace

std::string_view outcome_of_status(int status) {
  if (status < 300) return "ok";
  if (status < 400) return "redirect";
  switch (status) {
    case 401:
    case 403:
      return "denied";
    case 404:
      return "not-found";
    case 409:
    case 412:
      return "conflict";
    case 429:
      return "throttled";
    default:
      return status < 500 ? "refused" : "server-error";
  }
}

std::string_view outcome_of_error(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kTimeout:
      return "timeout";
    case ErrorKind::kUnavailable:
      return "unavailable";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kThrottled:
      return "throttled";
    case ErrorKind::kDenied:
      return "denied";
    case ErrorKind::kNotFound:
    case ErrorKind::kConflict:
    case ErrorKind::kInvalid:
    case ErrorKind::kCorrupt:
      break;
  }
  return "broken";
}

struct Metrics::Impl {
  Impl(std::string_view version_in, Clock& clock_in) : clock(clock_in), version(version_in) {
    for (size_t i = 0; i < kMetricCount; ++i) {
      const MetricRow& row = metric_table()[i];
      if (row.kind == MetricKind::kCounter) counters[i] = std::make_unique<Counters>(row);
      if (row.kind == MetricKind::kHistogram) histograms[i] = std::make_unique<Histograms>(row);
    }
  }
  void count(Metric metric, Values values, double by = 1) {
    counters[static_cast<size_t>(metric)]->at(values).Increment(by);
  }
  void observe(Metric metric, Values values, Span took) {
    histograms[static_cast<size_t>(metric)]->at(values).Observe(seconds(took));
  }
  void sample_links(Sampled& out) const;
  void sample_lanes(Sampled& out) const;

  Clock& clock;
  const std::string version;
  std::array<std::unique_ptr<Counters>, kMetricCount> counters;
  std::array<std::unique_ptr<Histograms>, kMetricCount> histograms;

  std::mutex mutex;  // guards all below
  bool up = false;
  int replicas = 0;
  std::optional<SystemTime> certificate_end;
  StoreFigures figures;
  std::map<std::string, bool, std::less<>> alarms;
  std::function<std::vector<LaneFigures>()> lanes;
};

Metrics::Metrics(std::string_view version, Clock& clock) : impl_(std::make_unique<Impl>(version, clock)) {}
Metrics::~Metrics() = default;

void Metrics::http_answered(std::string_view method, std::string_view route, int status, Span took) {
  constexpr std::array<std::string_view, 7> kMethods{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"};
  const bool known = std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end();
  std::array<char, 8> digits{};
  const auto end = fmt::format_to_n(digits.data(), digits.size(), "{}", status).out;
  impl_->count(Metric::kHttpRequests,
               {known ? method : kOther, route, {digits.data(), static_cast<size_t>(end - digits.data())}});
  impl_->observe(Metric::kHttpSeconds, {route}, took);
}

void Metrics::deliveries(uint64_t count) { impl_->count(Metric::kDeliveries, {}, static_cast<double>(count)); }

void Metrics::events(std::string_view outcome, uint64_t count) {
  if (count > 0) impl_->count(Metric::kEvents, {outcome}, static_cast<double>(count));
}

void Metrics::remote_called(std::string_view remote, std::string_view operation, std::string_view outcome, Span took) {
  impl_->count(Metric::kRemoteCalls, {remote, operation, outcome});
  impl_->observe(Metric::kRemoteSeconds, {remote, operation}, took);
}

void Metrics::budget_taken(std::string_view hub, std::string_view operation, double tokens, Span waited) {
  impl_->count(Metric::kBudgetTokens, {hub, operation}, tokens);
  impl_->count(Metric::kBudgetWait, {hub, operation}, std::max(0.0, seconds(waited)));
}

void Metrics::budget_exhausted(std::string_view hub, std::string_view operation) {
  impl_->count(Metric::kBudgetExhausted, {hub, operation});
}

void Metrics::hub_throttled(std::string_view hub, std::string_view operation) {
  impl_->count(Metric::kHubThrottled, {hub, operation});
}

void Metrics::store_called(std::string_view operation, Span took) {
  impl_->observe(Metric::kStoreSeconds, {operation}, took);
}

void Metrics::store_failed(std::string_view operation, ErrorKind kind) {
  impl_->count(Metric::kStoreErrors, {operation, outcome_of_error(kind)});
}

void Metrics::attempt_ended(std::string_view lane, std::string_view outcome, Span took) {
  impl_->count(Metric::kAttempts, {lane, outcome});
  impl_->observe(Metric::kAttemptSeconds, {lane}, took);
}

void Metrics::task_ended(std::string_view link, std::string_view outcome, uint64_t count) {
  impl_->count(Metric::kTasksEnded, {link, outcome}, static_cast<double>(count));
}

void Metrics::run_ended(std::string_view link, std::string_view outcome, uint64_t count) {
  impl_->count(Metric::kRunsEnded, {link, outcome}, static_cast<double>(count));
}

void Metrics::run_worked(std::string_view link, Span took) { impl_->observe(Metric::kRunSeconds, {link}, took); }

void Metrics::changed(std::string_view link, std::string_view kind, std::string_view result, uint64_t count) {
  if (count > 0) impl_->count(Metric::kChanges, {link, kind, result}, static_cast<double>(count));
}

void Metrics::guard_tripped(std::string_view link, std::string_view rule) {
  impl_->count(Metric::kGuardTrips, {link, rule});
}

void Metrics::spans(std::string_view outcome, uint64_t count) {
  if (count > 0) impl_->count(Metric::kSpans, {outcome}, static_cast<double>(count));
}

void Metrics::store_up(bool up) {
  std::scoped_lock lock(impl_->mutex);
  impl_->up = up;
}

void Metrics::replicas(int count) {
  std::scoped_lock lock(impl_->mutex);
  impl_->replicas = count;
}

void Metrics::certificate_ends(SystemTime when) {
  std::scoped_lock lock(impl_->mutex);
  impl_->certificate_end = when;
}

void Metrics::lane_alarm(std::string_view lane, bool alarm) {
  std::scoped_lock lock(impl_->mutex);
  impl_->alarms[std::string(lane)] = alarm;
}

void Metrics::store_figures(StoreFigures figures) {
  std::scoped_lock lock(impl_->mutex);
  impl_->figures = std::move(figures);
  impl_->up = true;
}

void Metrics::lanes_from(std::function<std::vector<LaneFigures>()> source) {
  std::scoped_lock lock(impl_->mutex);
  impl_->lanes = std::move(source);
}

void Metrics::forget_service() {
  std::scoped_lock lock(impl_->mutex);
  impl_->lanes = {};
  impl_->alarms.clear();
  impl_->figures = {};
}

void Metrics::Impl::sample_links(Sampled& out) const {
  const double now = seconds(clock.system_now());
  for (const LinkFigures& one : figures.links) {
    const auto time = [&](Metric metric, const std::optional<SystemTime>& at) {
      if (at) out.set(metric, {one.link}, seconds(*at));
    };
    time(Metric::kInStepTime, one.in_step);
    if (one.in_step) out.set(Metric::kInStepLag, {one.link}, std::max(0.0, now - seconds(*one.in_step)));
    time(Metric::kLastGoodRun, one.last_good_run);
    if (one.last_run) out.set(Metric::kLastRun, {one.link, one.last_outcome}, seconds(*one.last_run));
    for (const auto& [what, count] : one.last_changes)
      out.set(Metric::kLastRunChanges, {one.link, what.first, what.second}, static_cast<double>(count));
    if (one.owned) out.set(Metric::kOwned, {one.link}, static_cast<double>(*one.owned));
    if (one.orphans) out.set(Metric::kOrphans, {one.link}, static_cast<double>(*one.orphans));
    out.set(Metric::kBlockedRuns, {one.link}, static_cast<double>(one.blocked));
  }
}

void Metrics::Impl::sample_lanes(Sampled& out) const {
  for (const LaneBacklog& one : figures.lanes) {
    for (const auto& [state, count] : one.by_state)
      out.set(Metric::kTasks, {one.lane, state}, static_cast<double>(count));
    out.set(Metric::kTaskOverdue, {one.lane}, seconds(one.overdue));
    out.set(Metric::kLaneResting, {one.lane}, one.resting ? 1 : 0);
  }
  for (const auto& [lane, alarm] : alarms) out.set(Metric::kLaneAlarm, {lane}, alarm ? 1 : 0);
  if (!lanes) return;
  for (const LaneFigures& one : lanes()) {
    out.set(Metric::kLaneThreads, {one.lane}, one.threads);
    out.set(Metric::kLaneBusy, {one.lane}, one.busy);
    out.set(Metric::kLaneBlind, {one.lane}, one.blind ? 1 : 0);
  }
}

std::string Metrics::text() const {
  Sampled sampled;
  sampled.set(Metric::kBuildInfo, {impl_->version}, 1);
  const ProcessFigures process = process_figures();
  sampled.set(Metric::kResidentMemory, process.resident_bytes);
  sampled.set(Metric::kVirtualMemory, process.virtual_bytes);
  sampled.set(Metric::kCpuSeconds, process.cpu_seconds);
  sampled.set(Metric::kOpenFds, process.open_fds);
  sampled.set(Metric::kMostFds, process.most_fds);
  sampled.set(Metric::kStartTime, process.start_time);
  {
    std::scoped_lock lock(impl_->mutex);
    sampled.set(Metric::kStoreUp, {}, impl_->up ? 1 : 0);
    if (impl_->replicas > 0) sampled.set(Metric::kReplicas, {}, impl_->replicas);
    if (impl_->certificate_end) sampled.set(Metric::kCertificateEnd, {}, seconds(*impl_->certificate_end));
    if (impl_->figures.at != SteadyTime{})
      sampled.set(Metric::kCountsAge, {}, std::max(0.0, seconds(impl_->clock.steady_now() - impl_->figures.at)));
    impl_->sample_links(sampled);
    impl_->sample_lanes(sampled);
  }
  std::vector<prometheus::MetricFamily> all;
  for (size_t i = 0; i < kMetricCount; ++i) {
    const MetricRow& row = metric_table()[i];
    prometheus::MetricFamily family{std::string(row.name), std::string(row.help), type_of(row.kind),
                                    std::move(sampled.of(i))};
    // The library gives no family that has no value yet; whoever writes an alert wants to see that there is one.
    auto counted = impl_->counters[i]     ? impl_->counters[i]->collect()
                   : impl_->histograms[i] ? impl_->histograms[i]->collect()
                                          : std::vector<prometheus::MetricFamily>{};
    for (auto& one : counted)
      for (auto& metric : one.metric) family.metric.push_back(std::move(metric));
    all.push_back(std::move(family));
  }
  std::ostringstream out;
  out.imbue(std::locale::classic());
  prometheus::TextSerializer().Serialize(out, all);
  return out.str();
}

}  // namespace twinstep::obs
