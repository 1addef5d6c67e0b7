#pragma once

#include <compare>
#include <string>
#include <string_view>

namespace twinstep {

/// A string that is not just any string. `Tag` makes each id its own type.
template <class Tag>
struct Id {
  std::string value;

  Id() = default;
  explicit Id(std::string v) : value(std::move(v)) {}
  bool empty() const { return value.empty(); }
  friend auto operator<=>(const Id&, const Id&) = default;
};

using DeviceId = Id<struct DeviceIdTag>;  ///< a device's id as IoT Hub spells it; case-sensitive there
using Etag = Id<struct EtagTag>;          ///< opaque, without quotes; empty = none
using JobId = Id<struct JobIdTag>;
using PlanId = Id<struct PlanIdTag>;

/// True when IoT Hub accepts `id` as a device id: 1 to 128 of A-Z a-z 0-9 and - : . + % _ # * ? ! ( ) , = @ ; $ '
/// Source  azure.md 1.4 (C# SDK Registry/RegistryManager.cs; IoT Hub developer guide, identity registry).
bool is_legal_hub_device_id(std::string_view id);

/// The form in which ids are compared. Sixteen hex digits, alone or with the separators - : . _ or space between
/// them, are a DevEUI and become 16 upper-case digits; everything else stays as it is, because IoT Hub tells case
/// apart. Writes into `out` and returns a view of it, so that a loop over a million ids allocates nothing.
std::string_view canonical_device_id(std::string_view id, std::string& out);
std::string canonical_device_id(std::string_view id);

}  // namespace twinstep
