#include "twinstep/azure/budget.h"

#include <cmath>

#include "twinstep/base/units.h"

namespace twinstep::azure {
namespace {

constexpr double kShare = 0.99;        // of the quota; the rest covers two clocks that do not agree
constexpr double kSavedWindows = 0.5;  // hubs let about two minutes' worth pass at once; a strict simulator one
constexpr Millis kFirstPause{10'000};  // the text of ThrottlingBacklogTimeout asks for ten seconds
constexpr Millis kLongestPause{60'000};
constexpr Millis kLongestTold{3'600'000};
constexpr double kReserve = 0.1;  // of what may be saved up

std::string_view plural(HubOperation operation) {
  switch (operation) {
    case HubOperation::kRegistry:
      return "registry operations";
    case HubOperation::kQuery:
      return "queries";
    case HubOperation::kTwinRead:
      return "twin reads";
    case HubOperation::kTwinUpdate:
      return "twin updates";
    case HubOperation::kJob:
      return "job operations";
  }
  return "operations";
}

Millis up(std::chrono::nanoseconds span) { return std::chrono::ceil<Millis>(span); }

}  // namespace

HubBudget::Lane::Lane(Quota quota, double time_factor, Clock& clock)
    : bucket(quota.per_second() * kShare * time_factor, std::max(1.0, quota.count * kSavedWindows), clock) {}

HubBudget::HubBudget(HubTier tier, int units, Clock& clock, Rng& rng, double time_factor)
    : tier_(tier), units_(units), time_factor_(time_factor), clock_(clock), rng_(rng) {
  for (size_t i = 0; i < lanes_.size(); ++i)
    lanes_[i] = std::make_unique<Lane>(hub_quota(tier, units, static_cast<HubOperation>(i)), time_factor, clock);
}

void HubBudget::set_share(double share) {
  for (auto& one : lanes_) one->bucket.set_share(share);
}

void HubBudget::keep_reserve() {
  for (auto& one : lanes_) one->bucket.set_reserve(kReserve);
}

size_t HubBudget::most_at_once(HubOperation operation) const {
  return static_cast<size_t>(std::max(1.0, lane(operation).bucket.burst()));
}

Status HubBudget::acquire(HubOperation operation, double count, const Call& call, Priority priority) {
  if (!meter_) return take(operation, count, call, priority);
  const SteadyTime began = clock_.steady_now();
  Status taken = take(operation, count, call, priority);
  if (taken)
    meter_->taken(operation, count, clock_.steady_now() - began);
  else if (taken.error().kind == ErrorKind::kThrottled)
    meter_->exhausted(operation);
  return taken;
}

Status HubBudget::take(HubOperation operation, double count, const Call& given, Priority priority) {
  Lane& l = lane(operation);
  const bool interactive = priority == Priority::kInteractive;
  const Turn turn = interactive ? Turn::kFirst : Turn::kInOrder;
  const Call call = interactive ? given.sooner(clock_.steady_now() + kInteractivePatience) : given;
  const auto refuse = [&](Millis wait) {
    const Quota quota = hub_quota(tier_, units_, operation);
    Error error{.kind = ErrorKind::kThrottled, .code = "hub.budget", .retry_after = wait};
    error.what = fmt::format(
        "the hub's budget of {} {} per {} is used up for the next {}, which is past this call's {}; nothing was sent. "
        "Wait, or give the hub more units",
        quota.count, plural(operation), quota.seconds > 1 ? "minute" : "second", format_duration(wait),
        interactive ? "patience" : "deadline");
    return fail(std::move(error));
  };
  if (Status taken = l.bucket.acquire(count, call, turn); !taken) {
    if (taken.error().kind == ErrorKind::kTimeout) return refuse(up(l.bucket.wait_for(count, turn)));
    return taken;
  }
  // A pause that began while this caller waited for its tokens holds for it as well.
  while (true) {
    SteadyTime until;
    {
      std::scoped_lock lock(l.mutex);
      until = l.paused_until;
    }
    const SteadyTime now = clock_.steady_now();
    if (until <= now) return {};
    if (until > call.deadline) return refuse(up(until - now));
    if (!clock_.sleep_until(until, call.stop))
      return fail(ErrorKind::kCancelled, "cancelled", "stopped while the hub asks for patience");
  }
}

Millis HubBudget::throttled(HubOperation operation, std::optional<Millis> told, SteadyTime sent) {
  if (meter_) meter_->throttled(operation);
  Lane& l = lane(operation);
  const double jitter = rng_.unit();
  std::scoped_lock lock(l.mutex);
  const SteadyTime now = clock_.steady_now();
  SteadyTime until = l.paused_until;
  const bool same_refusal = sent < l.paused_until;
  if (!same_refusal) ++l.refusals;
  if (told) {
    until = std::max(until, now + std::clamp(*told, Millis{0}, kLongestTold));
  } else if (!same_refusal) {
    // Jitter only adds: sooner than the hub asked for would be refused again.
    const double pause = static_cast<double>(kFirstPause.count()) * std::pow(2.0, std::min(l.refusals - 1, 8));
    const double wait = std::min(pause * (1.0 + 0.2 * jitter), static_cast<double>(kLongestPause.count()));
    until = now + Millis{static_cast<Millis::rep>(wait / time_factor_)};
  }
  l.paused_until = until;
  if (until <= now) return Millis{0};
  l.bucket.pause_until(until);
  return up(until - now);
}

void HubBudget::succeeded(HubOperation operation, SteadyTime sent) {
  Lane& l = lane(operation);
  std::scoped_lock lock(l.mutex);
  if (sent >= l.paused_until) l.refusals = 0;
}

std::chrono::nanoseconds HubBudget::estimate(HubOperation operation, double count) const {
  return lane(operation).bucket.wait_for(count);
}

}  // namespace twinstep::azure
