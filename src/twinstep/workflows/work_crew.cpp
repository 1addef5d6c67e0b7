#include "twinstep/workflows/work_crew.h"

namespace twinstep::workflows {

WorkCrew::WorkCrew(int threads) : most_waiting_(static_cast<size_t>(threads) * 2) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

WorkCrew::~WorkCrew() { (void)finish(); }

void WorkCrew::add(Task task) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.size() < most_waiting_ || !result_; });
  if (!result_) return;
  queue_.push_back(std::move(task));
  changed_.notify_all();
}

bool WorkCrew::failed() {
  std::scoped_lock lock(mutex_);
  return !result_;
}

Status WorkCrew::finish() {
  {
    std::scoped_lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  threads_.clear();  // joins
  return result_;
}

void WorkCrew::work() {
  const obs::Handover::Scope scope(context_);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return closed_ || !queue_.empty() || !result_; });
    if (!result_ || (queue_.empty() && closed_)) return;
    if (queue_.empty()) continue;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    changed_.notify_all();
    lock.unlock();
    auto done = task();
    lock.lock();
    if (!done && result_) {
      result_ = std::move(done);
      queue_.clear();
      changed_.notify_all();
    }
  }
}

}  // namespace twinstep::workflows
