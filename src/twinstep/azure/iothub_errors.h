#pragma once

#include <optional>
#include <string_view>

#include "twinstep/base/time_format.h"
#include "twinstep/http/client.h"

namespace twinstep::azure {

/// One of the hub's error codes.
struct HubCode {
  int number;
  std::string_view name;
  ErrorKind kind;
  std::string_view advice;  ///< for people; may be empty
};

/// By symbolic name without case ("DeviceNotFound") or number ("404001"); null when it is not known.
/// Source  azure.md 1.3
const HubCode* find_hub_code(std::string_view name_or_number);

/// What an error code of a bulk answer or import log means; unknown numbers count by their first three digits, unknown
/// names are kInvalid.
ErrorKind hub_code_kind(std::string_view name_or_number);

/// The right that an operation needs, for the advice after a 401.
enum class HubRight { kRegistryRead, kRegistryWrite, kServiceConnect };

/// The error that a hub's answer stands for: by the `iothub-errorcode` header, then the body (both shapes, also one in
/// the other), then the status. The code is "hub.<symbolic code>", "hub.unauthorized" for every 401, or
/// "hub.http-<status>". Signatures and keys that the hub repeats are masked.
/// Source  azure.md 1.3
Error hub_error(const http::Response& response, HubRight right, SystemTime now);

}  // namespace twinstep::azure
