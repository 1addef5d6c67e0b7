#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

#include "twinstep/store/workflow_store.h"

namespace twinstep::store {

/// Starts workflows for many callers at once: those that wait at the same moment share one transaction, so that a flood
/// of single events costs hardly more than the same events in batches. One of the callers works for all of them.
///
/// What one caller brings cannot harm the others: a transaction that can never succeed is done again for each alone.
///
/// Threads   any method, any thread.
/// Blocking  until the commit is on disk, or call.deadline has passed.
class StartQueue {
 public:
  /// The store outlives the queue.
  explicit StartQueue(WorkflowStore& store) : store_(store) {}

  /// As WorkflowStore::start(). Errors  those, and kTimeout "store.busy": nothing was written.
  Result<std::vector<Started>> start(const std::vector<NewWorkflow>& workflows, const Call& call);

 private:
  struct Caller {
    const std::vector<NewWorkflow>& workflows;
    const Call& call;
    std::condition_variable changed{};
    bool begun = false;
    bool ended = false;
    bool leads = false;  // works for the others until its own is done
    Result<std::vector<Started>> outcome{};
    std::exception_ptr thrown{};
  };
  std::vector<Caller*> take();
  void start_together(const std::vector<Caller*>& callers);
  void start_each(const std::vector<Caller*>& callers);

  WorkflowStore& store_;
  std::mutex mutex_;  // guards the two below and every caller in the queue
  std::deque<Caller*> queue_;
  int leaders_ = 0;
};

}  // namespace twinstep::store
