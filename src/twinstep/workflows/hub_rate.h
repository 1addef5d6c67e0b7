#pragma once

#include "twinstep/azure/iothub_limits.h"
#include "twinstep/config/config.h"

namespace twinstep::workflows {

/// What a hub allows a second, by its tier and units.
inline double hub_rate(const config::Hub& hub, azure::HubOperation operation) {
  static_assert(static_cast<int>(azure::HubTier::kS3) == static_cast<int>(config::Tier::kS3));
  return azure::hub_quota(static_cast<azure::HubTier>(hub.tier), hub.units, operation).per_second();
}

}  // namespace twinstep::workflows
