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
  /// How many callers wait for somebody to work for them.
  size_t waiting() const;

 private:
  struct Caller {
    const std::vector<NewWorkflow>& workflows;
    const Call& call;
    std::mutex mutex{};  // guards the next two; its own, so that those that are woken together do not queue for one
    std::condition_variable changed{};
    bool ended = false;
    bool leads = false;  // works for the others until its own is done
    Result<std::vector<Started>> outcome{};
    std::exception_ptr thrown{};
  };
  Status wait_for_turn(Caller& mine);
  void lead(Caller& mine);
  void pass_on();
  std::vector<Caller*> take();
  void start_together(const std::vector<Caller*>& callers);
  void start_each(const std::vector<Caller*>& callers);

  WorkflowStore& store_;
  mutable std::mutex mutex_;  // guards the two below; before a caller's own
  std::deque<Caller*> queue_;
  int leaders_ = 0;
};

}  // namespace twinstep::store
