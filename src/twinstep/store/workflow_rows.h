#pragma once

#include "twinstep/store/workflow_store.h"

/// What the files of WorkflowStore share; for them alone.
namespace twinstep::store {

/// The columns that workflow_at() reads.
#define TWINSTEP_WORKFLOW_COLUMNS                                                                      \
  "id, kind, lane, key, state, due, generation, attempt, waited, epoch, cancel_asked, input, status, " \
  "error_code, created, updated, ended, trace"

Workflow workflow_at(const Rows& rows, size_t row);
bool ended(State state);
/// kNotFound "store.unknown"
tl::unexpected<Error> unknown(const WorkflowId& id);

/// Starts, merges or queues all of them and gives what became of each. What most of them need is asked for all at once.
Result<std::vector<Started>> start_all(Transaction& transaction, std::span<const NewWorkflow* const> wants);
/// WorkflowStore::cancel() and retry() inside a transaction.
Status cancel_one(Transaction& transaction, const WorkflowId& id, std::string_view why);
Status retry_one(Transaction& transaction, const WorkflowId& id);

}  // namespace twinstep::store
