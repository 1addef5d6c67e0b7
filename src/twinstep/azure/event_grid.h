#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/ids.h"
#include "twinstep/http/server.h"

/// What Event Grid sends to a webhook, read into values. Nothing here waits, stores or answers.
///
/// Source  azure.md 2 (Event Grid event schema, IoT Hub events, CloudEvents 1.0 and its HTTP webhook text).
namespace twinstep::azure {

/// Event Grid cuts batches at 1024 KB of events; brackets and commas come on top, and a refused body is lost for good.
constexpr size_t kMaxDeliveryBytes = (1024 + 64) * 1024;
constexpr size_t kMaxDeliveryEvents = 5000;

/// One event about a device of a hub. A hint that something changed, not an order: events repeat and overtake.
struct RegistryEvent {
  enum class Kind {
    kCreated,
    kDeleted,
    kOther,  ///< of no concern to a registry (connected, telemetry, ...); only id and type are sure to be there
  };

  std::string id;    ///< 1 to 256 bytes without control characters; the same in a repetition
  std::string type;  ///< "Microsoft.Devices.DeviceCreated"; with the prefix also when only opType told it
  Kind kind = Kind::kOther;
  std::string topic;                ///< resource id of the hub, in whatever case
  std::string hub;                  ///< data.hubName, else the topic's last segment; compares without case
  DeviceId device;                  ///< data.deviceId, else what follows "devices/" in the subject; legal in IoT Hub
  std::optional<SystemTime> time;   ///< of the change, when it can be read
  std::string tags;                 ///< data.twin.tags as canonical JSON object; empty = the event carries none
  std::string desired;              ///< data.twin.properties.desired, likewise
  std::optional<uint64_t> version;  ///< data.twin.version
  std::string etag;                 ///< data.twin.etag
  /// 32 hex digits: XXH3 of what the event says (all of the above but id and topic; hub without case). Events with one
  /// id and one hash are repetitions, whatever the schema and the order of members.
  std::string hash;
};

/// An event that cannot be acted on. It does not hold up the others of its batch.
struct BadEvent {
  size_t index = 0;    ///< in the batch, from 0
  std::string id;      ///< empty when it cannot be read
  std::string hub;     ///< likewise
  std::string device;  ///< as written, shortened and made printable; for people
  std::string reason;  ///< for people: "data.deviceId is not a text"
  std::string hash;    ///< 32 hex digits: XXH3 of the event's text
};

/// What one POST wants.
struct EventDelivery {
  enum class Purpose {
    kEvents,
    kValidate,     ///< answer 200 with {"validationResponse": validation_code}
    kUnsubscribe,  ///< the subscription was deleted; the body says nothing of use
  };
  Purpose purpose = Purpose::kEvents;
  std::string validation_code;
  std::string validation_url;  ///< to be looked up by hand instead; may be empty
  std::vector<RegistryEvent> events;
  std::vector<BadEvent> bad;
};

/// Reads a POST: Event Grid schema (current, and the older one with data.opType) and CloudEvents 1.0 structured or
/// batched, as object or array under any content type; CloudEvents binary mode when there are ce- headers.
///
/// Names of members compare without case; of repeated ones the last counts; unknown ones are passed over, whatever
/// they hold, as long as their brackets and quotes close. null counts as absent. A byte order mark is skipped.
/// A used member of another type, a device id that IoT Hub does not allow, control characters in ids, half surrogates
/// and tags or desired properties nested deeper than 64 levels make a bad event. Time, version and etag only inform:
/// what cannot be read of them is left out. Numbers in tags may have any size. Subjects are taken as they are, because
/// '%' is legal in device ids.
///
/// Threads   any; each keeps buffers as large as the largest body it has read (at most about 8 MB).
/// Errors    kInvalid. "events.malformed": not JSON, not UTF-8, neither object nor array, or a validation
///           that its header announced and that has no code;
///           "events.too-large": over kMaxDeliveryBytes; "events.too-many": over kMaxDeliveryEvents.
Result<EventDelivery> read_delivery(const http::ServerRequest& request);

/// The answer to the OPTIONS request with which CloudEvents asks for permission to send. Agrees with any origin that is
/// a host name: who may ask is for the caller to decide before. A callback address is not used: the answer comes at
/// once, and calling addresses that strangers name is not our business. Without a usable origin nothing is granted.
http::ServerResponse answer_delivery_options(const http::ServerRequest& request);

}  // namespace twinstep::azure
