#pragma once

#include <optional>
#include <string_view>

#include "twinstep/base/clock.h"
#include "twinstep/http/client.h"

/// What the storage and identity clients read from the head of an answer.
namespace twinstep::azure {

/// First header of that name (compared without case), else empty.
std::string_view header_value(const http::Response& response, std::string_view name);

/// The remote's Retry-After as a span from now: seconds or an HTTP date; empty when absent or unreadable.
std::optional<Millis> asked_wait(const http::Response& response, SystemTime now);

/// How far our clock is ahead of the remote's Date (negative: behind); empty without a readable Date.
std::optional<std::chrono::seconds> clock_skew(const http::Response& response, SystemTime now);

}  // namespace twinstep::azure
