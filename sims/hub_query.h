#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/json/json.h"

namespace twinstep::sims {

/// The part of IoT Hub's query language that is known to work: SELECT * | projections | COUNT() AS n, FROM devices |
/// devices.modules | devices.jobs, WHERE with comparisons, IN, NIN, AND, OR, NOT and the type and text functions.
/// Source  azure.md 1.8.
class HubQuery {
 public:
  enum class Source { kDevices, kModules, kJobs };
  struct Node;

  /// Nothing when the text is not of that subset.
  static std::optional<HubQuery> parse(std::string_view text);

  bool plain() const { return !where && all(); }
  bool all() const { return !count && fields.empty(); }
  bool matches(const json::object& twin) const;
  json::object project(json::object twin) const;

  Source source = Source::kDevices;
  bool count = false;
  std::string count_name;
  struct Field {
    std::vector<std::string> path;
    std::string name;
  };
  std::vector<Field> fields;
  std::shared_ptr<const Node> where;
};

}  // namespace twinstep::sims
