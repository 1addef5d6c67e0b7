#include "twinstep/azure/iothub_errors.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "twinstep/azure/answer.h"
#include "twinstep/base/units.h"
#include "twinstep/json/json.h"

namespace twinstep::azure {
namespace {

using enum ErrorKind;

constexpr size_t kMaxText = 400;
constexpr auto kNoteworthySkew = std::chrono::minutes{1};  // hubs allow about five

constexpr std::string_view kSlowDown = "the hub is busy; the same request will pass later";

constexpr std::array<HubCode, 29> kCodes{{
    {400001, "InvalidProtocolVersion", kInvalid, "the endpoint does not speak api-version 2021-04-12"},
    {400003, "InvalidOperation", kInvalid, ""},
    {400004, "ArgumentInvalid", kInvalid,
     "the hub gives no more detail for queries; for devices check the id, the size and the names of the tags"},
    {400005, "ArgumentNull", kInvalid, ""},
    {400006, "IotHubFormatError", kInvalid, ""},
    {400008, "BlobContainerValidationError", kInvalid,
     "the hub cannot use the blob container: its SAS needs read, write and delete, an identity the role Storage Blob "
     "Data Contributor"},
    {400011, "DeviceDefinedMultipleTimes", kInvalid, ""},
    {400012, "DeserializationError", kInvalid, ""},
    {400013, "BulkRegistryOperationFailure", kInvalid, ""},
    {401002, "IotHubUnauthorizedAccess", kDenied, ""},
    {403002, "IotHubQuotaExceeded", kInvalid,
     "the hub holds as many devices as it may, or its daily message quota is used up: add units or remove devices"},
    {403003, "JobQuotaExceeded", kUnavailable,
     "another import or export job is active; a hub runs one at a time, so wait until it ends"},
    {404001, "DeviceNotFound", kNotFound, ""},
    {404002, "JobNotFound", kNotFound, "hubs forget jobs after 30 days"},
    {404010, "ModuleNotFound", kNotFound, ""},
    {404103, "DeviceNotOnline", kNotFound, ""},
    {409001, "DeviceAlreadyExists", kConflict, ""},
    {409301, "ModuleAlreadyExistsOnDevice", kConflict, ""},
    {412001, "PreconditionFailed", kConflict, "somebody else changed it meanwhile: read it again"},
    {413001, "MessageTooLarge", kInvalid, ""},
    {413002, "TooManyDevices", kInvalid, "a bulk call takes at most 100 devices"},
    {429000, "GenericTooManyRequests", kThrottled, kSlowDown},
    {429001, "ThrottlingException", kThrottled, kSlowDown},
    {429002, "ThrottleBacklogLimitExceeded", kThrottled, kSlowDown},
    {429003, "ThrottlingBacklogTimeout", kThrottled, kSlowDown},
    {429004, "ThrottlingMaxActiveJobCountExceeded", kThrottled, kSlowDown},
    {429005, "DeviceThrottlingLimitExceeded", kThrottled, kSlowDown},
    {500001, "ServerError", kUnavailable, ""},
    {503001, "ServiceUnavailable", kUnavailable, ""},
}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::optional<int> number_in(std::string_view text) {
  int n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return n;
}

ErrorKind kind_of_status(int status) {
  switch (status) {
    case 401:
    case 403:
    case 407:
      return kDenied;
    case 404:
      return kNotFound;
    case 408:
      return kTimeout;
    case 409:
    case 412:
      return kConflict;
    case 429:
      return kThrottled;
    default:
      break;
  }
  if (status >= 500 && status < 600) return kUnavailable;
  return status >= 400 && status < 500 ? kInvalid : kCorrupt;
}

/// Hides what follows the names of secrets: services like to repeat a URL that they could not use.
std::string without_secrets(std::string_view text) {
  static constexpr std::array<std::string_view, 8> kNames{"sig=",       "sig%3d",       "accesskey", "accountkey",
                                                          "primarykey", "secondarykey", "bearer ",   "thumbprint"};
  std::string folded(text);
  std::transform(folded.begin(), folded.end(), folded.begin(), lower);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto name = std::find_if(kNames.begin(), kNames.end(),
                                   [&](std::string_view n) { return folded.compare(i, n.size(), n) == 0; });
    if (name == kNames.end()) {
      // Line breaks and other control characters would tear log lines.
      const auto c = static_cast<unsigned char>(text[i++]);
      out.push_back(c < 0x20 || c == 0x7f ? ' ' : static_cast<char>(c));
      continue;
    }
    out.append(text.substr(i, name->size()));
    i += name->size();
    const size_t value = std::min(text.find_first_not_of("\\\"':= ", i), text.size());
    out.append(text.substr(i, value - i));
    i = std::min(text.find_first_of("&\"'\\;,<> \r\n\t}", value), text.size());
    if (i > value) out += "***";
  }
  return out;
}

std::string shortened(std::string text) {
  if (text.size() <= kMaxText) return text;
  size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a character
  text.resize(end);
  return text + "...";
}

struct Told {
  std::string code;  // symbolic or a number
  std::string text;
  std::string tracking;
};

bool symbolic(std::string_view s) {
  return !s.empty() && s.size() <= 80 && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || c == '.';
  });
}

std::string text_of(const json::value* v) {
  if (!v) return {};
  if (v->is_string()) return std::string(v->get_string());
  if (v->is_int64()) return std::to_string(v->get_int64());
  return {};
}

