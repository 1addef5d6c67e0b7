#pragma once

#include <string_view>

#include "twinstep/plan/plan_file.h"

/// The parts of a plan file, for its writer and its reader.
namespace twinstep::plan {

// How the members lie in the file. The digest has the last line for itself, so that `head -n -1 plan.json | sha256sum`
// tells it.
inline constexpr std::string_view kChangesBegin = "\"changes\":[";
inline constexpr std::string_view kChangesEnd = "],";
inline constexpr std::string_view kTailBegin = "\"sha256\":\"";
inline constexpr std::string_view kTailEnd = "\"}\n";

/// As to_json(Change). Errors  kCorrupt: the change's tags are no JSON object.
Result<json::object> change_object(const Change& change);

/// {"ok":...,"deletesPermitted":...,"updatesPermitted":...,"tripped":[{"rule","found","limit","text"}]}
json::object verdict_object(const Verdict& verdict);
/// [{"kind","side","deviceId","place","text"}]
json::array problems_array(const std::vector<Problem>& problems);
json::array texts_array(const std::vector<std::string>& texts);

/// Members up to and without "changes", in the order of the file.
json::object head_object(const PlanHead& head);
/// Errors  kCorrupt naming the member.
Result<PlanHead> head_from(const json::object& o);

}  // namespace twinstep::plan
