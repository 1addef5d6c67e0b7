#pragma once

#include <string>
#include <vector>

#include "twinstep/workflows/link_context.h"

namespace twinstep::workflows {

struct CheckResult {
  std::string what;  ///< "hub contoso: read twins"
  bool ok = false;
  std::string detail;  ///< what was found, or the error
  std::string mend;    ///< what to do; empty when ok
};

/// Probes every remote of a link: reachability, credentials, each right that a synchronization needs, storage, the
/// external system's first page. Changes nothing but a blob container that it removes again; rights to write are tested
/// on a device id that does not exist.
std::vector<CheckResult> check_link(LinkContext& context, const Call& call);

}  // namespace twinstep::workflows
