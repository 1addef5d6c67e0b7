#include "twinstep/engine/claim_book.h"

#include <fmt/chrono.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

namespace twinstep::engine {
namespace {

constexpr Millis kLookForCancels{2'000};

}  // namespace

ClaimBook::ClaimBook(store::WorkflowStore& store, bool shared, std::string owner, Millis lease, Clock& clock)
    : store_(store), shared_(shared), owner_(std::move(owner)), lease_(lease), clock_(clock) {}

ClaimBook::~ClaimBook() { stop(); }

std::stop_source ClaimBook::add(const store::Workflow& claim, SteadyTime sent) {
  std::scoped_lock lock(mutex_);
  Held& held = held_[key_of(claim)];
  held = Held{std::stop_source(), shared_ ? sent + lease_ - lease_ / 5 : SteadyTime::max(), false};
  if (stopping_) held.stop.request_stop();
  return held.stop;
}

void ClaimBook::remove(const store::Workflow& claim) {
  std::scoped_lock lock(mutex_);
  held_.erase(key_of(claim));
}

bool ClaimBook::holds(const store::Workflow& claim) const {
  std::scoped_lock lock(mutex_);
  const auto found = held_.find(key_of(claim));
  return found != held_.end() && !found->second.lost && clock_.steady_now() < found->second.trusted_until;
}

void ClaimBook::start() {
  thread_ = std::jthread([this](std::stop_token stop) { work(std::move(stop)); });
}

void ClaimBook::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void ClaimBook::stop_all() {
  std::scoped_lock lock(mutex_);
  stopping_ = true;
  for (auto& [key, held] : held_) held.stop.request_stop();
}

void ClaimBook::work(std::stop_token stop) {
  const Millis renew_every = lease_ / 3;
  const Millis slice = shared_ ? std::min(renew_every / 2, kLookForCancels) : kLookForCancels;
  SteadyTime renew_at = clock_.steady_now() + renew_every;
  SteadyTime cancels_at = clock_.steady_now() + kLookForCancels;
  while (!stop.stop_requested()) {
    if (!clock_.sleep_for(slice, stop)) return;
    const SteadyTime now = clock_.steady_now();
    if (shared_ && now >= renew_at) {
      renew(stop);
      renew_at = now + renew_every;
    }
    give_up_untrusted();
    if (now >= cancels_at) {
      look_for_cancels(stop);
      cancels_at = now + kLookForCancels;
    }
  }
}

void ClaimBook::renew(const std::stop_token& stop) {
  std::vector<Key> keys;
  std::vector<store::WorkflowId> ids;
  {
    std::scoped_lock lock(mutex_);
    for (const auto& [key, held] : held_)
      if (!held.lost) keys.push_back(key);
  }
  if (keys.empty()) return;
  for (const Key& key : keys) ids.emplace_back(key.first);
  const SteadyTime sent = clock_.steady_now();
  // A renewal that takes longer than a third of the lease is of no use any more: the next one comes then.
  const auto ours = store_.renew(owner_, ids, lease_, {sent + lease_ / 3, stop});
  if (!ours) {
    spdlog::warn("lease.not_renewed claims={} reason=\"{}\"", ids.size(), ours.error().what);
    return;
  }
  std::set<std::string> kept;
  for (const store::WorkflowId& id : *ours) kept.insert(id.value);
  std::scoped_lock lock(mutex_);
  for (const Key& key : keys) {
    const auto found = held_.find(key);
    if (found == held_.end()) continue;
    if (kept.contains(key.first)) {
      found->second.trusted_until = sent + lease_ - lease_ / 5;
    } else if (!found->second.lost) {
      found->second.lost = true;
      found->second.stop.request_stop();
      spdlog::warn("lease.lost workflow={} next=\"another replica works on it\"", key.first);
    }
  }
}

void ClaimBook::give_up_untrusted() {
  if (!shared_) return;
  const SteadyTime now = clock_.steady_now();
  std::scoped_lock lock(mutex_);
  for (auto& [key, held] : held_) {
    if (held.lost || now < held.trusted_until) continue;
    held.lost = true;
    held.stop.request_stop();
    spdlog::warn("lease.not_sure workflow={} next=\"stopped here; whoever claims it goes on\"", key.first);
  }
}

void ClaimBook::look_for_cancels(const std::stop_token& stop) {
  {
    std::scoped_lock lock(mutex_);
    if (held_.empty()) return;
  }
  // Not longer than a renewal may take: leases are renewed by the same thread.
  const Millis within = shared_ ? std::min(kLookForCancels, lease_ / 3) : kLookForCancels;
  const auto asked = store_.asked_to_cancel(owner_, {clock_.steady_now() + within, stop});
  if (!asked) return;  // the next look comes soon
  std::scoped_lock lock(mutex_);
  for (const store::WorkflowId& id : *asked)
    for (auto found = held_.lower_bound({id.value, 0}); found != held_.end() && found->first.first == id.value; ++found)
      found->second.stop.request_stop();
}

}  // namespace twinstep::engine
