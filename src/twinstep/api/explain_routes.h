#pragma once

#include "twinstep/api/api.h"

namespace twinstep::api {

/// GET /api/v1/explain/{device}
void add_explain_routes(Router& router, const ApiDeps& deps);

/// What is known of one device in one link.
struct DeviceFacts {
  const config::Link& link;
  const DeviceSides& sides;
  std::optional<store::Workflow> active;  ///< its task at work
  std::optional<store::Workflow> last;    ///< its newest task that has ended
  std::optional<store::Pause> pause;      ///< of the external system's lane
  std::optional<SystemTime> next_run;
};
/// One sentence: what it waits for and why, or how it stands.
std::string why(const DeviceFacts& facts);

}  // namespace twinstep::api
