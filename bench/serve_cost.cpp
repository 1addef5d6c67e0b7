// What a key and the metrics cost where events are taken in: the same deliveries with and without a key, in turns, and
// the very calls that count one of them.

#include <algorithm>

#include "event_texts.h"
#include "load_client.h"
#include "serve_rows.h"
#include "twinstep/obs/metrics.h"

namespace twinstep::bench {
namespace {

constexpr uint64_t kWarmUp = 1'000;
constexpr int kTurns = 4;
constexpr double kRate = 2'500;  // events a second: how many share a commit must not differ between the turns
constexpr int kCounted = 200'000;

struct Cost {
  double micros = 0;  ///< processor time of the daemon for an event
  uint64_t refused = 0;
};

/// A daemon on a store of its own; its webhook needs a key as soon as there is one.
Result<Cost> cost_of(uint64_t events, uint64_t connections, Stores& stores, StoreKind kind, bool keyed) {
  TRY_ASSIGN(const auto stage, Stage::open(stores, {.store = kind}));
  std::string path = kListenerPath;
  if (keyed) {
    TRY_ASSIGN(const std::string key, stage->make_key("events"));
    path += "?code=" + key;
  }
  TRY_ASSIGN(Daemon daemon, stage->daemon());
  TRY_ASSIGN(const LoadResult warm, post_all(daemon.listen, path, created_events(0, kWarmUp, 1), connections));
  const auto bodies = created_events(kWarmUp, events, 1);
  const Usage before = usage_of(daemon.process->pid());
  TRY_ASSIGN(const LoadResult load, post_all(daemon.listen, path, bodies, connections, kRate));
  const Usage after = usage_of(daemon.process->pid());
  Cost out{(after.cpu_seconds - before.cpu_seconds) * 1e6 / static_cast<double>(events), warm.bad + load.bad};
  if (keyed) {
    TRY_ASSIGN(const LoadResult without, post_all(daemon.listen, kListenerPath, {bodies.front()}, 1));
    if (without.good != 0)
      return fail(ErrorKind::kCorrupt, "bench.open", "the webhook took an event without a key, so none was measured");
  }
  daemon.process->end(SIGTERM);
  return out;
}

/// What the daemon counts for one delivery of one event that starts a task, in microseconds.
double metrics_micros() {
  obs::Metrics metrics("bench", real_clock());
  const auto took = std::chrono::microseconds{100};
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCounted; ++i) {
    metrics.http_answered("POST", kListenerPath, 200, took);
    metrics.deliveries(1);
    metrics.events("started", 1);
    for (const char* name : {"joined", "known", "ignored", "failed"}) metrics.events(name, 0);
    metrics.store_called("write", took);
    metrics.store_called("commit", took);
  }
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / kCounted;
}

}  // namespace

Result<RowReport> measure_cost(const ServeOptions& options, Stores& stores, StoreKind kind) {
  const uint64_t events = std::max<uint64_t>(1, options.events / (2 * kTurns));
  std::vector<double> open, keyed;
  uint64_t refused = 0;
  // Each goes first as often: the disk may still be busy with what the one before left.
  for (int turn = 0; turn < kTurns; ++turn)
    for (const bool key : {turn % 2 == 1, turn % 2 == 0}) {
      TRY_ASSIGN(const Cost cost, cost_of(events, options.connections, stores, kind, key));
      (key ? keyed : open).push_back(cost.micros);
      refused += cost.refused;
    }
  // The least of the turns: whatever else the machine does can only add to it.
  const double without = *std::min_element(open.begin(), open.end());
  const double with = *std::min_element(keyed.begin(), keyed.end());
  const double counting = metrics_micros();
  RowReport out;
  out.figures = {{"events", 2 * kTurns * events},
                 {"withoutKeyMicros", without},
                 {"withKeyMicros", with},
                 {"metricsMicros", counting},
                 {"keyPercent", without > 0 ? (with - without) / without * 100 : 0},
                 {"metricsPercent", without > 0 ? counting / without * 100 : 0}};
  out.correct = refused == 0;
  return out;
}

}  // namespace twinstep::bench
