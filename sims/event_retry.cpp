#include "sims/event_retry.h"

#include <algorithm>
#include <array>

namespace twinstep::sims {

using namespace std::chrono_literals;

DeliveryOutcome judge(const Result<http::Response>& answer) {
  if (!answer) {
    if (answer.error().kind == ErrorKind::kTimeout) return {.name = "TimedOut"};
    if (answer.error().kind == ErrorKind::kUnavailable) return {.name = "SocketError", .probation = 30s};
    return {.name = "GenericError"};
  }
  switch (answer->status) {
    case 200:
    case 201:
    case 202:
    case 203:
    case 204:
      return {.name = "Delivered", .delivered = true, .again = false};
    case 400:
      return {.name = "BadRequest", .again = false};
    case 401:
      return {.name = "Unauthorized", .again = false, .probation = 5min};
    case 403:
      return {.name = "Forbidden", .again = false, .probation = 5min};
    case 404:
      return {.name = "NotFound", .at_least = 5min, .probation = 5min};
    case 408:
      return {.name = "TimedOut", .at_least = 2min};
    case 413:
      return {.name = "PayloadTooLarge", .again = false};
    case 503:
      return {.name = "Busy", .at_least = 30s};
    default:
      return {.name = "GenericError"};
  }
}

std::chrono::nanoseconds retry_wait(int attempts, const DeliveryOutcome& outcome, Rng& rng) {
  static constexpr std::array<std::chrono::seconds, 10> kSchedule{10s, 30s, 1min, 5min, 10min, 30min, 1h, 3h, 6h, 12h};
  const size_t at = std::min(static_cast<size_t>(std::max(1, attempts)) - 1, kSchedule.size() - 1);
  const std::chrono::seconds wait = std::max(kSchedule[at], outcome.at_least);
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(wait) *
                                                              (1 + 0.2 * rng.unit()));
}

}  // namespace twinstep::sims
