// Who does what when: the queues of the subscriptions and the threads that serve them.
#include "sims/event_grid_sim.h"

#include <fmt/format.h>

#include <algorithm>

#include "sims/text.h"

namespace twinstep::sims {
namespace {

using namespace std::chrono_literals;

constexpr int kFailuresBeforeProbation = 10;  // in a row; the documentation's example
constexpr size_t kDeadLettersKept = 100'000;
constexpr auto kHeldBack = 5s;

SteadyTime after(SteadyTime when, std::chrono::duration<double> span) {
  return when + std::chrono::duration_cast<SteadyTime::duration>(span);
}

}  // namespace

EventGridSim::EventGridSim(EventGridSimOptions options, Clock& clock, http::Client& client)
    : options_(std::move(options)),
      source_(event_source(options_.hub_host)),
      clock_(clock),
      client_(client),
      rng_(options_.seed) {}

EventGridSim::~EventGridSim() {
  std::vector<std::jthread> threads;
  {
    std::scoped_lock lock(mutex_);
    threads.swap(threads_);
  }
  for (auto& t : threads) t.request_stop();
  std::scoped_lock lock(mutex_);
  nap_.request_stop();
}

void EventGridSim::reached_at(std::string control_url) {
  std::scoped_lock lock(mutex_);
  control_url_ = std::move(control_url);
}

void EventGridSim::wake() {
  ++version_;
  nap_.request_stop();
  work_.notify_one();
}

void EventGridSim::publish(HubChange change, const std::string& device_id, const Entity& entity) {
  std::scoped_lock lock(mutex_);
  std::shared_ptr<HubEvent> event;
  const SteadyTime now = clock_.steady_now();
  bool queued = false;
  for (const Shared& to : subscriptions_) {
    Subscription& s = *to;
    if (!s.settings.wants(change)) continue;
    if (s.state != State::kSucceeded) {
      ++s.counts.missed;
      continue;
    }
    if (!event) {
      event = std::make_shared<HubEvent>();
      event->id = new_guid();
      event->change = change;
      event->device_id = device_id;
      event->entity = shown_in_event(change, entity, options_.created_with_tags);
      event->time = hub_now();
      event->last_digit = static_cast<uint32_t>(rng_.next() % 10);
    }
    const auto chance = [&](double share) { return share > 0 && rng_.unit() < share; };
    const auto add = [&](SteadyTime when) {
      if (s.queue.size() + s.in_flight >= options_.queue) {
        ++s.counts.dropped;
        return;
      }
      s.queue.emplace(when, Queued{event, 0, now + s.settings.time_to_live, event->time, {}, {}});
      queued = true;
    };
    SteadyTime when = now;
    if (s.settings.delay.count() > 0) when = after(when, std::chrono::duration<double>(s.settings.delay) * rng_.unit());
    if (chance(s.settings.reorder)) when = after(when, std::chrono::duration<double>(kHeldBack) * rng_.unit());
    add(when);
    if (chance(s.settings.duplicates)) {
      ++s.counts.duplicated;
      add(after(when, std::chrono::duration<double>(kHeldBack) * rng_.unit()));
    }
  }
  if (queued) wake();
}

Status EventGridSim::subscribe(SubscriptionSettings settings) {
  std::scoped_lock lock(mutex_);
  const auto same = [&](const Shared& s) { return lower(s->settings.name) == lower(settings.name); };
  const auto found = std::find_if(subscriptions_.begin(), subscriptions_.end(), same);
  if (found != subscriptions_.end()) {
    if ((*found)->state != State::kFailed)
      return fail(ErrorKind::kConflict, "sim.subscription",
                  fmt::format("there is a subscription '{}' already; delete it first", settings.name));
    subscriptions_.erase(found);
  }
  auto s = std::make_shared<Subscription>();
  s->settings = std::move(settings);
  s->code = new_guid();
  s->handshake_due = clock_.steady_now();
  subscriptions_.push_back(std::move(s));
  while (threads_.size() < static_cast<size_t>(std::max(1, options_.threads)))
    threads_.emplace_back([this](std::stop_token stop) { run(std::move(stop)); });
  wake();
  return {};
}

bool EventGridSim::unsubscribe(std::string_view name) {
  std::scoped_lock lock(mutex_);
  const Shared s = find(name);
  if (!s) return false;
  std::erase(subscriptions_, s);
  s->queue.clear();
  if (s->state == State::kSucceeded) farewells_.push_back(s);
  wake();
  idle_.notify_all();
  return true;
}

EventGridSim::Shared EventGridSim::find(std::string_view name) const {
  for (const Shared& s : subscriptions_)
    if (lower(s->settings.name) == lower(name)) return s;
  return nullptr;
}

SteadyTime EventGridSim::due(const Subscription& s) const {
  SteadyTime when = SteadyTime::max();
  if (s.handshake_due && !s.handshaking) when = *s.handshake_due;
  // An endpoint that does not answer must not take all threads from the others.
  const int most = subscriptions_.size() > 1 ? std::max(1, options_.threads / 2) : options_.threads;
  if (s.state == State::kSucceeded && !s.queue.empty() && s.requests < most)
    when = std::min(when, std::max(s.queue.begin()->first, s.held_until));
  return when;
}

SteadyTime EventGridSim::next_due() const {
  SteadyTime when = farewells_.empty() ? SteadyTime::max() : SteadyTime::min();
  for (const Shared& s : subscriptions_) when = std::min(when, due(*s));
  return when;
}

std::vector<EventGridSim::Queued> EventGridSim::take_batch(Subscription& s, SteadyTime now) {
  std::vector<Queued> batch;
  while (!s.queue.empty() && batch.size() < static_cast<size_t>(s.settings.batch)) {
    const auto first = s.queue.begin();
    if (first->first > now) break;
    if (first->second.expires <= now) {  // looked at only when a try is due
      give_up(s, std::move(first->second), "TimeToLiveExceeded");
      s.queue.erase(first);
      continue;
    }
    // One request has one delivery count.
    if (!batch.empty() && first->second.attempts != batch.front().attempts) break;
    batch.push_back(std::move(first->second));
    s.queue.erase(first);
  }
  s.in_flight += batch.size();
  return batch;
}

std::optional<EventGridSim::Work> EventGridSim::take(SteadyTime now) {
  if (!farewells_.empty()) {
    Work work{Work::Kind::kFarewell, std::move(farewells_.back()), {}};
    farewells_.pop_back();
    ++last_wishes_;
    return work;
  }
  for (size_t i = 0; i < subscriptions_.size(); ++i) {
    turn_ = (turn_ + 1) % subscriptions_.size();
    const Shared s = subscriptions_[turn_];
    if (due(*s) > now) continue;
    if (s->handshake_due && !s->handshaking && *s->handshake_due <= now) {
      s->handshaking = true;
      return Work{Work::Kind::kHandshake, s, {}};
    }
    auto batch = take_batch(*s, now);
    if (batch.empty()) continue;
    ++s->requests;
    return Work{Work::Kind::kDelivery, s, std::move(batch)};
  }
  return std::nullopt;
}

void EventGridSim::run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (auto work = take(clock_.steady_now())) {
      ++version_;
      work_.notify_one();  // there may be more
      carry_out(*work, lock, stop);
      idle_.notify_all();
      continue;
    }
    idle_.notify_all();  // what was due may have expired
    const SteadyTime when = next_due();
    if (watching_ || when == SteadyTime::max()) {
      work_.wait(lock, stop, [&, seen = version_] { return version_ != seen; });
      continue;
    }
    watching_ = true;
    nap_ = std::stop_source();
    const std::stop_token end = nap_.get_token();
    lock.unlock();
    clock_.sleep_until(when, end);
    lock.lock();
    watching_ = false;
    ++version_;
    work_.notify_one();  // somebody else watches while this one works
  }
}

