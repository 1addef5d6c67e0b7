#include "twinstep/engine/engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "twinstep/engine/lane.h"

namespace twinstep::engine {
namespace {

constexpr Millis kHouseTime{15'000};  // one call of housekeeping
constexpr Millis kHouseEvery{5'000};
constexpr Millis kPurgeEvery{60'000};
constexpr int kPurgeAtOnce = 2'000;  // rows, so that webhooks need not wait for it

}  // namespace

struct Engine::Impl {
  Impl(store::Database& database_in, EngineOptions options_in, Clock& clock_in, Rng& rng_in)
      : database(database_in),
        options(std::move(options_in)),
        clock(clock_in),
        rng(rng_in),
        store(database),
        claims(store, database.shared(), options.owner, options.lease, clock) {}

  /// Who is not seen for a lease holds none any more.
  Status count_replicas(const Call& call) {
    TRY_ASSIGN(const int now, store.be_seen(options.owner, options.lease, call));
    if (std::exchange(replicas, now) != now && options.on_replicas) options.on_replicas(now);
    return {};
  }

  /// Nobody worked on them when they ended, so it is told here.
  void expire_blocked(const Call& call) {
    const auto expired = store.expire_blocked(call);
    if (!expired) return;
    for (const store::Workflow& one : *expired) {
      spdlog::warn("runs.expired run={} key={} reason=\"{}\"", one.id.value, one.key, one.status);
      store::Finish finish;
      finish.state = one.state;
      finish.status = one.status;
      if (options.on_recorded) options.on_recorded(one, finish, one.state);
    }
  }

  void keep_house(std::stop_token stop) {
    const Millis every = std::min(options.lease / 3, kHouseEvery);
    SteadyTime purge_at = clock.steady_now() + every;
    while (clock.sleep_for(every, stop)) {
      const Call call{clock.steady_now() + kHouseTime, stop};
      (void)count_replicas(call);  // while the store is away nobody can tell, and the share stays
      if (const auto rescued = store.rescue(call); rescued && *rescued > 0)
        spdlog::warn("workflows.rescued count={} reason=\"the leases of their owners ran out\"", *rescued);
      expire_blocked(call);
      if (clock.steady_now() < purge_at) continue;
      const auto removed = store.purge(options.history, kPurgeAtOnce, call);
      // More may be left: go on at the next round instead of waiting for the next minute.
      if (!removed || *removed < kPurgeAtOnce) purge_at = clock.steady_now() + kPurgeEvery;
    }
  }

  store::Database& database;
  const EngineOptions options;
  Clock& clock;
  Rng& rng;
  store::WorkflowStore store;
  ClaimBook claims;
  std::vector<std::unique_ptr<Lane>> lanes;
  std::jthread house;
  bool started = false;
  int replicas = 0;  // of keep_house(), and of start() before it
};

Engine::Engine(store::Database& database, EngineOptions options, Clock& clock, Rng& rng)
    : impl_(std::make_unique<Impl>(database, std::move(options), clock, rng)) {}

Engine::~Engine() { stop(); }

void Engine::add_lane(LaneOptions lane) {
  impl_->lanes.push_back(
      std::make_unique<Lane>(std::move(lane), impl_->store, impl_->claims, impl_->options, impl_->clock, impl_->rng));
}

Status Engine::start(const Call& call) {
  TRY_ASSIGN(const int64_t taken, impl_->store.begin(call));
  if (taken > 0) spdlog::info("workflows.taken_over count={} reason=\"an earlier process ended while at work\"", taken);
  TRY_ASSIGN(const auto pauses, impl_->store.pauses(call));
  TRY(impl_->count_replicas(call));
  impl_->database.listen([impl = impl_.get()](std::string_view channel) {
    for (auto& lane : impl->lanes)
      if (channel.empty() || lane->name() == channel) lane->look_now();
  });
  impl_->started = true;
  impl_->claims.start();
  for (auto& lane : impl_->lanes) {
    const bool resting = std::any_of(pauses.begin(), pauses.end(),
                                     [&](const store::Pause& pause) { return pause.lane == lane->name(); });
    lane->start(resting);
  }
  impl_->house = std::jthread([impl = impl_.get()](std::stop_token stop) { impl->keep_house(std::move(stop)); });
  return {};
}

void Engine::stop() {
  if (!impl_->started) return;
  impl_->started = false;
  impl_->database.listen({});
  for (auto& lane : impl_->lanes) lane->stop_claiming();
  impl_->claims.stop_all();
  for (auto& lane : impl_->lanes) lane->stop();
  impl_->house = {};
  impl_->claims.stop();
  (void)impl_->store.leave(impl_->options.owner, {impl_->clock.steady_now() + Millis{2'000}, {}});
}

store::WorkflowStore& Engine::store() { return impl_->store; }

std::vector<LaneState> Engine::lanes() const {
  std::vector<LaneState> out;
  for (const auto& lane : impl_->lanes) out.push_back(lane->state());
  return out;
}

uint64_t Engine::attempts() const {
  uint64_t all = 0;
  for (const auto& lane : impl_->lanes) all += lane->attempts();
  return all;
}

}  // namespace twinstep::engine