void read_body(std::string_view body, int depth, Told& told) {
  const auto parsed = json::parse(body, "answer");
  if (!parsed || !parsed->is_object()) return;
  const json::object& o = parsed->get_object();
  if (const std::string code = text_of(json::find_ignoring_case(o, "errorCode")); symbolic(code)) told.code = code;
  if (std::string t = text_of(json::find_ignoring_case(o, "trackingId")); !t.empty()) told.tracking = std::move(t);
  if (std::string t = text_of(json::find_ignoring_case(o, "ExceptionMessage")); t.starts_with("Tracking ID:"))
    told.tracking = t.substr(12);
  std::string message = text_of(json::find_ignoring_case(o, "Message"));
  if (message.starts_with("ErrorCode:")) {
    const size_t end = std::min(message.find(';'), message.size());
    const std::string code = message.substr(10, end - 10);
    if (symbolic(code)) told.code = code;
    message.erase(0, std::min(end + 1, message.size()));
  }
  const size_t brace = message.find('{');
  if (brace != std::string::npos && depth < 2) {
    Told inner;
    read_body(std::string_view(message).substr(brace), depth + 1, inner);
    if (!inner.code.empty() || !inner.text.empty()) {
      if (!inner.code.empty()) told.code = inner.code;
      if (!inner.tracking.empty()) told.tracking = inner.tracking;
      message = inner.text;
    }
  }
  told.text = std::move(message);
}

std::string_view right_text(HubRight right) {
  switch (right) {
    case HubRight::kRegistryRead:
      return "reading devices needs RegistryRead (policies registryRead, registryReadWrite, iothubowner), with Entra "
             "ID "
             "the role IoT Hub Data Reader or IoT Hub Data Contributor";
    case HubRight::kRegistryWrite:
      return "changing devices and running jobs needs RegistryWrite (policies registryReadWrite, iothubowner), with "
             "Entra ID the role IoT Hub Data Contributor";
    case HubRight::kServiceConnect:
      return "twins and queries need ServiceConnect (policies service, iothubowner; registryReadWrite lacks it), with "
             "Entra ID the role IoT Hub Data Contributor";
  }
  return {};
}

std::string denied_advice(const http::Response& response, HubRight right, SystemTime now) {
  std::string out = fmt::format("check the key, its policy and the hub's name; {}", right_text(right));
  const auto ahead = clock_skew(response, now);
  if (!ahead || std::chrono::abs(*ahead) < kNoteworthySkew) return out;
  return out + fmt::format(". This machine's clock is {} {} the hub's, which spoils tokens: set it right",
                           format_duration(std::chrono::abs(*ahead)), ahead->count() > 0 ? "ahead of" : "behind");
}

}  // namespace

const HubCode* find_hub_code(std::string_view name_or_number) {
  const auto number = number_in(name_or_number);
  for (const HubCode& c : kCodes)
    if (number ? c.number == *number : same(c.name, name_or_number)) return &c;
  return nullptr;
}

ErrorKind hub_code_kind(std::string_view name_or_number) {
  if (const HubCode* known = find_hub_code(name_or_number)) return known->kind;
  const auto number = number_in(name_or_number);
  return number && *number >= 400'000 && *number < 600'000 ? kind_of_status(*number / 1000) : kInvalid;
}

Error hub_error(const http::Response& response, HubRight right, SystemTime now) {
  Told told;
  read_body(response.body, 0, told);
  const std::string_view header = response.header("iothub-errorcode");
  if (symbolic(header)) told.code = std::string(header);

  Error error;
  error.remote_status = response.status;
  error.retry_after = http::retry_after(response, now);
  error.request_id = std::string(response.header("x-ms-request-id"));
  if (error.request_id.empty()) error.request_id = told.tracking;
  const HubCode* known = find_hub_code(told.code);
  error.remote_code = known ? std::string(known->name) : told.code;
  error.kind = known ? known->kind : kind_of_status(response.status);
  if (response.status == 429) error.kind = kThrottled;
  if (response.status == 401) error.kind = kDenied;
  error.code = error.remote_code.empty() ? fmt::format("hub.http-{}", response.status) : "hub." + error.remote_code;
  if (response.status == 401) error.code = "hub.unauthorized";

  error.what = error.remote_code.empty() ? fmt::format("the answer is HTTP status {}", response.status)
                                         : fmt::format("{} {}", response.status, error.remote_code);
  const std::string text = shortened(without_secrets(told.text));
  if (!text.empty()) error.what += ": " + text;
  std::string advice = known ? std::string(known->advice) : std::string();
  if (response.status == 401) {
    advice = denied_advice(response, right, now);
  } else if (error.kind == kNotFound && !known) {
    // A hub names what it lacks. Gateways, proxies and front ends say 404 too, with pages, with JSON of their own and
    // with nothing at all: that says nothing about the device, so it must never count as "absent".
    error.kind = kCorrupt;
    advice = "this is not how an IoT Hub answers; check the host name, and whether a proxy answers in its place";
  } else if (told.code.empty() && told.text.empty() && !response.body.empty()) {
    if (error.kind == kConflict) error.kind = kCorrupt;
    advice = "this is not how an IoT Hub answers; check the host name, and whether a proxy answers in its place";
  } else if (error.kind == kCorrupt) {
    advice = "an IoT Hub does not answer like this; check the host name and the proxy";
  }
  if (!advice.empty()) error.what += "; " + advice;
  return error;
}

}  // namespace twinstep::azure
