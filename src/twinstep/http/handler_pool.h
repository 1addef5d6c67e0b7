#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace twinstep::http {

/// A fixed number of threads with a bounded queue: a server that is asked for more than it can do says so at once
/// instead of letting everybody wait.
///
/// Threads   any method, any thread; stop() not from a task.
class HandlerPool {
 public:
  using Task = std::function<void()>;

  HandlerPool(int threads, int queue);
  ~HandlerPool();  ///< stop()
  HandlerPool(const HandlerPool&) = delete;
  HandlerPool& operator=(const HandlerPool&) = delete;

  /// False when every thread is busy and the queue is full, or after stop(); the task is then not taken.
  bool submit(Task&& task);

  /// Waits for what runs. Gives back what is queued, so that the caller can let it end on the thread where it must.
  /// Safe to call twice.
  std::deque<Task> stop();

 private:
  void work();

  const size_t queue_limit_;
  std::mutex mutex_;  // guards the four below
  std::condition_variable wake_;
  std::deque<Task> queue_;
  size_t idle_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace twinstep::http
