#include "twinstep/telemetry/app_insights.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "twinstep/base/time_format.h"
#include "twinstep/http/text.h"
#include "twinstep/json/json.h"
#include "twinstep/telemetry/event_text.h"
#include "twinstep/telemetry/gzip.h"
#include "twinstep/telemetry/web_address.h"
#include "twinstep/version.h"

namespace twinstep::telemetry {
namespace {

// azure.md 4
constexpr size_t kLongestConnectionString = 4096;
constexpr size_t kLongestName = 512;
constexpr size_t kLongestKey = 150;
constexpr size_t kLongestValue = 8192;
constexpr int kMostRedirects = 9;
constexpr std::string_view kTrack = "/v2/track";
constexpr std::string_view kGlobal = "https://dc.services.visualstudio.com";
constexpr std::array kWholeAgain{408, 429, 439, 500, 502, 503, 504};
constexpr std::array kOneAgain{408, 429, 439, 500, 503};
constexpr std::array<std::string_view, 5> kMicrosoft{".applicationinsights.azure.com", ".applicationinsights.azure.us",
                                                     ".applicationinsights.azure.cn", ".services.visualstudio.com",
                                                     ".monitor.azure.com"};

template <class List>
bool among(const List& list, int64_t status) {
  return std::find(list.begin(), list.end(), status) != list.end();
}

bool is_guid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = http::lower(text[i]);
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

tl::unexpected<Error> unusable(std::string_view why) {
  return fail(ErrorKind::kInvalid, "telemetry.connection-string",
              fmt::format("the Application Insights connection string is not usable: {}; copy it from the resource's "
                          "overview page",
                          why));
}

bool microsoft(std::string_view host) {
  return std::any_of(kMicrosoft.begin(), kMicrosoft.end(), [&](std::string_view end) { return host.ends_with(end); });
}

std::string without_hyphens(std::string text) {
  std::erase(text, '-');
  return text;
}

}  // namespace

Result<Ingestion> parse_ingestion(std::string_view text) {
  text = http::trimmed(text);
  if (is_guid(text)) return Ingestion{std::string(text), std::string(kGlobal)};
  if (text.size() > kLongestConnectionString) return unusable("it is longer than 4096 characters");
  std::map<std::string, std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(';', at), text.size());
    const std::string_view part = http::trimmed(text.substr(at, end - at));
    at = end + 1;
    if (part.empty()) continue;
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos || equals == 0) return unusable("it is not made of NAME=VALUE;NAME=VALUE");
    std::string name;
    for (char c : http::trimmed(part.substr(0, equals))) name += http::lower(c);
    if (!parts.emplace(name, http::trimmed(part.substr(equals + 1))).second)
      return unusable(fmt::format("'{}' is there twice", cut_text(name, 40)));
  }
  Ingestion out;
  out.key = parts["instrumentationkey"];
  if (!is_guid(out.key)) return unusable("InstrumentationKey is missing or no GUID");
  if (const std::string& named = parts["ingestionendpoint"]; !named.empty()) {
    out.endpoint = named;
  } else if (const std::string& suffix = parts["endpointsuffix"]; !suffix.empty()) {
    const std::string& location = parts["location"];
    out.endpoint = fmt::format("https://{}{}dc.{}", location, location.empty() ? "" : ".", suffix);
  } else {
    out.endpoint = kGlobal;
  }
  while (out.endpoint.ends_with('/')) out.endpoint.pop_back();
  const auto address = parse_web_address(out.endpoint);
  if (!address) return unusable(fmt::format("its endpoint is {}", address.error().what));
  return out;
}

bool may_redirect(std::string_view from, std::string_view to) {
  const auto here = parse_web_address(from), there = parse_web_address(to);
  if (!here || !there) return false;
  // Plain http stays on this machine, and nothing secured goes on in clear.
  if (there->scheme == "http" && (here->scheme != "http" || !here->loopback())) return false;
  return there->host == here->host || microsoft(there->host);
}

AppInsights::AppInsights(Ingestion ingestion, std::string instance, http::Client& client, Clock& clock)
    : ingestion_(std::move(ingestion)),
      instance_(std::move(instance)),
      client_(client),
      clock_(clock),
      endpoint_(ingestion_.endpoint) {}

