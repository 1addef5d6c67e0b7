#include "twinstep/telemetry/event_text.h"

#include <algorithm>

#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::telemetry {
namespace {

constexpr size_t kLongestProperty = 8192;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

size_t length_of(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 0;
}

}  // namespace

std::string cut_text(std::string_view text, size_t most) {
  std::string out;
  size_t units = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t length = length_of(static_cast<unsigned char>(text[at]));
    const bool good = length > 0 && at + length <= text.size() && is_utf8(text.substr(at, length));
    units += good && length == 4 ? 2 : 1;
    if (units > most) break;
    out += good ? text.substr(at, length) : kReplacement;
    at += good ? length : 1;
  }
  return out;
}

json::object event_object(const obs::Event& event) {
  json::object properties, measurements;
  for (const auto& [name, value] : event.properties) properties[name] = cut_text(value, kLongestProperty);
  for (const auto& [name, value] : event.measurements) measurements[name] = value;
  json::object out{{"time", format_iso_millis(event.time)}, {"name", event.name}};
  if (!event.operation.empty()) out["operation"] = event.operation;
  out["properties"] = std::move(properties);
  if (!measurements.empty()) out["measurements"] = std::move(measurements);
  return out;
}

}  // namespace twinstep::telemetry
