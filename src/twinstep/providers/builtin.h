#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "twinstep/base/rng.h"
#include "twinstep/http/client.h"
#include "twinstep/providers/definition.h"

namespace twinstep::providers {

/// Names of the definitions that are part of the program, sorted.
std::vector<std::string> builtin_names();

/// Loads a definition by name, without case ("Actility" is "actility"), or from a file when `name_or_path` holds a
/// slash or ends in .yaml, .yml or .json. Errors  kInvalid "provider.unknown" with the nearest name; those of
/// parse_definition(); kNotFound, kDenied for files.
Result<Definition> load_definition(const std::string& name_or_path);

/// Checks the settings, fills defaults, and opens the registry that the definition describes. The definition is copied;
/// `transport`, `clock` and `rng` outlive the registry. `transport` sends each request once: repeating and signing
/// happen inside.
/// Errors  kInvalid "provider.missing-settings" naming all of them with their environment variables,
///         "provider.unknown-setting" with the nearest name, "provider.bad-setting".
Result<std::unique_ptr<ExternalRegistry>> open(const Definition& definition, std::map<std::string, Secret> settings,
                                               http::Client& transport, Clock& clock, Rng& rng);

}  // namespace twinstep::providers
