#include "twinstep/http/handler_pool.h"

#include <algorithm>

namespace twinstep::http {

HandlerPool::HandlerPool(int threads, int queue) : queue_limit_(static_cast<size_t>(std::max(0, queue))) {
  const int count = std::max(1, threads);
  idle_ = static_cast<size_t>(count);
  threads_.reserve(idle_);
  for (int i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
}

HandlerPool::~HandlerPool() { stop(); }

bool HandlerPool::submit(Task&& task) {
  {
    std::scoped_lock lock(mutex_);
    // A thread that is idle but has not woken yet still counts: the queue holds its task for a moment.
    if (stopping_ || queue_.size() >= queue_limit_ + idle_) return false;
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

std::deque<HandlerPool::Task> HandlerPool::stop() {
  std::deque<Task> forgotten;
  {
    std::scoped_lock lock(mutex_);
    stopping_ = true;
    forgotten.swap(queue_);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
  return forgotten;
}

void HandlerPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    --idle_;
    lock.unlock();
    task();
    task = nullptr;  // what it holds may be heavy: release it outside of the lock
    lock.lock();
    ++idle_;
  }
}

}  // namespace twinstep::http
