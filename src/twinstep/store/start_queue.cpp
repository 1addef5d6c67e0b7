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
  {
    std::scoped_lock lock(mutex_);
    queue_.push_back(&mine);
    mine.leads = leaders_ < kLeaders;
    if (mine.leads) ++leaders_;
  }
  TRY(wait_for_turn(mine));
  if (mine.leads) lead(mine);
  if (mine.thrown) std::rethrow_exception(mine.thrown);
  return std::move(mine.outcome);
}

Status StartQueue::wait_for_turn(Caller& mine) {
  const Call& call = mine.call;
  // Outside of the lock: it runs at once when the token has fired already.
  const std::stop_callback stopped(call.stop, [&] {
    std::scoped_lock lock(mine.mutex);
    mine.changed.notify_one();
  });
  std::unique_lock lock(mine.mutex);
  const auto over = [&] { return mine.ended || mine.leads || call.stop.stop_requested(); };
  if (call.deadline == SteadyTime::max())
    mine.changed.wait(lock, over);
  else
    mine.changed.wait_until(lock, call.deadline, over);
  if (mine.ended || mine.leads) return {};
  lock.unlock();
  {
    std::scoped_lock all(mutex_);
    if (std::erase(queue_, &mine) > 0) {
      // Made a leader at the last moment: then there is nobody else to look after those that wait.
      lock.lock();
      if (mine.leads) pass_on();
      if (call.stop.stop_requested())
        return fail(ErrorKind::kCancelled, "store.cancelled", "stopped before it was begun");
      return fail(ErrorKind::kTimeout, "store.busy", "too many want to start workflows; nothing was written");
    }
  }
  // Somebody works for us: that refers to this frame and is seen through.
  lock.lock();
  mine.changed.wait(lock, [&] { return mine.ended; });
  return {};
}

void StartQueue::lead(Caller& mine) {
  for (;;) {
    const std::vector<Caller*> callers = take();
    if (callers.empty()) break;  // another leader works for us and all others
    start_together(callers);
    for (Caller* caller : callers) {
      std::scoped_lock lock(caller->mutex);
      caller->ended = true;
      caller->changed.notify_one();  // with its lock: it may be gone as soon as it can see that it has ended
    }
    std::scoped_lock lock(mine.mutex);
    if (mine.ended) break;
  }
  {
    std::scoped_lock lock(mutex_);
    pass_on();
  }
  std::unique_lock lock(mine.mutex);
  mine.changed.wait(lock, [&] { return mine.ended; });
}

void StartQueue::pass_on() {
  for (Caller* next : queue_) {
    std::scoped_lock lock(next->mutex);
    if (next->leads) continue;  // it has a place of its own already; ours would be lost with it
    next->leads = true;
    next->changed.notify_one();
    return;
  }
  --leaders_;
}

std::vector<StartQueue::Caller*> StartQueue::take() {
  std::scoped_lock lock(mutex_);
  std::vector<Caller*> out;
  size_t workflows = 0;
  while (!queue_.empty()) {
    Caller* next = queue_.front();
    workflows += next->workflows.size();
    if (!out.empty() && workflows > kMostAtOnce) break;
    out.push_back(next);
    queue_.pop_front();
  }
  return out;
}

size_t StartQueue::waiting() const {
  std::scoped_lock lock(mutex_);
  return queue_.size();
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
    if (callers.size() > 1) return start_each(callers);
    callers.front()->thrown = std::current_exception();
  }
}

void StartQueue::start_each(const std::vector<Caller*>& callers) {
  for (Caller* caller : callers) start_together({caller});
}

}  // namespace twinstep::store
