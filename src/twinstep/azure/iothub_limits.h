#pragma once

#include <algorithm>

namespace twinstep::azure {

enum class HubTier { kFree, kB1, kB2, kB3, kS1, kS2, kS3 };

/// The kinds of operation that a hub counts apart from each other.
enum class HubOperation { kRegistry, kQuery, kTwinRead, kTwinUpdate, kJob };

/// So many operations in so many seconds.
struct Quota {
  double count = 0;
  double seconds = 1;
  double per_second() const { return count / seconds; }
};

/// What a hub of this tier and size allows. Bulk calls count each entry as one registry operation.
/// Source  azure.md 1.12 (IoT Hub developer guide, quotas and throttling)
constexpr Quota hub_quota(HubTier tier, int units, HubOperation operation) {
  const double u = std::max(1, units);
  const bool large = tier == HubTier::kB3 || tier == HubTier::kS3;
  const bool medium = tier == HubTier::kB2 || tier == HubTier::kS2;
  switch (operation) {
    case HubOperation::kRegistry:
    case HubOperation::kJob:
      return {(large ? 5000 : 100) * u, 60};
    case HubOperation::kQuery:
      return {(large ? 1000 : 20) * u, 60};
    case HubOperation::kTwinRead:
      return {large ? 500 * u : medium ? std::max(100.0, 10 * u) : 100.0, 1};
    case HubOperation::kTwinUpdate:
      return {large ? 250 * u : medium ? std::max(50.0, 5 * u) : 50.0, 1};
  }
  return {1, 60};
}

constexpr size_t kMaxBulkEntries = 100;
constexpr int kMaxQueryPage = 1000;

}  // namespace twinstep::azure
