#include "twinstep/base/time_format.h"

#include <date/date.h>

#include <sstream>

namespace twinstep {

using std::chrono::floor;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string format_iso_seconds(SystemTime time) { return date::format("%FT%TZ", floor<seconds>(time)); }
std::string format_iso_millis(SystemTime time) { return date::format("%FT%TZ", floor<milliseconds>(time)); }
std::string format_http_date(SystemTime time) { return date::format("%a, %d %b %Y %T GMT", floor<seconds>(time)); }

namespace {

constexpr size_t kSecondsEnd = std::string_view("2026-08-20T22:05:31").size();

/// Whole seconds only: of fractions, the library reads text such as "." as a number that is none.
bool parse_with(const char* format, const std::string& text, date::sys_seconds& out) {
  std::istringstream in(text);
  in >> date::parse(format, out);
  return !in.fail() && in.peek() == std::istringstream::traits_type::eof();
}

/// Two digits on both sides of every colon: of anything else the library computes with numbers that are none.
bool clock_is_digits(std::string_view text) {
  const auto digits = [&](size_t at) {
    return at + 1 < text.size() && text[at] >= '0' && text[at] <= '9' && text[at + 1] >= '0' && text[at + 1] <= '9';
  };
  for (size_t at = text.find(':'); at != std::string_view::npos; at = text.find(':', at + 1))
    if (at < 2 || !digits(at - 2) || !digits(at + 1)) return false;
  return true;
}

tl::unexpected<Error> bad(std::string_view text) {
  return fail(ErrorKind::kInvalid, "time.format", fmt::format("'{}' is not a time", text.substr(0, 64)));
}

}  // namespace

Result<SystemTime> parse_iso(std::string_view text) {
  std::string fixed(text.substr(0, 64));
  // Fractions are cut to six digits: IoT Hub writes seven, and microseconds are what we keep.
  std::chrono::microseconds fraction{0};
  if (const auto dot = fixed.find('.'); dot != std::string::npos) {
    size_t end = dot + 1;
    for (int64_t unit = 100'000; end < fixed.size() && fixed[end] >= '0' && fixed[end] <= '9'; ++end, unit /= 10)
      fraction += std::chrono::microseconds{(fixed[end] - '0') * unit};
    if (dot != kSecondsEnd || end == dot + 1) return bad(text);
    fixed.erase(dot, end - dot);
  }
  if (!fixed.empty() && (fixed.back() == 'Z' || fixed.back() == 'z')) fixed.pop_back();
  if (!clock_is_digits(fixed)) return bad(text);
  date::sys_seconds out;
  if (parse_with("%FT%T", fixed, out) || parse_with("%FT%T%Ez", fixed, out)) return SystemTime(out) + fraction;
  return bad(text);
}

Result<SystemTime> parse_http_date(std::string_view text) {
  const std::string copy(text.substr(0, 64));
  if (copy.find('.') != std::string::npos || !clock_is_digits(copy)) return bad(text);
  date::sys_seconds out;
  for (const char* format : {"%a, %d %b %Y %T GMT", "%A, %d-%b-%y %T GMT", "%a %b %e %T %Y"})
    if (parse_with(format, copy, out)) return out;
  return bad(text);
}

}  // namespace twinstep
