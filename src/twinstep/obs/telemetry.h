#pragma once

#include "twinstep/obs/metrics.h"
#include "twinstep/obs/trace.h"

namespace twinstep::obs {

/// Where a daemon's parts tell what they do. Both outlive whoever is given them.
struct Telemetry {
  Metrics& metrics;
  Tracer& tracer;
};

}  // namespace twinstep::obs
