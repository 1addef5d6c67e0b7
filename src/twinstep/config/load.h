#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/config/config.h"

namespace twinstep::config {

/// One effective value and where it came from, for `config show`. Secrets are shown as ***.
struct Effective {
  std::string name;
  std::string value;
  std::string origin;  ///< "twinstep.yaml:12:5", "environment iothub", "default"
};

struct Loaded {
  Config config;
  std::vector<Effective> values;
  std::vector<std::string> warnings;  ///< for people
};

struct LoadOptions {
  std::string file;  ///< from --config; empty: $TWINSTEP_CONFIG, else ./twinstep.yaml when it exists, else none
  std::map<std::string, std::string> environment;  ///< all variables, as the process has them
  std::string store;                               ///< from --store; wins over all
  std::string ca_file;                             ///< from --ca-file; wins over all
  /// Names of the settings that a provider's definition knows; an unknown provider is an error. Used to check
  /// `externals:`.
  std::function<Result<std::vector<std::string>>(const std::string& provider)> provider_settings;
};

/// The variables of this process.
std::map<std::string, std::string> process_environment();

/// Reads the configuration: flag, environment, file, default, in that order. Names of variables compare without case.
/// With variables alone there is one link, `default`: master external, hourly, scope owned, deletes delete, limits on.
///
/// Blocking  reads the configuration file and the files that secrets refer to.
/// Errors    kInvalid "config.*" and "yaml.*", every complaint with file, line and column or the variable's name, and
///           the nearest known name; kNotFound for a file that is not there.
Result<Loaded> load(const LoadOptions& options);

std::string_view to_string(Tier tier);
std::string_view to_string(Scope scope);
std::string_view to_string(Deletes deletes);
std::string to_string(const Limit& limit);

}  // namespace twinstep::config
