#pragma once

#include "twinstep/config/config.h"
#include "twinstep/yaml/document.h"

namespace twinstep::config {

/// Reads one entry of `links:`. Complaints go to `diagnostics` with their place; the result counts only while it is ok.
/// Does not check that the hub and the external exist.
/// Threads: pure function. Errors: "config.deletes-missing", "config.bad-limit" and those of Cron::parse
/// and yaml::MapReader.
Link read_link(const yaml::Node& node, yaml::Diagnostics& diagnostics);

}  // namespace twinstep::config
