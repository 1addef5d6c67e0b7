#pragma once

#include "twinstep/api/api.h"

namespace twinstep::api {

/// /api/v1/keys: list, make, revoke and rotate, all of Scope::kAdmin. The text of a key is answered once, by what made
/// it. An admin key can make keys of every scope.
void add_key_routes(Router& router, const ApiDeps& deps);

}  // namespace twinstep::api
