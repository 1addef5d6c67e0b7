// Rows 4 and 5: events taken in. The lane works at the definition's own rate meanwhile, so that the backlog grows as it
// would in a flood.

#include <algorithm>

#include "event_texts.h"
#include "load_client.h"
#include "serve_rows.h"

namespace twinstep::bench {
namespace {

constexpr uint64_t kWarmUp = 1'000;

json::object figures_of(const LoadResult& load, uint64_t events) {
  return {{"events", events},
          {"requests", load.good + load.bad},
          {"errors", load.bad},
          {"seconds", load.seconds},
          {"eventsPerSecond", static_cast<double>(events) / load.seconds},
          {"p50Ms", load.percentile(50)},
          {"p95Ms", load.percentile(95)},
          {"p99Ms", load.percentile(99)}};
}

Result<RowReport> measure_intake(const ServeOptions& options, Stores& stores, StoreKind kind, uint64_t batch) {
  TRY_ASSIGN(const auto stage, Stage::open(stores, {.store = kind}));
  TRY_ASSIGN(Daemon daemon, stage->daemon());
  const auto before = created_events(0, kWarmUp, batch);
  TRY_ASSIGN(const LoadResult warm, post_all(daemon.listen, kListenerPath, before, options.connections));
  const auto bodies = created_events(kWarmUp, options.events, batch);
  const Usage at_start = usage_of(daemon.process->pid());
  TRY_ASSIGN(const LoadResult load, post_all(daemon.listen, kListenerPath, bodies, options.connections));
  const Usage at_end = usage_of(daemon.process->pid());
  // A second time: known events start nothing.
  const std::vector<std::string> again(bodies.begin(),
                                       bodies.begin() + static_cast<ptrdiff_t>((bodies.size() + 9) / 10));
  TRY_ASSIGN(const LoadResult known, post_all(daemon.listen, kListenerPath, again, options.connections));
  daemon.process->end(SIGTERM);

  RowReport out;
  const auto wanted = static_cast<int64_t>(kWarmUp + options.events);
  TRY_ASSIGN(const int64_t tasks, number_of(*stage, "SELECT count(*) FROM workflow"));
  TRY_ASSIGN(const int64_t devices, number_of(*stage, "SELECT count(DISTINCT key) FROM workflow"));
  TRY_ASSIGN(const int64_t seen, number_of(*stage, "SELECT count(*) FROM seen"));
  out.figures = figures_of(load, options.events);
  out.figures["bodyBytes"] = bodies.front().size();
  out.figures["daemonCpuSeconds"] = at_end.cpu_seconds - at_start.cpu_seconds;
  out.figures["daemonMb"] = at_end.resident_mb;
  out.figures["lost"] = wanted - std::min({devices, tasks, seen});
  out.figures["doubled"] = tasks - devices;
  out.correct = tasks == wanted && devices == wanted && seen == wanted && load.bad + warm.bad + known.bad == 0;
  return out;
}

}  // namespace

Result<int64_t> number_of(const Stage& stage, std::string_view sql) {
  TRY_ASSIGN(const auto database, stage.database());
  TRY_ASSIGN(const store::Rows rows, database->ask(sql, {}, {}));
  return rows.number(0, 0);
}

Result<RowReport> measure_webhook(const ServeOptions& options, Stores& stores, StoreKind kind) {
  return measure_intake(options, stores, kind, 1);
}

Result<RowReport> measure_batches(const ServeOptions& options, Stores& stores, StoreKind kind) {
  return measure_intake(options, stores, kind, options.batch);
}

Result<RowReport> measure_pgboss(const ServeOptions& options, Stores& stores, StoreKind) {
  const std::string folder = TWINSTEP_BENCH_PEERS;
  if (!std::filesystem::exists(folder + "/node_modules/pg-boss"))
    return fail(ErrorKind::kUnavailable, "bench.peers",
                fmt::format("pg-boss is not installed: run `npm ci` in {}", folder));
  TRY_ASSIGN(testing::PostgresServer * server, stores.postgresql());
  // It keeps its tables in a schema of its own, which is made anew for every run.
  server->sql("DROP SCHEMA IF EXISTS pgboss CASCADE");
  TRY_ASSIGN(const auto process, Server::start({"node", folder + "/pgboss_intake.mjs", server->uri()}));
  TRY_ASSIGN(const json::value where, json::parse(process->ready_line(), "pgboss_intake.mjs's first line"));
  const auto port = static_cast<uint16_t>(json::int_or(where.as_object(), "listen", 0));
  TRY_ASSIGN(const LoadResult warm, post_all(port, "/", created_events(0, kWarmUp, 1), options.connections));
  const auto bodies = created_events(kWarmUp, options.events, 1);
  const Usage at_start = usage_of(process->pid());
  TRY_ASSIGN(const LoadResult load, post_all(port, "/", bodies, options.connections));
  const Usage at_end = usage_of(process->pid());
  process->end(SIGTERM);

  RowReport out;
  const auto jobs = std::strtoull(server->sql("SELECT count(*) FROM pgboss.job").c_str(), nullptr, 10);
  server->sql("DROP SCHEMA pgboss CASCADE");
  out.figures = figures_of(load, options.events);
  out.figures["daemonCpuSeconds"] = at_end.cpu_seconds - at_start.cpu_seconds;
  out.figures["daemonMb"] = at_end.resident_mb;
  out.correct = jobs == kWarmUp + options.events && load.bad + warm.bad == 0;
  return out;
}

}  // namespace twinstep::bench
