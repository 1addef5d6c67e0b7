#pragma once

#include "twinstep/api/api.h"

namespace twinstep::api {

/// GET /api/v1/tasks, /{id}; POST /{id}/retry, /{id}/cancel; in bulk POST /api/v1/tasks:retry, :cancel
void add_task_routes(Router& router, const ApiDeps& deps);

}  // namespace twinstep::api
