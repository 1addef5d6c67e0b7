#pragma once

#include <span>
#include <string_view>
#include <vector>

/// Every metric that the daemon has, in one table: Metrics makes its families from it, and docs/metrics.md is compared
/// with it. Labels are bounded: links, hubs, lanes, operations, outcomes; never a device.
namespace twinstep::obs {

enum class MetricKind { kCounter, kGauge, kHistogram };

struct MetricRow {
  std::string_view name;
  MetricKind kind;
  std::vector<std::string_view> labels;
  std::string_view help;
  std::vector<double> buckets = {};  ///< of a histogram, in seconds
};

/// In the order of the table.
enum class Metric {
  kBuildInfo,
  kStoreUp,
  kReplicas,
  kHttpRequests,
  kHttpSeconds,
  kDeliveries,
  kEvents,
  kRemoteCalls,
  kRemoteSeconds,
  kBudgetTokens,
  kBudgetWait,
  kBudgetExhausted,
  kHubThrottled,
  kStoreSeconds,
  kStoreErrors,
  kAttempts,
  kAttemptSeconds,
  kLaneThreads,
  kLaneBusy,
  kLaneBlind,
  kLaneResting,
  kLaneAlarm,
  kTasks,
  kTaskOverdue,
  kTasksEnded,
  kCountsAge,
  kRunsEnded,
  kRunSeconds,
  kChanges,
  kGuardTrips,
  kInStepTime,
  kInStepLag,
  kLastGoodRun,
  kLastRun,
  kLastRunChanges,
  kOwned,
  kOrphans,
  kBlockedRuns,
  kSpans,
  kCertificateEnd,
  kResidentMemory,
  kVirtualMemory,
  kCpuSeconds,
  kOpenFds,
  kMostFds,
  kStartTime,
};
inline constexpr size_t kMetricCount = static_cast<size_t>(Metric::kStartTime) + 1;

std::span<const MetricRow> metric_table();
inline const MetricRow& row_of(Metric metric) { return metric_table()[static_cast<size_t>(metric)]; }

}  // namespace twinstep::obs
