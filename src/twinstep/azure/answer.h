#pragma once

#include <optional>

#include "twinstep/base/clock.h"
#include "twinstep/http/client.h"

/// What the clients of this folder read from the head of any answer.
namespace twinstep::azure {

/// How far our clock is ahead of the remote's Date (negative: behind); empty without a readable Date.
std::optional<std::chrono::seconds> clock_skew(const http::Response& response, SystemTime now);

}  // namespace twinstep::azure
