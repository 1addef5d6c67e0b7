#pragma once

#include <string>
#include <vector>

#include "twinstep/workflows/link_context.h"

namespace twinstep::workflows {

struct CheckResult {
  std::string what;  ///< "hub contoso: read twins"
  bool ok = false;
  std::string detail;    ///< what was found, or the error
  std::string mend;      ///< what to do; empty when there is nothing to do
  bool warning = false;  ///< it works, but with more rights than it needs
};

/// Probes every remote of a link: reachability, credentials, each right that this link needs and those that it has
/// beyond, storage, the external system's first page. Changes nothing but a blob container that it removes again:
/// rights to write are tested on a device that does not exist (with If-Match, which makes no device), the right to
/// start jobs with a container that does not exist.
std::vector<CheckResult> check_link(LinkContext& context, const Call& call);

}  // namespace twinstep::workflows
