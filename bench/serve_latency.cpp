// Row 6, event to create, and how tasks per second grow with the replicas.

#include <algorithm>
#include <thread>
#include <tuple>

#include "event_texts.h"
#include "load_client.h"
#include "serve_rows.h"

namespace twinstep::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds{120};
constexpr auto kAcquainted = std::chrono::seconds{6};  // replicas count each other every five seconds

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

double percentile(const std::vector<double>& ascending, double p) {
  if (ascending.empty()) return 0;
  const auto at = static_cast<size_t>(p / 100 * static_cast<double>(ascending.size()));
  return ascending[std::min(at, ascending.size() - 1)];
}

struct Growth {
  double per_second = 0;
  bool correct = false;
};

/// Waits for the records of what the network server has answered.
Result<bool> all_done(const Stage& stage) {
  const auto until = Clock::now() + std::chrono::seconds{10};
  for (;;) {
    TRY_ASSIGN(const int64_t open, number_of(stage, "SELECT count(*) FROM workflow WHERE state <> 'done'"));
    if (open == 0 || Clock::now() > until) return open == 0;
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
}

/// Tasks are due before the replicas start; what counts is the time from when these know each other until the last
/// twentieth is begun.
Result<Growth> tasks_per_second(const ServeOptions& options, Stores& stores, size_t replicas, uint64_t rate,
                                uint64_t tasks) {
  TRY_ASSIGN(const auto stage, Stage::open(stores, {.store = StoreKind::kPostgresql,
                                                    .network_delay = std::chrono::milliseconds(options.delay_ms),
                                                    .requests_per_second = rate,
                                                    .hub_devices = tasks}));
  {
    TRY_ASSIGN(const auto database, stage->database());
    TRY(database->change(
        "WITH RECURSIVE n(i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1) "
        "INSERT INTO workflow (id, kind, lane, key, state, due, input, created, updated) "
        "SELECT 'task-' || i, 'device', 'external/network', 'device/bench/' || i, 'waiting', {now}, "
        "'{\"link\":\"bench\",\"device\":\"sensor-' || substr(CAST(100000000 + i AS TEXT), 2) || "
        "'\",\"what\":\"created\",\"source\":\"bench\"}', {now}, {now} FROM n",
        {static_cast<int64_t>(tasks)}, {}));
  }
  std::vector<Daemon> daemons;
  for (size_t i = 0; i < replicas; ++i) {
    TRY_ASSIGN(daemons.emplace_back(), stage->daemon());
  }
  NetworkServer& network = stage->network();
  // Each takes its share of the rate only when it knows of the others.
  if (replicas > 1) std::this_thread::sleep_for(kAcquainted);
  const size_t before = network.devices() + tasks / 20;
  if (!network.wait_until_devices(before, kPatience)) return Growth{};
  const size_t first = network.devices();
  const auto from = Clock::now();
  const size_t goal = tasks - tasks / 20;
  if (first >= goal || !network.wait_until_devices(goal, kPatience)) return Growth{};
  const double seconds = seconds_between(from, Clock::now());
  const double per_second = static_cast<double>(goal - first) / seconds;
  if (!network.wait_until_devices(tasks, kPatience)) return Growth{};
  TRY_ASSIGN(const bool recorded, all_done(*stage));
  for (Daemon& daemon : daemons) daemon.process->end(SIGTERM);
  return Growth{per_second, recorded && network.repeated() == 0};
}

}  // namespace

Result<RowReport> measure_latency(const ServeOptions& options, Stores& stores, StoreKind kind) {
  // The rate of the network server is not what is measured here.
  TRY_ASSIGN(const auto stage, Stage::open(stores, {.store = kind,
                                                    .network_delay = std::chrono::milliseconds(options.delay_ms),
                                                    .requests_per_second = 1'000}));
  TRY_ASSIGN(Daemon daemon, stage->daemon());
  const uint64_t warm_up = options.rate;
  const uint64_t events = options.rate * options.seconds;
  const auto bodies = created_events(0, warm_up + events, 1);
  std::vector<Clock::time_point> sent;
  uint64_t bad = 0;
  const auto begun = Clock::now();
  for (size_t i = 0; i < bodies.size(); ++i) {
    std::this_thread::sleep_until(begun + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                                              static_cast<double>(i) / static_cast<double>(options.rate))));
    sent.push_back(Clock::now());
    TRY_ASSIGN(const LoadResult one, post_all(daemon.listen, kListenerPath, {bodies[i]}, 1));
    bad += one.bad;
  }
  const bool all = stage->network().wait_until_devices(bodies.size(), kPatience);
  daemon.process->end(SIGTERM);

  std::vector<double> took;
  for (size_t i = warm_up; i < sent.size(); ++i) {
    const auto arrived = stage->network().created(device_id(i));
    if (arrived) took.push_back(1000 * seconds_between(sent[i], *arrived));
  }
  std::sort(took.begin(), took.end());
  const auto delay = static_cast<double>(options.delay_ms);
  RowReport out;
  out.figures = {{"events", took.size()},
                 {"eventsPerSecond", options.rate},
                 {"answerAfterMs", options.delay_ms},
                 {"arrivedP50Ms", percentile(took, 50)},
                 {"arrivedP95Ms", percentile(took, 95)},
                 {"arrivedP99Ms", percentile(took, 99)},
                 {"createdP50Ms", percentile(took, 50) + delay},
                 {"createdP95Ms", percentile(took, 95) + delay}};
  out.correct = all && bad == 0 && stage->network().repeated() == 0;
  return out;
}

Result<RowReport> measure_replicas(const ServeOptions& options, Stores& stores, StoreKind) {
  constexpr uint64_t kUnlimited = 100'000, kLimit = 100;
  RowReport out;
  out.correct = true;
  for (const auto& [name, rate, tasks] : {std::tuple{"handsAreTheLimit", kUnlimited, options.tasks},
                                          std::tuple{"rateIsTheLimit", kLimit, options.tasks / 2}}) {
    json::object rates;
    for (const size_t replicas : {1, 2, 4}) {
      TRY_ASSIGN(const Growth growth, tasks_per_second(options, stores, replicas, rate, tasks * replicas / 2));
      rates[std::to_string(replicas)] = growth.per_second;
      out.correct = out.correct && growth.correct;
    }
    out.figures[name] = json::object{{"requestsPerSecond", rate}, {"tasksPerSecond", std::move(rates)}};
  }
  out.figures["answerAfterMs"] = options.delay_ms;
  return out;
}

}  // namespace twinstep::bench
