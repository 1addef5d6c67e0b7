#include "twinstep/app/figures.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>

#include "twinstep/api/workflow_json.h"
#include "twinstep/store/backlog.h"
#include "twinstep/workflows/device_task.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::app {
namespace {

using store::State;

constexpr Millis kReadEvery{5'000};
constexpr int kCountSeldom = 400;  // times as long as counting took
constexpr Millis kStoreTime{15'000};
constexpr size_t kMostEnded = 1'000;

/// What a line of a task's history says of a change, in the metrics' words.
struct Said {
  std::string_view line, kind, result;
};
constexpr std::array kSaid{
    Said{"ExternalDeviceCreated", "create", "done"},          Said{"ExternalDeviceCreationError", "create", "error"},
    Said{"ExternalDeviceCreationFailed", "create", "failed"}, Said{"ExternalDeviceDeleted", "delete", "done"},
    Said{"ExternalDeviceDeletedError", "delete", "error"},    Said{"ExternalDeviceDeleteFailed", "delete", "failed"}};

constexpr std::array kDoneByFacade{
    Said{"IoTHubDeviceCreated", "create", "done"}, Said{"IoTHubDeviceDeleted", "delete", "done"},
    Said{"IoTHubDeviceDisabled", "disable", "done"}, Said{"IoTHubDeviceEnabled", "update", "done"},
    Said{"IoTHubDeviceAdopted", "adopt", "done"}};

bool has_ended(State state) { return state == State::kDone || state == State::kFailed || state == State::kCancelled; }

/// Both are told; the first one may be empty.
template <class First, class Second>
auto both(First first, Second second) {
  return [first = std::move(first), second = std::move(second)](const auto&... what) {
    if (first) first(what...);
    second(what...);
  };
}

}  // namespace

Figures::Figures(const config::Config& config, store::Database& database, obs::Metrics& metrics, Clock& clock)
    : config_(config),
      database_(database),
      metrics_(metrics),
      clock_(clock),
      store_(database),
      state_(database),
      links_(store_, state_) {
  for (const config::Link& link : config.links) {
    for (const auto state : {State::kDone, State::kFailed, State::kCancelled}) {
      metrics_.run_ended(link.name, store::to_string(state), 0);
      metrics_.task_ended(link.name, store::to_string(state), 0);
    }
    metrics_.run_ended(link.name, store::to_string(State::kBlocked), 0);
  }
}

Figures::~Figures() { stop(); }

void Figures::listen_to(engine::EngineOptions& options) {
  options.on_recorded =
      both(std::move(options.on_recorded), [this](const store::Workflow& claim, const store::Finish& finish,
                                                  State state) { recorded(claim, finish, state); });
  options.on_rest = both(std::move(options.on_rest), [this](const engine::LaneRest& rest) { rested(rest); });
  options.on_worked =
      both(std::move(options.on_worked), [this](const store::Workflow& claim, const store::Finish& finish,
                                                std::chrono::nanoseconds took) { worked(claim, finish, took); });
}

void Figures::taken_in(const api::IntakeCounts& more) {
  metrics_.deliveries(more.deliveries);
  metrics_.events("started", more.started);
  metrics_.events("joined", more.joined);
  metrics_.events("known", more.known);
  metrics_.events("ignored", more.ignored);
  metrics_.events("failed", more.failed);
  for (const auto& [hub, count] : more.unknown_hubs) metrics_.events("refused", count);
}

void Figures::worked(const store::Workflow& claim, const store::Finish& finish, std::chrono::nanoseconds took) {
  metrics_.attempt_ended(claim.lane, store::to_string(finish.state), took);
  if (api::is_run(claim)) metrics_.run_worked(api::subject_of(claim.key).link, took);
}

void Figures::recorded(const store::Workflow& claim, const store::Finish& finish, State state) {
  const std::string_view link = api::subject_of(claim.key).link;
  if (!api::is_run(claim)) {
    for (const store::HistoryLine& line : finish.history)
      for (const Said& said : kSaid)
        if (line.what == said.line) metrics_.changed(link, said.kind, said.result, 1);
    if (has_ended(state)) metrics_.task_ended(link, store::to_string(state));
    return;
  }
  constexpr std::string_view kGuard = "guard.";
  if (finish.error_code.starts_with(kGuard)) metrics_.guard_tripped(link, finish.error_code.substr(kGuard.size()));
  if (!has_ended(state) && state != State::kBlocked) return;
  metrics_.run_ended(link, store::to_string(state));
  std::scoped_lock lock(mutex_);
  run_ended_ = true;
  if (has_ended(state) && ended_.size() < kMostEnded) ended_.emplace_back(link, claim.id);
  changed_.notify_all();
}

void Figures::done_by_facade(const store::NewWorkflow& task) {
  const std::string_view link = api::subject_of(task.key).link;
  for (const store::HistoryLine& line : task.history)
    for (const Said& said : kDoneByFacade)
      if (line.what == said.line) metrics_.changed(link, said.kind, said.result, 1);
  metrics_.task_ended(link, store::to_string(task.state));
}

void Figures::rested(const engine::LaneRest& rest) { metrics_.lane_alarm(rest.lane, rest.rests && rest.alarm); }

void Figures::start(const engine::Engine& engine) {
  metrics_.lanes_from([&engine] {
    std::vector<obs::LaneFigures> out;
    for (const engine::LaneState& lane : engine.lanes())
      out.push_back({lane.name, lane.threads, lane.busy, !lane.trouble.empty()});
    return out;
  });
  thread_ = std::jthread([this](std::stop_token stop) { watch(std::move(stop)); });
}

void Figures::stop() {
  if (!thread_.joinable()) return;
  thread_ = {};
  metrics_.forget_service();
}

void Figures::watch(std::stop_token stop) {
  bool good = true;
  while (!stop.stop_requested()) {
    const Status read = read_store({clock_.steady_now() + kStoreTime, stop});
    if (stop.stop_requested()) return;
    if (!read) metrics_.store_up(false);
    if (!read && good) spdlog::warn("figures.blind reason=\"{}\"", read.error().what);
    good = read.has_value();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, kReadEvery, [this] { return run_ended_; });
    run_ended_ = false;
  }
}

Status Figures::read_store(const Call& call) {
  if (clock_.steady_now() >= count_again_) TRY(read_backlog(call));
  TRY(read_links(call));
  metrics_.store_figures({read_, backlog_, clock_.steady_now()});
  return {};
}

Status Figures::read_backlog(const Call& call) {
  const SteadyTime began = clock_.steady_now();
  TRY_ASSIGN(const auto counts, store::count_lanes(database_, call));
  TRY_ASSIGN(const auto pauses, store_.pauses(call));
  std::map<std::string, obs::LaneBacklog> lanes;
  // A lane without work is 0, not absent: an alert on it must not vanish.
  for (const config::Link& link : config_.links)
    for (const std::string& lane : {workflows::external_lane(link.external), workflows::run_lane(link.hub)})
      for (const auto state : {State::kQueued, State::kWaiting, State::kRunning, State::kBlocked, State::kFailed})
        lanes[lane].by_state[std::string(store::to_string(state))] = 0;
  for (const store::LaneCount& one : counts) {
    obs::LaneBacklog& lane = lanes[one.lane];
    lane.by_state[std::string(store::to_string(one.state))] = one.count;
    if (one.state == State::kWaiting) lane.overdue = one.overdue;
  }
  for (const store::Pause& pause : pauses) lanes[pause.lane].resting = true;
  backlog_.clear();
  for (auto& [name, lane] : lanes) {
    lane.lane = name;
    backlog_.push_back(std::move(lane));
  }
  const SteadyTime now = clock_.steady_now();
  count_again_ = now + std::max<SteadyTime::duration>(kReadEvery - Millis{500}, (now - began) * kCountSeldom);
  return {};
}

Status Figures::read_links(const Call& call) {
  std::vector<obs::LinkFigures> links;
  for (const config::Link& link : config_.links) {
    TRY_ASSIGN(links.emplace_back(), links_.read(link, call));
  }
  read_ = std::move(links);
  for (;;) {
    std::pair<std::string, store::WorkflowId> run;
    {
      std::scoped_lock lock(mutex_);
      if (ended_.empty()) return {};
      run = ended_.back();
    }
    auto steps = store_.steps(run.second, call);
    if (!steps && steps.error().transient()) return fail(std::move(steps).error());
    if (steps)
      for (const auto& [what, count] : facts_of(*steps).changes)
        metrics_.changed(run.first, what.first, what.second, count);
    std::scoped_lock lock(mutex_);
    std::erase_if(ended_, [&](const auto& one) { return one.second.value == run.second.value; });
  }
}

}  // namespace twinstep::app
