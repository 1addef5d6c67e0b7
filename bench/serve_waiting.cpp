// Rows 7 and 8: what a daemon costs that has little to do.

#include <algorithm>
#include <thread>

#include "event_texts.h"
#include "load_client.h"
#include "serve_rows.h"
#include "twinstep/http/client.h"

namespace twinstep::bench {
namespace {

constexpr auto kPatience = std::chrono::seconds{60};
constexpr uint64_t kAtWork = 64;  // events just before the crash

/// Tasks that wait for their devices' tags for two days, as the first look at the twin left them.
Status put_waiting_tasks(const Stage& stage, uint64_t count) {
  constexpr uint64_t kAtOnce = 50'000;
  TRY_ASSIGN(const auto database, stage.database());
  for (uint64_t from = 0; from < count; from += kAtOnce) {
    const auto first = static_cast<int64_t>(from);
    const auto last = static_cast<int64_t>(std::min(from + kAtOnce, count));
    TRY(database->write(
        [&](store::Transaction& transaction) -> Status {
          TRY(transaction.run(
              "WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) "
              "INSERT INTO workflow (id, kind, lane, key, state, due, attempt, waited, epoch, input, status, "
              "error_code, created, updated) "
              "SELECT '0000000000000000' || CAST(1000000000000000 + i AS TEXT), 'device', 'external/network', "
              "'device/bench/waiting-' || i, 'waiting', {now} + 172800000000 + i, 1, 60000, 1, "
              "'{\"link\":\"bench\",\"device\":\"waiting-' || i || '\",\"what\":\"created\","
              "\"source\":\"event 6f1d1f0c-5d0c-4f6e-9b0a-0c6d1a2b3c4d\"}', "
              "'waits for tags: EUI is missing, activationType is missing', 'device.tags-missing', {now}, {now} FROM n",
              {first, last}));
          TRY(transaction.run(
              "WITH RECURSIVE n(i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) "
              "INSERT INTO seen (id, workflow, at) SELECT 'bench/6f1d1f0c-5d0c-4f6e-9b0a-' || i || "
              "':0123456789abcdef0123456789abcdef', '0000000000000000' || CAST(1000000000000000 + i AS TEXT), {now} "
              "FROM n",
              {first, last}));
          return {};
        },
        {}));
  }
  return {};
}

json::object usage_over(const Daemon& daemon, uint64_t seconds) {
  const Usage before = usage_of(daemon.process->pid());
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  const Usage after = usage_of(daemon.process->pid());
  return {{"seconds", seconds},
          {"cpuPercent", 100 * (after.cpu_seconds - before.cpu_seconds) / static_cast<double>(seconds)},
          {"residentMb", after.resident_mb},
          {"anonymousMb", after.anonymous_mb}};
}

/// Seconds from `since` until an event that is posted now has been worked on; 0 when that does not happen.
Result<double> work_again(Stage& stage, const Daemon& daemon, uint64_t device) {
  TRY_ASSIGN(const LoadResult sent, post_all(daemon.listen, kListenerPath, created_events(device, 1, 1), 1));
  if (sent.bad > 0 || !stage.network().wait_until_created(device_id(device), kPatience)) return 0.0;
  return std::chrono::duration<double>(*stage.network().created(device_id(device)) - daemon.started).count();
}

/// The longest of some scrapes of /metrics, in milliseconds; what they cost does not count as idle. Errors  no scrape.
Result<double> longest_scrape(const Daemon& daemon) {
  constexpr int kScrapes = 50;
  const auto client = http::make_transport({.ca_file = {}, .proxy = "-", .user_agent = {}});
  http::Request request;
  request.url = fmt::format("http://127.0.0.1:{}/metrics", daemon.listen);
  double longest = 0;
  for (int i = 0; i < kScrapes; ++i) {
    const auto before = std::chrono::steady_clock::now();
    TRY_ASSIGN(const http::Response answer, client->send(request, {}));
    if (!answer.ok()) return fail(ErrorKind::kCorrupt, "bench.scrape", fmt::format("/metrics: {}", answer.status));
    longest =
        std::max(longest, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
  }
  return longest;
}

}  // namespace

Result<RowReport> measure_waiting(const ServeOptions& options, Stores& stores, StoreKind kind) {
  TRY_ASSIGN(const auto stage, Stage::open(stores, {.store = kind,
                                                    .network_delay = std::chrono::milliseconds(options.delay_ms),
                                                    .requests_per_second = 1'000}));
  TRY(put_waiting_tasks(*stage, options.waiting));
  TRY_ASSIGN(Daemon daemon, stage->daemon());
  TRY_ASSIGN(const double first, work_again(*stage, daemon, 1));
  std::this_thread::sleep_for(std::chrono::seconds{1});
  RowReport out;
  out.figures = usage_over(daemon, options.seconds);
  out.figures["tasks"] = options.waiting;
  TRY_ASSIGN(const double scrape, longest_scrape(daemon));
  out.figures["longestScrapeMs"] = scrape;
  // Killed while it works.
  TRY_ASSIGN(const LoadResult load, post_all(daemon.listen, kListenerPath, created_events(100, kAtWork, 1), kAtWork));
  daemon.process->end(SIGKILL);
  TRY_ASSIGN(Daemon again, stage->daemon());
  TRY_ASSIGN(const double working, work_again(*stage, again, 2));
  again.process->end(SIGTERM);
  out.figures["readyAfterCrashSeconds"] = again.ready_seconds;
  out.figures["workingAfterCrashSeconds"] = working;
  TRY_ASSIGN(const int64_t tasks, number_of(*stage, "SELECT count(*) FROM workflow"));
  out.correct =
      first > 0 && working > 0 && load.bad == 0 && tasks == static_cast<int64_t>(options.waiting + kAtWork + 2);
  return out;
}

Result<RowReport> measure_idle(const ServeOptions& options, Stores& stores, StoreKind kind) {
  TRY_ASSIGN(const auto stage, Stage::open(stores, {.store = kind}));
  {
    TRY_ASSIGN(Daemon first, stage->daemon());  // makes the store
  }
  std::vector<double> ready;
  for (int i = 0; i < 5; ++i) {
    TRY_ASSIGN(const Daemon daemon, stage->daemon());
    ready.push_back(1000 * daemon.ready_seconds);
  }
  std::sort(ready.begin(), ready.end());
  TRY_ASSIGN(const Daemon daemon, stage->daemon());
  std::this_thread::sleep_for(std::chrono::seconds{2});
  RowReport out;
  out.figures = usage_over(daemon, std::min<uint64_t>(options.seconds, 5));
  out.figures["readyMs"] = ready[ready.size() / 2];
  out.figures["readyMsWorst"] = ready.back();
  out.correct = true;
  return out;
}

}  // namespace twinstep::bench
