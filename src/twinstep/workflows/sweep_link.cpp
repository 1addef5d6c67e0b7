#include "twinstep/workflows/link_run.h"
#include "twinstep/workflows/sweep.h"

namespace twinstep::workflows {

store::Finish sweep_link(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store,
                         store::RunStore& runs) {
  return run_sweep(context, attempt, store, [&](const std::vector<store::DeviceOutcome>& outcomes) {
    return runs.record(attempt.workflow().id, outcomes, attempt.call());
  });
}

}  // namespace twinstep::workflows
