#include "twinstep/azure/event_grid.h"

#include <xxhash.h>

#include "twinstep/azure/event_reader.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"
#include "twinstep/http/text.h"

namespace twinstep::azure {
namespace {

namespace ondemand = simdjson::ondemand;
using http::same_name;

constexpr std::string_view kCreated = "Microsoft.Devices.DeviceCreated";
constexpr std::string_view kDeleted = "Microsoft.Devices.DeviceDeleted";
constexpr std::string_view kValidation = "Microsoft.EventGrid.SubscriptionValidationEvent";
constexpr size_t kMaxIdBytes = 256;
constexpr size_t kMaxTopicBytes = 1024;

bool plain(std::string_view text, size_t most) {
  if (text.size() > most) return false;
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  return true;
}

/// For people: at most 64 printable characters.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 64));
  for (char& c : out)
    if (c < 0x20 || c > 0x7e) c = '?';
  return out;
}

bool starts_without_case(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && same_name(text.substr(0, start.size()), start);
}

std::string hash_of(std::string_view text) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, XXH3_128bits(text.data(), text.size()));
  return hex_encode({reinterpret_cast<const char*>(bytes.digest), sizeof bytes.digest});
}

std::string content_hash(const RegistryEvent& event, std::string_view time) {
  std::string text;
  std::string hub = event.hub;
  for (char& c : hub) c = http::lower(c);
  for (const std::string_view part :
       {std::string_view(event.type), std::string_view(hub), std::string_view(event.device.value), time,
        std::string_view(event.etag), std::string_view(event.tags), std::string_view(event.desired)}) {
    text += fmt::format("{}:", part.size());  // so that no part runs into the next
    text += part;
  }
  if (event.version) text += fmt::format("{}", *event.version);
  return hash_of(text);
}

std::string_view first_of(std::string_view a, std::string_view b) { return a.empty() ? b : a; }

std::string_view hub_of(const EventMembers& m, std::string_view topic) {
  if (!m.data.hub_name.empty()) return m.data.hub_name;
  while (topic.ends_with('/')) topic.remove_suffix(1);
  return topic.substr(topic.rfind('/') + 1);  // npos + 1 = 0: a topic without slash is the name
}

std::string_view device_of(const EventMembers& m) {
  constexpr std::string_view kPrefix = "devices/";
  if (!m.data.device_id.empty()) return m.data.device_id;
  return starts_without_case(m.subject, kPrefix) ? m.subject.substr(kPrefix.size()) : std::string_view();
}

/// Fills `event`; returns why it cannot be acted on, empty = it can.
std::string judge(EventMembers& m, RegistryEvent& event) {
  const bool cloud = !m.spec_version.empty();
  std::string_view type = cloud ? first_of(m.type, m.event_type) : first_of(m.event_type, m.type);
  const std::string_view topic = cloud ? first_of(m.source, m.topic) : first_of(m.topic, m.source);
  const std::string_view time = cloud ? first_of(m.time, m.event_time) : first_of(m.event_time, m.time);
  std::string from_operation;
  if (type.empty() && !m.data.op_type.empty()) {
    from_operation = fmt::format("Microsoft.Devices.{}", m.data.op_type);
    type = from_operation;
  }
  if (!m.wrong.empty()) return m.wrong;
  if (m.id.empty()) return "id is missing";
  if (!plain(m.id, kMaxIdBytes)) return "id is longer than 256 bytes or holds control characters";
  if (cloud && !m.spec_version.starts_with("1.")) return "specversion is not 1.0";
  if (type.empty()) return "the event's type is missing";
  if (!plain(type, kMaxIdBytes)) return "the event's type is longer than 256 bytes or holds control characters";
  event.id = m.id;
  event.type = type;
  if (same_name(type, kCreated)) {
    event.kind = RegistryEvent::Kind::kCreated;
    event.type = kCreated;
  } else if (same_name(type, kDeleted)) {
    event.kind = RegistryEvent::Kind::kDeleted;
    event.type = kDeleted;
  }
  const bool matters = event.kind != RegistryEvent::Kind::kOther;
  const std::string_view hub = hub_of(m, topic);
  const std::string_view device = device_of(m);
  if (matters) {
    if (!m.data.wrong.empty()) return m.data.wrong;
    if (hub.empty()) return "neither data.hubName nor the topic names a hub";
    if (device.empty()) return "neither data.deviceId nor the subject names a device";
    if (!is_legal_hub_device_id(device)) return fmt::format("IoT Hub allows no device id '{}'", shown(device));
    if (!plain(hub, kMaxIdBytes) || !plain(topic, kMaxTopicBytes)) return "the hub's name or topic is not usable";
  }
  if (plain(hub, kMaxIdBytes)) event.hub = hub;
  if (plain(topic, kMaxTopicBytes)) event.topic = topic;
  if (is_legal_hub_device_id(device)) event.device = DeviceId(std::string(device));
  if (const auto read = parse_iso(time)) event.time = *read;
  event.tags = std::move(m.data.tags);
  event.desired = std::move(m.data.desired);
  event.version = m.data.version;
  if (plain(m.data.etag, kMaxIdBytes)) event.etag = m.data.etag;
  event.hash = content_hash(event, time);
  return {};
}

