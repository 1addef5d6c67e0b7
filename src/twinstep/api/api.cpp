#include "twinstep/api/api.h"

#include "twinstep/api/durable_functions.h"
#include "twinstep/api/explain_routes.h"
#include "twinstep/api/key_routes.h"
#include "twinstep/api/link_routes.h"
#include "twinstep/api/openapi.h"
#include "twinstep/api/run_routes.h"
#include "twinstep/api/task_routes.h"

namespace twinstep::api {

void add_api_routes(Router& router, const ApiDeps& deps) {
  add_openapi_routes(router);
  add_link_routes(router, deps);
  add_run_routes(router, deps);
  add_task_routes(router, deps);
  add_explain_routes(router, deps);
  if (deps.keys.store != nullptr) add_key_routes(router, deps);
  add_durable_functions_routes(router, deps);
}

}  // namespace twinstep::api