void EventGridSim::settle(Work& work, const Result<http::Response>& answer) {
  Subscription& s = *work.to;
  s.in_flight -= work.events.size();
  --s.requests;
  const DeliveryOutcome outcome = judge(answer);
  ++s.counts.answers[answer ? std::to_string(answer->status) : std::string(outcome.name)];
  wake();
  if (outcome.delivered) {
    s.failures = 0;
    s.held_until = SteadyTime::min();
    s.counts.delivered += work.events.size();
    return;
  }
  const SteadyTime now = clock_.steady_now();
  if (++s.failures >= kFailuresBeforeProbation) s.held_until = now + outcome.probation;
  if (work.events.empty()) return;
  const int attempts = work.events.front().attempts + 1;
  const auto wait = retry_wait(attempts, outcome, rng_);
  for (Queued& e : work.events) {
    e.attempts = attempts;
    e.last_attempt = clock_.system_now();
    e.last_outcome = outcome.name;
    if (!outcome.again) {
      give_up(s, std::move(e), "NotRetried");
    } else if (attempts >= s.settings.attempts) {
      give_up(s, std::move(e), "MaxDeliveryAttemptsExceeded");
    } else {
      ++s.counts.retried;
      s.queue.emplace(now + wait, std::move(e));
    }
  }
}

void EventGridSim::give_up(Subscription& s, Queued what, std::string_view reason) {
  if (!s.settings.dead_letter) {
    ++s.counts.lost;
    return;
  }
  ++s.counts.dead_lettered;
  if (s.dead_letters.size() == kDeadLettersKept) s.dead_letters.pop_front();
  s.dead_letters.push_back({std::move(what), reason});
}

void EventGridSim::wait_idle() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] {
    return farewells_.empty() && last_wishes_ == 0 &&
           std::all_of(subscriptions_.begin(), subscriptions_.end(), [](const Shared& s) {
             return s->state != State::kCreating && !s->handshaking && s->queue.empty() && s->in_flight == 0;
           });
  });
}

}  // namespace twinstep::sims