/// Adds what was read: an event, a validation or a bad event.
void add(EventMembers& m, const char* broken, std::string_view text, size_t index, EventDelivery& out) {
  RegistryEvent event;
  std::string reason =
      broken ? (m.data.wrong.empty() ? fmt::format("not valid JSON: {}", broken) : m.data.wrong) : judge(m, event);
  if (reason.empty()) {
    if (same_name(event.type, kValidation) && !m.data.validation_code.empty()) {
      out.purpose = EventDelivery::Purpose::kValidate;
      out.validation_code = m.data.validation_code;
      out.validation_url = m.data.validation_url;
    } else {
      out.events.push_back(std::move(event));
    }
    return;
  }
  BadEvent bad;
  bad.index = index;
  if (plain(m.id, kMaxIdBytes)) bad.id = m.id;
  bad.hub = shown(hub_of(m, first_of(m.topic, m.source)));
  bad.device = shown(device_of(m));
  bad.reason = std::move(reason);
  bad.hash = hash_of(text);
  out.bad.push_back(std::move(bad));
}

tl::unexpected<Error> malformed(std::string_view why) {
  return fail(ErrorKind::kInvalid, "events.malformed", fmt::format("the delivered events cannot be read: {}", why));
}

/// What one thread reads with.
struct Buffers {
  std::string text;  // the body with the padding that simdjson reads over
  ondemand::parser parser;
  EventReader reader;
  json::Canonicalizer canonicalizer;
  std::string scratch;
};

Status read_batch(Buffers& b, std::string_view body, EventDelivery& out) {
  ondemand::document document;
  const simdjson::padded_string_view view(body.data(), body.size(), body.size() + simdjson::SIMDJSON_PADDING);
  if (const auto error = b.parser.iterate(view).get(document)) return malformed(simdjson::error_message(error));
  ondemand::array events;
  if (const auto error = document.get_array().get(events)) return malformed(simdjson::error_message(error));
  size_t index = 0;
  for (auto element : events) {
    ondemand::value v;
    if (const auto error = std::move(element).get(v)) return malformed(simdjson::error_message(error));
    if (index == kMaxDeliveryEvents)
      return fail(ErrorKind::kInvalid, "events.too-many", fmt::format("more than {} events", kMaxDeliveryEvents));
    ondemand::json_type type;
    if (const auto error = v.type().get(type)) return malformed(simdjson::error_message(error));
    if (type == ondemand::json_type::object) {
      ondemand::object o;
      std::string_view raw;
      if (const auto error = v.get_object().get(o)) return malformed(simdjson::error_message(error));
      if (const auto error = o.raw_json().get(raw)) return malformed(simdjson::error_message(error));
      const char* broken = b.reader.read_event(raw);
      add(b.reader.members(), broken, raw, index, out);
    } else {
      b.scratch.clear();
      if (const Status read = b.canonicalizer.append(v, b.scratch); !read) return malformed(read.error().what);
      out.bad.push_back({index, {}, {}, {}, "the event is not an object", hash_of(b.scratch)});
    }
    ++index;
  }
  const char* rest = nullptr;
  if (!document.current_location().get(rest)) return malformed("text follows the events");
  return {};
}

