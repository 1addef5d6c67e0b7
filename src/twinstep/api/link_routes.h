#pragma once

#include "twinstep/api/api.h"

namespace twinstep::api {

/// GET /api/v1/links, GET /api/v1/links/{link}, POST /api/v1/links/{link}/runs,
/// GET /api/v1/lanes, POST /api/v1/lanes/{lane}/resume
void add_link_routes(Router& router, const ApiDeps& deps);

}  // namespace twinstep::api
