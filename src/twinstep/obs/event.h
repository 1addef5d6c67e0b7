#pragma once

#include <string>
#include <utility>
#include <vector>

#include "twinstep/base/clock.h"

namespace twinstep::obs {

/// Something that happened and that people count, search and are told of: docs/events.md has the table of all names.
struct Event {
  std::string name;
  SystemTime time{};
  std::vector<std::pair<std::string, std::string>> properties{};  ///< in the order in which they are shown; no secrets
  std::vector<std::pair<std::string, double>> measurements{};
  std::string operation{};  ///< what belongs together, 32 lower-case hex digits: the workflow's or trace's id; may be
                            ///< empty
};

/// Where events go.
///
/// Threads   emit() from any thread.
/// Blocking  never. What cannot be taken is dropped and counted.
/// Errors    none: telemetry must not fail a synchronization.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void emit(const Event& event) noexcept = 0;
};

}  // namespace twinstep::obs
