#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sims/hub_model.h"
#include "twinstep/http/client.h"

/// The events of a hub as Event Grid puts them on the wire.
/// Source  azure.md 2.1 and 2.2
namespace twinstep::sims {

enum class EventSchema : uint8_t {
  kEventGrid,          ///< what is published today
  kEventGrid2018,      ///< the older form: `data.opType`, empty dataVersion
  kCloudEvents,        ///< CloudEvents 1.0, structured; an array when the subscription batches
  kCloudEventsBinary,  ///< CloudEvents 1.0, attributes as ce- headers, one event a request
};
std::string_view to_string(EventSchema schema);  ///< eventgrid, eventgrid-2018, cloudevents, cloudevents-binary
std::optional<EventSchema> schema_named(std::string_view name);
inline bool is_cloud_events(EventSchema s) {
  return s == EventSchema::kCloudEvents || s == EventSchema::kCloudEventsBinary;
}

/// Whose events they are.
struct EventSource {
  std::string topic;         ///< resource id of the hub, upper case
  std::string hub_name;      ///< first label of its host name
  std::string subscription;  ///< "/subscriptions/..." of the Azure subscription
};
EventSource event_source(std::string_view hub_host);

/// One device came or went.
struct HubEvent {
  std::string id;  ///< GUID, the same in every delivery of the event
  HubChange change = HubChange::kCreated;
  std::string device_id;
  Entity entity;  ///< what the twin in the event shows
  SystemTime time;
  uint32_t last_digit = 0;  ///< the seventh digit of the time's fraction, which the clock does not have
};
std::string_view event_type(HubChange change);  ///< "Microsoft.Devices.DeviceCreated" or "...DeviceDeleted"
std::string new_guid();

/// What a created device's event knows of it: the default twin, with the tags only when `with_tags`; of a deleted one
/// all that was known. Never keys.
Entity shown_in_event(HubChange change, const Entity& entity, bool with_tags);

/// The event by itself. For kCloudEventsBinary as it would be in structured mode.
json::object event_json(const HubEvent& event, EventSchema schema, const EventSource& source);

/// A request's content: headers and body, without those that belong to the subscription.
struct EventMessage {
  std::vector<http::Header> headers;
  std::string body;
};
/// `events` are the texts of event_json; `batched` says whether the subscription has batching on.
EventMessage notification(const std::vector<std::string>& events, EventSchema schema, bool batched);
/// The event that asks an endpoint for `code`.
EventMessage validation(const EventSource& source, SystemTime now, const std::string& code, const std::string& url);
/// The event that tells an endpoint that its subscription is gone.
EventMessage deletion(const EventSource& source, SystemTime now, const std::string& subscription, EventSchema schema);

}  // namespace twinstep::sims
