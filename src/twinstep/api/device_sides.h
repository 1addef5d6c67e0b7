#pragma once

#include <string>

#include "twinstep/azure/iothub_client.h"
#include "twinstep/providers/external_registry.h"

namespace twinstep::api {

/// A device in the hub, as far as it may be shown.
struct HubSide {
  bool exists = false;
  bool enabled = false;
  bool edge = false;
  std::string owner;     ///< the link whose mark it carries (tags.twinstep.link); empty = none
  bool has_ref = false;  ///< tags.ref is there: made by the sample
  json::object tags;     ///< secret ones as "***"
};

struct ExternalSide {
  enum class What { kFound, kAbsent, kCannotLookUp } what = What::kCannotLookUp;
  std::string id;  ///< as found there
};

struct DeviceSides {
  Result<HubSide> hub;
  Result<ExternalSide> external;
};

/// Reads the device's twin, and looks it up outside by its tags, or by those remembered when the hub has it no more.
/// Blocking, Errors  as the clients'.
DeviceSides look_at_device(azure::IotHubClient& hub, providers::ExternalRegistry& external, const DeviceId& device,
                           const json::object& remembered, const Call& call);

/// The tags with the values of secret ones replaced by "***".
json::object without_secrets(json::object tags, const std::vector<providers::TagSpec>& specs);

}  // namespace twinstep::api
