// The daemon's numbers: rows 4 to 8 of what twinstep must hold, and how it grows with replicas. One JSON object a line.

#include <algorithm>
#include <array>
#include <iostream>
#include <thread>

#include "arguments.h"
#include "scenarios.h"
#include "serve_rows.h"

namespace twinstep::bench {
namespace {

constexpr std::string_view kUsage =
    "usage: twinstep-bench serve [webhook|batches|pgboss|latency|waiting|idle|replicas|facade|cost]... [OPTIONS]\n"
    "  without a row: all of them\n"
    "  --store S          sqlite, postgresql or both (default); pgboss and replicas use PostgreSQL\n"
    "  --events N         of webhook, batches, pgboss and cost (default 100000)\n"
    "  --creates N        of facade (default 20000)\n"
    "  --connections N    over which they come (default 64)\n"
    "  --batch N          events in a body, of batches (default 100)\n"
    "  --rate N           events a second, of latency (default 20)\n"
    "  --seconds N        how long latency and waiting look (default 20)\n"
    "  --waiting N        tasks of waiting (default 1000000)\n"
    "  --tasks N          of replicas, for two of them (default 4000)\n"
    "  --delay-ms N       until the network server answers (default 100)\n";

struct NamedRow {
  std::string_view name;
  Row row;
  bool postgresql_only;
};
constexpr std::array<NamedRow, 9> kRows{{{"webhook", measure_webhook, false},
                                         {"batches", measure_batches, false},
                                         {"pgboss", measure_pgboss, true},
                                         {"latency", measure_latency, false},
                                         {"waiting", measure_waiting, false},
                                         {"idle", measure_idle, false},
                                         {"replicas", measure_replicas, true},
                                         {"facade", measure_facade, false},
                                         {"cost", measure_cost, false}}};

const NamedRow* row_named(std::string_view name) {
  const auto found = std::find_if(kRows.begin(), kRows.end(), [&](const NamedRow& row) { return row.name == name; });
  return found == kRows.end() ? nullptr : &*found;
}

}  // namespace

Result<bool> serve(const std::vector<std::string>& arguments) {
  ServeOptions options;
  std::string store = "both";
  Arguments bound(kUsage);
  bound.bind("--store", &store);
  bound.bind("--events", &options.events);
  bound.bind("--creates", &options.creates);
  bound.bind("--connections", &options.connections);
  bound.bind("--batch", &options.batch);
  bound.bind("--rate", &options.rate);
  bound.bind("--seconds", &options.seconds);
  bound.bind("--waiting", &options.waiting);
  bound.bind("--tasks", &options.tasks);
  bound.bind("--delay-ms", &options.delay_ms);
  const auto first_option = std::find_if(arguments.begin(), arguments.end(),
                                         [](const std::string& argument) { return argument.starts_with("--"); });
  TRY(bound.read({first_option, arguments.end()}));
  std::vector<NamedRow> rows;
  for (auto name = arguments.begin(); name != first_option; ++name) {
    const NamedRow* row = row_named(*name);
    if (!row) return bound.wrong(fmt::format("there is no row '{}'", *name));
    rows.push_back(*row);
  }
  if (rows.empty()) rows.assign(kRows.begin(), kRows.end());
  if (store != "both" && store != to_string(StoreKind::kSqlite) && store != to_string(StoreKind::kPostgresql))
    return bound.wrong(fmt::format("--store knows sqlite, postgresql and both, not '{}'", store));

  Stores stores;
  bool correct = true;
  for (const NamedRow& row : rows) {
    for (const StoreKind kind : {StoreKind::kSqlite, StoreKind::kPostgresql}) {
      const bool sqlite = kind == StoreKind::kSqlite;
      if (row.postgresql_only ? sqlite : store != "both" && store != to_string(kind)) continue;
      auto measured = row.row(options, stores, kind);
      if (!measured) return fail_within(std::move(measured), fmt::format("{} {}", row.name, to_string(kind)));
      json::object line{
          {"row", row.name}, {"store", to_string(kind)}, {"processors", std::thread::hardware_concurrency()}};
      for (auto& [name, value] : measured->figures) line[name] = std::move(value);
      line["correct"] = measured->correct;
      std::cout << json::write(line) << std::endl;
      if (!measured->correct)
        std::cerr << fmt::format("twinstep-bench: {} with {}: something was lost, doubled or refused\n", row.name,
                                 to_string(kind));
      correct = correct && measured->correct;
    }
  }
  return correct;
}

}  // namespace twinstep::bench
