#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "sims/hub_event.h"
#include "twinstep/base/result.h"

namespace twinstep::sims {

/// What a subscription may be told, with Event Grid's limits.
///
///   name                           letters, digits and hyphens, up to 64
///   endpoint                       http or https address with its query; Event Grid itself takes only https
///   schema                         eventgrid, eventgrid-2018, cloudevents, cloudevents-binary
///   maxEventsPerBatch              1 to 5000, preferredBatchSizeInKilobytes 1 to 1024; 1 = batching is off
///   maxDeliveryAttempts            1 to 30, eventTimeToLiveInMinutes 1 to 1440, deadLetter true or false
///   eventTypes                     array; absent = both
///   headers                        object, up to 10 headers that every request carries
///   duplicates, reorder, delayMs   shares of events sent twice or held back up to five seconds; longest random delay
///   keepTrying                     the handshake is repeated until the endpoint is there
struct SubscriptionSettings {
  std::string name, endpoint;
  EventSchema schema = EventSchema::kEventGrid;
  int batch = 1;
  size_t batch_bytes = 64 << 10;
  int attempts = 30;
  std::chrono::minutes time_to_live{1440};
  bool dead_letter = false;
  bool created = true, deleted = true;  ///< which events are wanted
  std::vector<http::Header> headers;
  double duplicates = 0, reorder = 0;
  std::chrono::milliseconds delay{0};
  bool keep_trying = false;

  bool wants(HubChange change) const { return change == HubChange::kCreated ? created : deleted; }
};

/// Errors  kInvalid naming the member.
Result<SubscriptionSettings> subscription_settings(const json::object& given);

/// What follows --subscribe: an address, an address after `schema=...,batch=...,name=...,`, or a JSON object. Keeps
/// trying unless the object says otherwise; without a name it is called after `number`.
Result<SubscriptionSettings> subscription_argument(std::string_view text, size_t number);

}  // namespace twinstep::sims
