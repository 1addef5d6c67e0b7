#pragma once

#include "twinstep/api/api.h"

namespace twinstep::api {

/// GET /api/v1/runs, /{id}, /{id}/devices, /{id}/plan; POST /{id}/approve, /reject, /cancel, /retry
void add_run_routes(Router& router, const ApiDeps& deps);

/// Lets a blocked run go on with the plan that it is blocked with and that `plan` names, or ends it.
/// Errors  kInvalid "api.bad-body" without a plan; kConflict "store.not-blocked", "api.other-plan"; kNotFound
///         "store.unknown".
Status approve_run(store::WorkflowStore& store, const store::WorkflowId& id, std::string_view plan, std::string_view by,
                   const Call& call);
Status reject_run(store::WorkflowStore& store, const store::WorkflowId& id, std::string_view by, const Call& call);

}  // namespace twinstep::api
