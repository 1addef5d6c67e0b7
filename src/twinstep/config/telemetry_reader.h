#pragma once

#include <functional>

#include "twinstep/config/config.h"
#include "twinstep/config/values.h"
#include "twinstep/yaml/document.h"

namespace twinstep::config {

/// Read `telemetry:` (its section `otlp` is given to `read_otlp`) and one entry of `notices:`. Complaints go to
/// `diagnostics` with their place; the result counts only while it is ok. Blocking: reads the files that secrets refer
/// to. Errors: "telemetry.*", "notice.*" and those of KeyReader.
twinstep::telemetry::TelemetryOptions read_telemetry(const yaml::Node& node, yaml::Diagnostics& diagnostics,
                                                     const EnvironmentLookup& environment,
                                                     const std::function<void(const yaml::Node&)>& read_otlp);
twinstep::telemetry::NoticeOptions read_notice(const yaml::Node& node, yaml::Diagnostics& diagnostics,
                                               const EnvironmentLookup& environment);

}  // namespace twinstep::config
