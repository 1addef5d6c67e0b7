#include "sims/hub_event.h"

#include <fmt/format.h>

#include <array>

#include "sims/hub_twin.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

constexpr std::array<std::pair<EventSchema, std::string_view>, 4> kNames{
    {{EventSchema::kEventGrid, "eventgrid"},
     {EventSchema::kEventGrid2018, "eventgrid-2018"},
     {EventSchema::kCloudEvents, "cloudevents"},
     {EventSchema::kCloudEventsBinary, "cloudevents-binary"}}};

constexpr std::string_view kAzureSubscription = "11111111-2222-3333-4444-555555555555";
constexpr std::string_view kJson = "application/json; charset=utf-8";

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

/// Seven digits of a second, as .NET writes them.
std::string event_time(SystemTime time, uint32_t last_digit) {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  std::string text = format_iso_seconds(second);
  text.pop_back();
  return fmt::format("{}.{:06}{}Z", text, (time - second).count(), last_digit % 10);
}

/// The twin as events show it: fewer members than over REST, and times without zone.
json::object event_twin(const HubEvent& event, bool current) {
  const json::object whole = twin_json(event.device_id, "", event.entity, false);
  json::object out;
  for (const auto& [key, v] : whole) {
    if (key == "capabilities" || key == "deviceScope" || key == "parentScopes" || key == "statusReason") continue;
    if (key == "deviceEtag") {
      if (current) out[key] = "null";
    } else if (key == "statusUpdateTime" || key == "lastActivityTime") {
      std::string_view text = v.as_string();
      if (text.ends_with('Z')) text.remove_suffix(1);
      out[key] = text;
    } else {
      out[key] = v;
    }
  }
  return out;
}

/// Attribute values in headers: space, quote, percent and everything that is not printable ASCII is escaped.
std::string header_value(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c > ' ' && c <= '~' && c != '"' && c != '%')
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

EventMessage binary(const std::string& event) {
  const json::object o = json::parse(event, "event")->as_object();
  EventMessage out;
  out.headers.push_back({"Content-Type", std::string(kJson)});
  for (const auto& [key, v] : o)
    if (v.is_string()) out.headers.push_back({"ce-" + std::string(key), header_value(v.as_string())});
  out.body = json::write(*o.if_contains("data"));
  return out;
}

std::vector<http::Header> grid_headers(std::string_view data_version, std::string_view kind) {
  return {{"Content-Type", std::string(kJson)},
          {"aeg-event-type", std::string(kind)},
          {"aeg-data-version", std::string(data_version)},
          {"aeg-metadata-version", "1"}};
}

}  // namespace

std::string_view to_string(EventSchema schema) {
  for (const auto& [value, name] : kNames)
    if (value == schema) return name;
  return {};
}

std::optional<EventSchema> schema_named(std::string_view name) {
  for (const auto& [value, known] : kNames)
    if (known == name) return value;
  return std::nullopt;
}

EventSource event_source(std::string_view hub_host) {
  EventSource out;
  out.hub_name = std::string(hub_host.substr(0, hub_host.find('.')));
  out.subscription = fmt::format("/subscriptions/{}", kAzureSubscription);
  out.topic = fmt::format("{}/RESOURCEGROUPS/TWINSTEP/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/{}", upper(out.subscription),
                          upper(out.hub_name));
  return out;
}

std::string_view event_type(HubChange change) {
  return change == HubChange::kCreated ? "Microsoft.Devices.DeviceCreated" : "Microsoft.Devices.DeviceDeleted";
}

std::string new_guid() {
  const std::string h = Rng::real().hex_id();
  return fmt::format("{}-{}-{}-{}-{}", h.substr(0, 8), h.substr(8, 4), h.substr(12, 4), h.substr(16, 4), h.substr(20));
}

Entity shown_in_event(HubChange change, const Entity& entity, bool with_tags) {
  Entity out = entity;
  if (out.extras) {
    out.extras->modules.clear();
    out.extras->primary_key.clear();
    out.extras->secondary_key.clear();
  }
  if (change == HubChange::kDeleted) return out;
  if (!with_tags) out.tags.clear();
  out.desired.clear();
  if (out.extras) {
    out.extras->desired_meta.clear();
    out.extras->reported.clear();
  }
  return out;
}

