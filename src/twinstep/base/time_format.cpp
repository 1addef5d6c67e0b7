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

bool parse_with(const char* format, const std::string& text, SystemTime& out) {
  std::istringstream in(text);
  in >> date::parse(format, out);
  return !in.fail() && in.peek() == std::istringstream::traits_type::eof();
}

tl::unexpected<Error> bad(std::string_view text) {
  return fail(ErrorKind::kInvalid, "time.format", fmt::format("'{}' is not a time", text.substr(0, 64)));
}

}  // namespace

Result<SystemTime> parse_iso(std::string_view text) {
  // Fractions are cut to six digits: IoT Hub writes seven, and microseconds are what we keep.
  std::string fixed(text.substr(0, 64));
  if (const auto dot = fixed.find('.'); dot != std::string::npos) {
    auto end = fixed.find_first_not_of("0123456789", dot + 1);
    if (end == std::string::npos) end = fixed.size();
    if (end == dot + 1) return bad(text);
    if (end - dot > 7) fixed.erase(dot + 7, end - dot - 7);
  }
  if (!fixed.empty() && (fixed.back() == 'Z' || fixed.back() == 'z')) fixed.pop_back();
  SystemTime out;
  if (parse_with("%FT%T", fixed, out) || parse_with("%FT%T%Ez", fixed, out)) return out;
  return bad(text);
}

Result<SystemTime> parse_http_date(std::string_view text) {
  const std::string copy(text.substr(0, 64));
  SystemTime out;
  for (const char* format : {"%a, %d %b %Y %T GMT", "%A, %d-%b-%y %T GMT", "%a %b %e %T %Y"})
    if (parse_with(format, copy, out)) return out;
  return bad(text);
}

}  // namespace twinstep
