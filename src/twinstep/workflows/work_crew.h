#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/obs/log_context.h"

namespace twinstep::workflows {

/// A few threads that work off a short queue; add() waits while it is full, so that a million tasks need no memory.
/// The first error ends the crew: tasks not begun are dropped.
///
/// Threads  add() and finish() from one thread.
class WorkCrew {
 public:
  using Task = std::function<Status()>;
  explicit WorkCrew(int threads);
  ~WorkCrew();
  void add(Task task);
  bool failed();
  /// Waits for all tasks and gives the first error.
  Status finish();

 private:
  void work();

  std::mutex mutex_;  // guards all below but threads_
  std::condition_variable changed_;
  std::deque<Task> queue_;
  bool closed_ = false;
  Status result_;
  const size_t most_waiting_;
  const obs::Handover context_;  // the work belongs to the run of whoever made the crew
  std::vector<std::jthread> threads_;
};

}  // namespace twinstep::workflows
