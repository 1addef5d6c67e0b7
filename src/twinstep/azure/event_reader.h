#pragma once

#include <simdjson.h>

#include <optional>
#include <string>
#include <string_view>

#include "twinstep/json/canonical.h"

namespace twinstep::azure {

/// The members of one event that matter, as they stand in the text. Empty = absent. Views are good until the reader
/// reads again.
struct EventMembers {
  // Event Grid schema, and what CloudEvents calls the same.
  std::string_view id, subject;
  std::string_view event_type, topic, event_time;
  std::string_view spec_version, type, source, time;

  struct Data {
    std::string_view hub_name, device_id, op_type;
    std::string_view validation_code, validation_url;
    std::string_view etag;
    std::optional<uint64_t> version;
    std::string tags, desired;  ///< canonical JSON
    std::string wrong;          ///< what is wrong with a member here; empty = nothing
  } data;
  std::string wrong;  ///< likewise, outside of data
};

/// Reads single events with simdjson.
///
/// Threads  one thread at a time; make one per thread. Reuses its buffers.
class EventReader {
 public:
  /// Reads an event into members(). `text` is followed by SIMDJSON_PADDING readable bytes.
  /// Returns what is wrong with the JSON; members() then holds what came before. nullptr = nothing.
  const char* read_event(std::string_view text);
  /// Likewise a `data` member that comes alone, as the body of CloudEvents' binary mode.
  const char* read_data(std::string_view text);

  EventMembers& members() { return members_; }

 private:
  simdjson::error_code event_member(std::string_view name, simdjson::ondemand::value v);
  simdjson::error_code data(simdjson::ondemand::value v);
  simdjson::error_code data_member(std::string_view name, simdjson::ondemand::value v);
  simdjson::error_code twin_member(std::string_view name, simdjson::ondemand::value v);
  simdjson::error_code section(simdjson::ondemand::value v, std::string_view name, std::string& out);

  simdjson::ondemand::parser parser_;
  json::Canonicalizer canonicalizer_;
  EventMembers members_;
};

}  // namespace twinstep::azure
