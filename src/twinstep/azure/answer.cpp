#include "twinstep/azure/answer.h"

#include <algorithm>
#include <charconv>

#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

std::string_view header_value(const http::Response& response, std::string_view name) {
  for (const auto& h : response.headers) {
    if (std::equal(h.name.begin(), h.name.end(), name.begin(), name.end(),
                   [](char a, char b) { return lower(a) == lower(b); })) {
      return h.value;
    }
  }
  return {};
}

std::optional<Millis> asked_wait(const http::Response& response, SystemTime now) {
  const std::string_view text = header_value(response, "Retry-After");
  if (text.empty()) return std::nullopt;
  uint32_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size()) return std::chrono::seconds{seconds};
  const auto when = parse_http_date(text);
  if (!when) return std::nullopt;
  return std::max(Millis{0}, std::chrono::ceil<Millis>(*when - now));
}

std::optional<std::chrono::seconds> clock_skew(const http::Response& response, SystemTime now) {
  const auto theirs = parse_http_date(header_value(response, "Date"));
  if (!theirs) return std::nullopt;
  return std::chrono::duration_cast<std::chrono::seconds>(now - *theirs);
}

}  // namespace twinstep::azure