json::object event_json(const HubEvent& event, EventSchema schema, const EventSource& source) {
  const bool old = schema == EventSchema::kEventGrid2018;
  const std::string time = event_time(event.time, event.last_digit);
  const std::string subject = "devices/" + event.device_id;
  const std::string_view type = event_type(event.change);
  json::object data{{"twin", event_twin(event, !old)}, {"hubName", source.hub_name}, {"deviceId", event.device_id}};
  if (old) {
    data["operationTimestamp"] = time;
    data["opType"] = type.substr(type.rfind('.') + 1);
  }
  if (is_cloud_events(schema))
    return {{"specversion", "1.0"}, {"id", event.id}, {"source", source.topic}, {"subject", subject},
            {"type", type},         {"time", time},   {"data", std::move(data)}};
  return {{"id", event.id},
          {"topic", source.topic},
          {"subject", subject},
          {"eventType", type},
          {"eventTime", time},
          {"data", std::move(data)},
          {"dataVersion", old ? "" : "1"},
          {"metadataVersion", "1"}};
}

EventMessage notification(const std::vector<std::string>& events, EventSchema schema, bool batched) {
  if (schema == EventSchema::kCloudEventsBinary) {
    EventMessage out = binary(events.front());
    out.headers.push_back({"aeg-event-type", "Notification"});
    out.headers.push_back({"aeg-metadata-version", "1.0"});
    return out;
  }
  EventMessage out;
  const bool cloud = schema == EventSchema::kCloudEvents;
  if (cloud)
    out.headers = {{"Content-Type", batched ? "application/cloudevents-batch+json; charset=utf-8"
                                            : "application/cloudevents+json; charset=utf-8"},
                   {"aeg-event-type", "Notification"},
                   {"aeg-metadata-version", "1.0"}};
  else
    out.headers = grid_headers(schema == EventSchema::kEventGrid ? "1" : "", "Notification");
  if (cloud && !batched) {
    out.body = events.front();
    return out;
  }
  for (const std::string& event : events) {
    out.body += out.body.empty() ? '[' : ',';
    out.body += event;
  }
  out.body += ']';
  return out;
}

EventMessage validation(const EventSource& source, SystemTime now, const std::string& code, const std::string& url) {
  const json::object event{{"id", new_guid()},
                           {"topic", source.subscription},
                           {"subject", ""},
                           {"eventType", "Microsoft.EventGrid.SubscriptionValidationEvent"},
                           {"eventTime", event_time(now, 0)},
                           {"data", json::object{{"validationCode", code}, {"validationUrl", url}}},
                           {"dataVersion", "2"},
                           {"metadataVersion", "1"}};
  return {grid_headers("2", "SubscriptionValidation"), json::write(json::array{event})};
}

EventMessage deletion(const EventSource& source, SystemTime now, const std::string& subscription, EventSchema schema) {
  constexpr std::string_view kType = "Microsoft.EventGrid.SubscriptionDeletedEvent";
  const json::object data{{"eventSubscriptionId", fmt::format("{}/providers/Microsoft.EventGrid/eventSubscriptions/{}",
                                                              source.topic, subscription)}};
  const std::string time = event_time(now, 0);
  EventMessage out;
  if (!is_cloud_events(schema)) {
    const json::object event{{"id", new_guid()},   {"topic", source.topic}, {"subject", ""},
                             {"eventType", kType}, {"eventTime", time},     {"data", data},
                             {"dataVersion", "1"}, {"metadataVersion", "1"}};
    return {grid_headers("1", "SubscriptionDeletion"), json::write(json::array{event})};
  }
  const json::object event{{"specversion", "1.0"}, {"id", new_guid()}, {"source", source.topic},
                           {"type", kType},        {"time", time},     {"data", data}};
  out = notification({json::write(event)}, schema, false);
  for (http::Header& h : out.headers)
    if (h.name == "aeg-event-type") h.value = "SubscriptionDeletion";
  return out;
}

}  // namespace twinstep::sims
