#pragma once

#include <algorithm>

#include "twinstep/config/environment.h"
#include "twinstep/config/load.h"
#include "twinstep/config/values.h"

namespace twinstep::config {

/// A configuration while it is read: what is known of it so far, and where that came from.
struct Draft {
  explicit Draft(const LoadOptions& options_in) : options(options_in), environment(options_in.environment) {}
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const LoadOptions& options;
  const Environment environment;
  const EnvironmentLookup lookup = [this](std::string_view name) { return environment.get(name); };
  Loaded loaded{};
  std::vector<std::string> warnings{};          ///< of file and environment
  std::map<std::string, std::string> origin{};  ///< of a value or of the section that it is in; absent = default
  bool facade_asked_for = false;                ///< somebody wrote that it is to be on

  void set_ca_file(const std::string& path, std::string from);
  /// Errors  those of resolve_secret() and check_store(), after `from`.
  Status set_store(const std::string& text, const std::string& from);
};

/// Puts what a file says into the draft. Errors  every complaint in one text, each with its place.
Status read_file(Draft& draft, const std::string& path);

/// Puts on top of it what the variables say, and what the command line says. Errors  the variable's name and what is
/// wrong with it.
Status read_environment(Draft& draft);

/// Every effective value with its origin, for people. Secrets are `***`.
std::vector<Effective> describe(const Draft& draft);

/// The address for traces below that of a collector.
std::string traces_endpoint(std::string collector);

/// The one of that name, compared without case, or the end.
template <class List>
auto by_name(List& list, std::string_view name) {
  return std::find_if(list.begin(), list.end(), [&](const auto& one) { return same_name(one.name, name); });
}

}  // namespace twinstep::config