bool is_binary(const http::ServerRequest& request) {
  return !starts_without_case(request.header("Content-Type"), "application/cloudevents") &&
         (!request.header("ce-specversion").empty() || !request.header("ce-id").empty());
}

}  // namespace

Result<EventDelivery> read_delivery(const http::ServerRequest& request) {
  thread_local Buffers b;
  EventDelivery out;
  const std::string_view asked = request.header("aeg-event-type");
  if (same_name(asked, "SubscriptionDeletion") || same_name(asked, "Unsubscribe")) {
    out.purpose = EventDelivery::Purpose::kUnsubscribe;
    return out;
  }
  if (request.body.size() > kMaxDeliveryBytes)
    return fail(ErrorKind::kInvalid, "events.too-large", fmt::format("more than {} bytes", kMaxDeliveryBytes));
  std::string_view body = request.body;
  if (body.starts_with("\xEF\xBB\xBF")) body.remove_prefix(3);
  const size_t begin = body.find_first_not_of(" \t\r\n");
  body = begin == std::string_view::npos ? std::string_view() : body.substr(begin);
  const bool binary = is_binary(request);
  if (binary && body.empty()) body = "null";  // data may be absent
  b.text.assign(body);
  b.text.append(simdjson::SIMDJSON_PADDING, ' ');
  body = std::string_view(b.text).substr(0, body.size());
  if (binary) {
    const char* broken = b.reader.read_data(body);
    if (broken) return malformed(broken);
    const std::string id = percent_decode(request.header("ce-id")), type = percent_decode(request.header("ce-type"));
    const std::string source = percent_decode(request.header("ce-source"));
    const std::string subject = percent_decode(request.header("ce-subject"));
    const std::string time = percent_decode(request.header("ce-time"));
    EventMembers& m = b.reader.members();
    m.id = id, m.type = type, m.source = source, m.subject = subject, m.time = time;
    m.spec_version = first_of(request.header("ce-specversion"), "1.0");
    add(m, nullptr, body, 0, out);
  } else if (body.starts_with('{')) {
    const char* broken = b.reader.read_event(body);
    if (broken && b.reader.members().data.wrong.empty()) return malformed(broken);
    add(b.reader.members(), broken, body, 0, out);
  } else if (body.starts_with('[')) {
    TRY(read_batch(b, body, out));
  } else {
    return malformed("neither a JSON object nor an array");
  }
  if (same_name(asked, "SubscriptionValidation") && out.purpose != EventDelivery::Purpose::kValidate)
    return malformed("a validation was announced and no validation code is there");
  // Event Grid sends a validation alone and announces it: one among events must not make them disappear.
  if (!same_name(asked, "SubscriptionValidation") && !(out.events.empty() && out.bad.empty()))
    out.purpose = EventDelivery::Purpose::kEvents;
  return out;
}

http::ServerResponse answer_delivery_options(const http::ServerRequest& request) {
  http::ServerResponse out;
  out.headers.push_back({"Allow", "POST, OPTIONS"});
  const std::string_view origin = request.header("WebHook-Request-Origin");
  constexpr std::string_view kHostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:";
  if (origin.empty() || origin.size() > 255 || origin.find_first_not_of(kHostCharacters) != std::string_view::npos)
    return out;
  out.headers.push_back({"WebHook-Allowed-Origin", std::string(origin)});
  out.headers.push_back({"WebHook-Allowed-Rate", "*"});  // too much is answered 503, which Event Grid obeys
  return out;
}

}  // namespace twinstep::azure
