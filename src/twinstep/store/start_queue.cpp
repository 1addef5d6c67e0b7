#include "twinstep/store/start_queue.h"

#include <algorithm>
#include <iterator>

namespace twinstep::store {
namespace {

constexpr int kLeaders = 2;          // one collects while the other waits for the disk
constexpr size_t kMostAtOnce = 500;  // workflows of one transaction, unless one caller brings more

}  // namespace

Result<std::vector<Started>> StartQueue::start(const std::vector<NewWorkflow>& workflows, const Call& call) {
  Caller mine{workflows, call};
  // Outside of the lock: it runs at once when the token has fired already.
  const std::stop_callback stopped(call.stop, [&] {
    std::scoped_lock lock(mutex_);
    mine.changed.notify_one();
  });
  std::unique_lock lock(mutex_);
  queue_.push_back(&mine);
  if (leaders_ < kLeaders) {
    ++leaders_;
    mine.leads = true;
  }
  const auto over = [&] { return mine.leads || mine.ended || (!mine.begun && call.stop.stop_requested()); };
  if (call.deadline == SteadyTime::max())
    mine.changed.wait(lock, over);
  else
    mine.changed.wait_until(lock, call.deadline, over);
  if (mine.begun) mine.changed.wait(lock, [&] { return mine.ended; });
  if (!mine.ended && !mine.leads) {
    std::erase(queue_, &mine);
    if (call.stop.stop_requested())
      return fail(ErrorKind::kCancelled, "store.cancelled", "stopped before it was begun");
    return fail(ErrorKind::kTimeout, "store.busy", "too many want to start workflows; nothing was written");
  }
  while (!mine.ended) {
    const std::vector<Caller*> callers = take();
    lock.unlock();
    start_together(callers);
    lock.lock();
    for (Caller* caller : callers) {
      caller->ended = true;
      caller->changed.notify_one();  // with the lock: it may be gone as soon as it can be seen to have ended
    }
  }
  if (mine.leads) {
    if (queue_.empty()) {
      --leaders_;
    } else {
      queue_.front()->leads = true;
      queue_.front()->changed.notify_one();
    }
  }
  if (mine.thrown) std::rethrow_exception(mine.thrown);
  return std::move(mine.outcome);
}

std::vector<StartQueue::Caller*> StartQueue::take() {
  std::vector<Caller*> out;
  size_t workflows = 0;
  while (!queue_.empty()) {
    Caller* next = queue_.front();
    workflows += next->workflows.size();
    if (!out.empty() && workflows > kMostAtOnce) break;
    next->begun = true;
    out.push_back(next);
    queue_.pop_front();
  }
  return out;
}

void StartQueue::start_together(const std::vector<Caller*>& callers) {
  std::vector<const NewWorkflow*> all;
  Call call = callers.front()->call;
  for (const Caller* caller : callers) {
    for (const NewWorkflow& one : caller->workflows) all.push_back(&one);
    call.deadline = std::max(call.deadline, caller->call.deadline);
  }
  if (callers.size() > 1) call.stop = {};  // one that stops must not stop the others
  try {
    auto started = store_.start(all, call);
    if (!started && callers.size() > 1 && !started.error().transient()) return start_each(callers);
    auto next = started ? started->begin() : std::vector<Started>::iterator{};
    for (Caller* caller : callers) {
      if (!started) {
        caller->outcome = fail(started.error());
        continue;
      }
      const auto end = next + static_cast<ptrdiff_t>(caller->workflows.size());
      caller->outcome = std::vector<Started>(std::make_move_iterator(next), std::make_move_iterator(end));
      next = end;
    }
  } catch (...) {
    for (Caller* caller : callers) caller->thrown = std::current_exception();
  }
}

void StartQueue::start_each(const std::vector<Caller*>& callers) {
  for (Caller* caller : callers) caller->outcome = store_.start(caller->workflows, caller->call);
}

}  // namespace twinstep::store