std::string AppInsights::line(const obs::Event& event) const {
  json::object tags{{"ai.cloud.role", "twinstep"},
                    {"ai.cloud.roleInstance", instance_},
                    {"ai.internal.sdkVersion", fmt::format("cpp:{}", kVersion)}};
  if (!event.operation.empty()) tags["ai.operation.id"] = event.operation;
  json::object properties, measurements;
  for (const auto& [name, value] : event.properties)
    if (name.size() <= kLongestKey) properties[name] = cut_text(value, kLongestValue);
  for (const auto& [name, value] : event.measurements)
    if (name.size() <= kLongestKey) measurements[name] = value;
  json::object data{{"ver", 2}, {"name", cut_text(event.name, kLongestName)}, {"properties", std::move(properties)}};
  if (!measurements.empty()) data["measurements"] = std::move(measurements);
  return json::write(
      json::object{{"ver", 1},
                   {"name", fmt::format("Microsoft.ApplicationInsights.{}.Event", without_hyphens(ingestion_.key))},
                   {"time", format_iso_millis(event.time)},
                   {"iKey", ingestion_.key},
                   {"sampleRate", 100},
                   {"tags", std::move(tags)},
                   {"data", {{"baseType", "EventData"}, {"baseData", std::move(data)}}}});
}

Result<http::Response> AppInsights::post(const std::string& packed, const Call& call) {
  for (int hops = 0;; ++hops) {
    http::Request request;
    request.method = "POST";
    request.url = endpoint_ + std::string(kTrack);
    request.headers = {
        {"Content-Type", "application/x-json-stream"}, {"Content-Encoding", "gzip"}, {"Accept", "application/json"}};
    request.body = packed;
    request.operation = "send events to Application Insights";
    request.max_response_bytes = 4u << 20;
    auto answer = client_.send(request, call);
    if (!answer || (answer->status != 307 && answer->status != 308)) return answer;
    std::string to(answer->header("Location"));
    const auto here = parse_web_address(endpoint_);
    if (to.starts_with('/') && !to.starts_with("//") && here)
      to = WebAddress{here->scheme, here->host, here->port, to}.text();
    if (hops == kMostRedirects || !may_redirect(ingestion_.endpoint, to) || !may_redirect(endpoint_, to)) return answer;
    // The path is ours; only the place is taken over, and remembered.
    auto there = parse_web_address(to);
    const size_t track = there->path.rfind(kTrack);
    there->path = track == std::string::npos ? "" : there->path.substr(0, track);
    endpoint_ = there->text();
  }
}

/// For the log: status and the remote's first words, without the key, which some of its answers repeat.
std::string AppInsights::reason(const http::Response& answer) const {
  std::string text = answer.body;
  // In the name of an envelope it has no hyphens.
  for (const std::string& key : {ingestion_.key, without_hyphens(ingestion_.key)})
    for (size_t at = 0; (at = text.find(key)) != std::string::npos;) text.replace(at, key.size(), "***");
  text = cut_text(text, 200);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '"' || static_cast<unsigned char>(c) < ' '; }, ' ');
  return fmt::format("Application Insights answered {}{}{}", answer.status, text.empty() ? "" : ": ", text);
}

Outcome AppInsights::partly(const http::Response& answer, const std::vector<std::string>& lines) const {
  Outcome out;
  out.why = reason(answer);
  const auto body = json::parse(answer.body, "the answer");
  const json::object* o = body ? body->if_object() : nullptr;
  const json::array* errors = o ? json::array_at(*o, "errors") : nullptr;
  if (!errors) return out;  // nothing is named: what is not accepted is not known, and twice would be wrong in counts
  std::set<int64_t> again, refused;
  for (const json::value& one : *errors) {
    const json::object* error = one.if_object();
    if (!error) continue;
    const int64_t index = json::int_or(*error, "index", -1);
    if (index < 0 || index >= static_cast<int64_t>(lines.size())) continue;
    (among(kOneAgain, json::int_or(*error, "statusCode", 0)) ? again : refused).insert(index);
  }
  for (int64_t index : again) out.again.push_back(lines[static_cast<size_t>(index)]);
  for (int64_t index : refused) out.refused += again.contains(index) ? 0 : 1;
  out.wait = http::retry_after(answer, clock_.system_now());
  return out;
}

Outcome AppInsights::deliver(const std::vector<std::string>& lines, const Call& call) {
  std::string body;
  for (const std::string& line : lines) {
    if (!body.empty()) body += '\n';
    body += line;
  }
  const auto answer = post(gzip(body), call);
  Outcome out;
  if (!answer) {
    out.again = lines;
    out.why = answer.error().what;
    return out;
  }
  if (answer->status == 206) return partly(*answer, lines);
  if (answer->ok()) return out;
  out.why = reason(*answer);
  // A redirect that is not followed comes from something between us and the ingestion, and passes.
  const bool redirect = answer->status == 307 || answer->status == 308;
  if (among(kWholeAgain, answer->status) || redirect) {
    out.again = lines;
    out.wait = http::retry_after(*answer, clock_.system_now());
    // The host that a redirect named may be gone for good; the configured one knows.
    endpoint_ = ingestion_.endpoint;
  } else {
    out.refused = lines.size();
  }
  return out;
}

}  // namespace twinstep::telemetry
