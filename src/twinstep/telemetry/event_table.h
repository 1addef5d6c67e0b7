#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace twinstep::telemetry {

/// One kind of event: what its name is, when it is sent, and the only properties and measurements it may carry.
/// docs/events.md is this very table (a test compares them).
struct EventKind {
  std::string_view name;
  std::string_view when;
  std::vector<std::string_view> properties;
  std::vector<std::string_view> measurements = {};
};

/// The sample's twelve first, then our own.
std::span<const EventKind> event_table();
const EventKind* find_event(std::string_view name);

}  // namespace twinstep::telemetry
