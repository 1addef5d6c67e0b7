#include "twinstep/azure/answer.h"

#include "twinstep/base/time_format.h"

namespace twinstep::azure {
std::optional<std::chrono::seconds> clock_skew(const http::Response& response, SystemTime now) {
  const auto theirs = parse_http_date(response.header("Date"));
  if (!theirs) return std::nullopt;
  return std::chrono::duration_cast<std::chrono::seconds>(now - *theirs);
}

}  // namespace twinstep::azure
