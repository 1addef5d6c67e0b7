#pragma once

#include <string_view>

#include "twinstep/api/router.h"

namespace twinstep::api {

/// The OpenAPI 3.1 description of every route of add_api_routes(): openapi.json beside this file.
std::string_view openapi_text();

/// GET /openapi.json and GET /api/v1/openapi.json
void add_openapi_routes(Router& router);

}  // namespace twinstep::api
