#include "twinstep/api/api.h"

namespace twinstep::api {

RunReader stored_runs(store::RunStore& runs) {
  return {
      [&runs](const store::WorkflowId& run, const store::RunStore::TextSink& sink, const Call& call) {
        return runs.read_plan(run, sink, call);
      },
      [&runs](const store::WorkflowId& run, std::string_view outcome, const DeviceId& after, int limit,
              const Call& call) { return runs.outcomes(run, outcome, after, limit, call); },
      [&runs](const DeviceId& device, int limit, const Call& call) { return runs.mentions(device, limit, call); },
  };
}

}  // namespace twinstep::api
