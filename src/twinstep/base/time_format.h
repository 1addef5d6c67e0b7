#pragma once

#include <string>
#include <string_view>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace twinstep {

/// "2026-08-20T22:05:31Z"
std::string format_iso_seconds(SystemTime time);
/// "2026-08-20T22:05:31.041Z"
std::string format_iso_millis(SystemTime time);
/// "Sun, 22 Nov 2026 23:36:04 GMT" (RFC 1123, HTTP)
std::string format_http_date(SystemTime time);

/// ISO 8601 with T, optional fraction of any length, `Z`, an offset, or nothing (taken as UTC): all forms that IoT Hub
/// sends. Errors  kInvalid.
Result<SystemTime> parse_iso(std::string_view text);
/// The three HTTP date forms (RFC 1123, RFC 850, asctime). Errors  kInvalid.
Result<SystemTime> parse_http_date(std::string_view text);

}  // namespace twinstep
