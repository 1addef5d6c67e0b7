#include "twinstep/base/time_format.h"

#include <date/date.h>

#include <algorithm>
#include <cstdint>
#include <sstream>

namespace twinstep {

using std::chrono::floor;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string format_iso_seconds(SystemTime time) { return date::format("%FT%TZ", floor<seconds>(time)); }
std::string format_iso_millis(SystemTime time) { return date::format("%FT%TZ", floor<milliseconds>(time)); }
std::string format_http_date(SystemTime time) { return date::format("%a, %d %b %Y %T GMT", floor<seconds>(time)); }

namespace {

constexpr std::string_view kSeconds = "0000-00-00T00:00:00";

/// Whole seconds only: of fractions, the library reads text such as "." as a number that is none.
bool parse_with(const char* format, const std::string& text, date::sys_seconds& out) {
  std::istringstream in(text);
  in >> date::parse(format, out);
  return !in.fail() && in.peek() == std::istringstream::traits_type::eof();
}

/// True when `text` has digits where `shape` has 0, and the shape's own characters elsewhere. Asked before the library,
/// which computes with numbers that are none when other characters stand in their places.
bool has_shape(std::string_view text, std::string_view shape) {
  if (text.size() != shape.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (shape[i] == '0' ? !digit : text[i] != shape[i]) return false;
  }
  return true;
}

bool is_offset(std::string_view text) {
  return has_shape(text, "+00:00") || has_shape(text, "-00:00") || has_shape(text, "+0000") || has_shape(text, "-0000");
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
    if (dot != kSeconds.size() || end == dot + 1) return bad(text);
    fixed.erase(dot, end - dot);
  }
  if (!fixed.empty() && (fixed.back() == 'Z' || fixed.back() == 'z')) fixed.pop_back();
  const std::string_view offset = std::string_view(fixed).substr(std::min(fixed.size(), kSeconds.size()));
  if (!has_shape(fixed.substr(0, kSeconds.size()), kSeconds) || !(offset.empty() || is_offset(offset)))
    return bad(text);
  date::sys_seconds out;
  if (parse_with("%FT%T", fixed, out) || parse_with("%FT%T%Ez", fixed, out)) return SystemTime(out) + fraction;
  return bad(text);
}

Result<SystemTime> parse_http_date(std::string_view text) {
  const std::string copy(text.substr(0, 64));
  const size_t clock = std::max<size_t>(copy.find(':'), 2) - 2;
  if (copy.find('.') != std::string::npos || clock > copy.size() || !has_shape(copy.substr(clock, 8), "00:00:00"))
    return bad(text);
  date::sys_seconds out;
  for (const char* format : {"%a, %d %b %Y %T GMT", "%A, %d-%b-%y %T GMT", "%a %b %e %T %Y"})
    if (parse_with(format, copy, out)) return out;
  return bad(text);
}

}  // namespace twinstep
