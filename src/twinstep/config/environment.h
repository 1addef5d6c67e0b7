#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::config {

/// Environment variables by name without case, as the sample's host looked them up.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& all);

  /// The variable's value; an empty value counts as not set.
  std::optional<std::string> get(std::string_view name) const;
  /// A whole number; below `least` it is raised to `least` with a warning, as the sample did.
  /// Errors  kInvalid "config.environment" naming the variable.
  Result<std::optional<int>> integer(std::string_view name, int least, std::vector<std::string>& warnings) const;
  Result<std::optional<bool>> boolean(std::string_view name) const;
  /// Every variable whose name begins with `prefix` (without case): the rest of the name, and the value.
  std::vector<std::pair<std::string, std::string>> with_prefix(std::string_view prefix) const;
  /// Warnings about variables that look like misspelt names of ours.
  std::vector<std::string> near_misses() const;

 private:
  std::map<std::string, std::pair<std::string, std::string>> values_;  // lower-case name -> name as set, value
};

/// All variable names that mean something to twinstep, `iothub_<name>` apart.
const std::vector<std::string>& known_variables();

}  // namespace twinstep::config
