#include "twinstep/plan/plan_csv.h"

#include "twinstep/json/canonical.h"
#include "twinstep/plan/plan_json.h"

namespace twinstep::plan {

std::string csv_field(std::string_view text) {
  const bool formula = !text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos;
  std::string out = formula ? "'" : "";
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return out.append(text);
  out.insert(0, 1, '"');
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
  return out;
}

std::string csv_header() { return "op,deviceId,reason,tags\r\n"; }

std::string csv_line(const Change& change) {
  // By way of the plan's own form, so that a secret tag can no more get here than there.
  std::string tags = "{}";
  if (const auto o = change_object(change))
    if (const json::value* v = json::find(*o, "tags")) tags = json::canonical(*v);
  return fmt::format("{},{},{},{}\r\n", to_string(change.op), csv_field(change.id.value), csv_field(change.reason),
                     csv_field(tags));
}

}  // namespace twinstep::plan
