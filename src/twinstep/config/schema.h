#pragma once

#include <string>

namespace twinstep::config {

/// JSON Schema (draft 2020-12) of the configuration file, for editors.
std::string json_schema();

}  // namespace twinstep::config
