#pragma once

#include <string>

#include "twinstep/plan/plan_file.h"

/// The JSON members of a plan, apart from how they lie in the file.
namespace twinstep::plan {

/// As to_json(Change). Errors  kCorrupt: the change's tags are no JSON object.
Result<json::object> change_object(const Change& change);

/// Members up to and without "changes", in the order of the file.
json::object head_object(const PlanHead& head);
/// Errors  kCorrupt naming the member.
Result<PlanHead> head_from(const json::object& o);

}  // namespace twinstep::plan
