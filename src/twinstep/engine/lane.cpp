#include "twinstep/engine/lane.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <typeinfo>

#include "twinstep/base/backoff.h"
#include "twinstep/base/crash_point.h"
#include "twinstep/base/units.h"
#include "twinstep/obs/log_context.h"

namespace twinstep::engine {
namespace {

constexpr int kClaimAtMost = 64;
constexpr Millis kStoreTime{15'000};    // one call to the store
constexpr Millis kAfterBug{3'600'000};  // an exception is a bug: look again when somebody may have noticed
constexpr Millis kLongestRest{15 * 60'000};
constexpr size_t kMostRefused = 1'000;   // that are remembered
constexpr Millis kLockedElsewhere{100};  // until another replica's transaction is through
constexpr Backoff kStoreAway{.first = Millis{200}, .cap = Millis{10'000}, .jitter = 0.2};

/// What a key is about: "run/LINK" or "device/LINK/CANONICAL-ID".
struct About {
  std::string_view link, device;
};
About about(std::string_view key) {
  About out;
  const size_t first = key.find('/');
  if (first == std::string_view::npos) return out;
  const size_t second = key.find('/', first + 1);
  out.link = key.substr(first + 1, second == std::string_view::npos ? second : second - first - 1);
  if (second != std::string_view::npos) out.device = key.substr(second + 1);
  return out;
}

}  // namespace

Lane::Lane(LaneOptions options, store::WorkflowStore& store, ClaimBook& claims, const EngineOptions& engine,
           Clock& clock, Rng& rng)
    : options_(std::move(options)), store_(store), claims_(claims), engine_(engine), clock_(clock), rng_(rng) {}

Lane::~Lane() { stop(); }

void Lane::start(bool resting) {
  {
    std::scoped_lock lock(mutex_);
    free_ = options_.threads;
    rests_ = resting ? 1 : 0;
  }
  for (int i = 0; i < options_.threads; ++i) workers_.emplace_back([this] { work_loop(); });
  claimer_ = std::jthread([this](std::stop_token stop) { claim_loop(std::move(stop)); });
}

void Lane::stop_claiming() { claimer_.request_stop(); }

void Lane::stop() {
  if (!claimer_.joinable()) return;
  claimer_.request_stop();
  claimer_.join();
  {
    std::scoped_lock lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
  workers_.clear();
}

void Lane::look_now() {
  {
    std::scoped_lock lock(mutex_);
    hinted_ = true;
  }
  changed_.notify_all();
}

LaneState Lane::state() const {
  std::scoped_lock lock(mutex_);
  return {options_.name, options_.threads, options_.threads - free_, trouble_};
}

void Lane::claim_loop(std::stop_token stop) {
  auto look_at = std::chrono::steady_clock::now();
  int failures = 0;
  while (!stop.stop_requested()) {
    int most = 0;
    {
      std::unique_lock lock(mutex_);
      const auto work_to_seek = [&] {
        const int hands = rests_ > 0 ? (free_ == options_.threads ? 1 : 0) : free_;
        return hands > 0 && (hinted_ || std::chrono::steady_clock::now() >= look_at);
      };
      // Real time: a hint, a free hand or the due time of the next workflow, whichever comes first.
      if (!changed_.wait_until(lock, stop, look_at, work_to_seek)) {
        if (stop.stop_requested()) return;
        if (!work_to_seek()) changed_.wait(lock, stop, work_to_seek);
      }
      if (stop.stop_requested()) return;
      hinted_ = false;
      most = rests_ > 0 ? 1 : std::min(free_, kClaimAtMost);
    }
    const Call call{clock_.steady_now() + kStoreTime, stop};
    const SteadyTime sent = clock_.steady_now();
    auto claimed = store_.claim(options_.name, engine_.owner, most, engine_.lease, call);
    if (claimed && !claimed->empty()) crash_point("claim.after-commit");
    std::optional<Millis> next{Millis{0}};
    Status looked;
    if (!claimed) {
      looked = fail(claimed.error());
    } else if (claimed->size() < static_cast<size_t>(most)) {
      auto due = store_.next_due(options_.name, call);
      if (due)
        next = claimed->empty() && *due == Millis{0} ? kLockedElsewhere : *due;
      else
        looked = fail(due.error());
    }
    {
      std::scoped_lock lock(mutex_);
      if (claimed) {
        for (store::Claimed& one : *claimed) {
          auto source = claims_.add(one.workflow, sent);
          queue_.push_back({std::move(one), std::move(source), sent});
          --free_;
        }
      }
      if (!looked) {
        if (stop.stop_requested() && !(claimed && !claimed->empty())) return;
        if (failures++ == 0) spdlog::warn("lane.blind lane={} reason=\"{}\"", options_.name, looked.error().what);
        trouble_ = looked.error().what;
        next = kStoreAway.after(failures, rng_);
      } else {
        if (failures > 0) spdlog::info("lane.sees_again lane={}", options_.name);
        failures = 0;
        trouble_.clear();
      }
    }
    changed_.notify_all();
    look_at = std::chrono::steady_clock::now() + std::min(next.value_or(engine_.poll), engine_.poll);
  }
}

void Lane::work_loop() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closed_ || !queue_.empty(); });
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    work_on(std::move(job));
    {
      std::scoped_lock lock(mutex_);
      ++free_;
    }
    changed_.notify_all();
  }
}

void Lane::work_on(Job job) {
  const store::Workflow claim = job.claim.workflow;
  const auto [link, device] = about(claim.key);
  const bool run = claim.kind == "run" || claim.kind == "sweep";
  const obs::LogScope named{{run ? "run" : "task", claim.id.value}, {"link", link}, {"device", device}};
  std::optional<obs::Span> span;
  if (engine_.tracer) {
    span.emplace(engine_.tracer->begin_root(claim.kind, obs::SpanKind::kConsumer, obs::parse_traceparent(claim.trace)));
    if (span->recording()) {
      span->set("twinstep.workflow", claim.id.value);
      span->set("twinstep.link", link);
      if (!device.empty()) span->set("twinstep.device", device);
      span->set("twinstep.lane", claim.lane);
      span->set("twinstep.attempt", int64_t{claim.attempt});
    }
  }
  const SteadyTime began = clock_.steady_now();
  Attempt attempt(store_, std::move(job.claim), {SteadyTime::max(), job.stop.get_token()}, rng_,
                  [&] { return claims_.holds(claim); });
  attempt.others_got_through(others_got_through(claim.id));
  const store::Finish finish = attempt_of(attempt);
  if (engine_.on_worked) engine_.on_worked(claim, finish, clock_.steady_now() - began);
  if (span) {
    span->set("twinstep.state", store::to_string(finish.state));
    if (!finish.error_code.empty()) span->set("error.type", finish.error_code);
    if (finish.state == store::State::kFailed) span->fail(finish.error_code);
  }
  remember(claim.id, attempt.rest() && attempt.rest()->alarm, finish.state == store::State::kDone);
  settle_rest(attempt.rest(), job.claimed, finish.state == store::State::kDone);
  record(claim, finish);
  claims_.remove(claim);
  ++attempts_;
}

store::Finish Lane::attempt_of(Attempt& attempt) {
  try {
    return options_.work(attempt);
  } catch (const std::exception& bug) {
    spdlog::error("workflow.bug id={} key={} type={} what=\"{}\"", attempt.workflow().id.value, attempt.workflow().key,
                  typeid(bug).name(), bug.what());
    store::Finish finish = attempt.again(kAfterBug, fmt::format("internal error ({}); please report it", bug.what()));
    finish.error_code = "internal";
    return finish;
  }
}

void Lane::record(const store::Workflow& claim, const store::Finish& finish) {
  crash_point("finish.before-commit");
  for (int tries = 1;; ++tries) {
    if (!claims_.holds(claim)) return;  // whoever claims it next begins from the saved steps
    // Without a stop token: what was done outside should be known before the process ends.
    const auto state = store_.finish(claim, finish, {clock_.steady_now() + kStoreTime, {}});
    if (state) {
      crash_point("finish.after-commit");
      for (const store::HistoryLine& line : finish.history)
        spdlog::info("{} workflow={} key={} detail=\"{}\"", line.what, claim.id.value, claim.key, line.detail);
      spdlog::debug("workflow.{} id={} key={} status=\"{}\"", store::to_string(*state), claim.id.value, claim.key,
                    finish.status);
      if (engine_.on_recorded) engine_.on_recorded(claim, finish, *state);
      return;
    }
    if (state.error().code == "store.lease-lost" || !state.error().transient()) {
      spdlog::warn("workflow.not_recorded id={} key={} reason=\"{}\"", claim.id.value, claim.key, state.error().what);
      return;
    }
    // While the daemon ends there is no time to wait for the store: a later claim does it again, which is safe.
    std::stop_token ending = claimer_.get_stop_token();
    if (!clock_.sleep_for(kStoreAway.after(tries, rng_), ending)) return;
  }
}

bool Lane::others_got_through(const store::WorkflowId& since) const {
  std::scoped_lock lock(mutex_);
  const auto found = refused_.find(since);
  return found != refused_.end() && got_through_ > found->second;
}

void Lane::remember(const store::WorkflowId& id, bool refused, bool good) {
  std::scoped_lock lock(mutex_);
  if (good) {
    got_through_ = clock_.steady_now();
    refused_.erase(id);
  } else if (refused) {
    if (refused_.size() >= kMostRefused) refused_.clear();  // then it is the lane that is refused
    refused_[id] = clock_.steady_now();
  }
}

void Lane::settle_rest(const std::optional<Attempt::Rest>& rest, SteadyTime claimed, bool good) {
  if (rest) {
    Millis span = rest->span;
    int before = 0;
    bool alarm = false;
    {
      std::scoped_lock lock(mutex_);
      // What was at work when the rest began meets the same refusal: that is no second one.
      if (rests_ > 0 && claimed < rested_) return;
      before = rests_++;
      rested_ = clock_.steady_now();
      // A lane that rests because it was asked to slow down may meet a refusal next that a person has to mend.
      alarm = rest->alarm && !alarmed_;
      alarmed_ = alarmed_ || alarm;
    }
    for (int i = 0; i < before && span < kLongestRest; ++i) span = std::min(span * 2, kLongestRest);
    spdlog::log(alarm ? spdlog::level::err : spdlog::level::info, "lane.{} lane={} for=\"{}\" reason=\"{}\"",
                before == 0 || alarm ? "rests" : "rests_on", options_.name, format_duration(span), rest->reason);
    if (engine_.on_rest && (before == 0 || alarm)) engine_.on_rest({options_.name, true, alarm, rest->reason, span});
    const Call call{clock_.steady_now() + kStoreTime, {}};
    if (auto paused = store_.pause(options_.name, span, rest->reason, call); !paused)
      spdlog::warn("lane.pause_not_kept lane={} reason=\"{}\"", options_.name, paused.error().what);
    return;
  }
  if (!good) return;
  {
    std::scoped_lock lock(mutex_);
    if (rests_ == 0) return;
    rests_ = 0;
    alarmed_ = false;
    hinted_ = true;
  }
  changed_.notify_all();
  spdlog::info("lane.works_again lane={}", options_.name);
  if (engine_.on_rest) engine_.on_rest({options_.name, false, false, {}, {}});
  if (auto resumed = store_.resume(options_.name, {clock_.steady_now() + kStoreTime, {}}); !resumed)
    spdlog::warn("lane.resume_not_kept lane={} reason=\"{}\"", options_.name, resumed.error().what);
}

}  // namespace twinstep::engine
