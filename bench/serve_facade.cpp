// The façade: creates over kept-alive connections as fast as they are answered, then at half that rate, each counted
// from when it was due. The hub is the simulator without throttle; its own latency is measured by asking it directly.

#include <algorithm>
#include <fstream>

#include "event_texts.h"
#include "load_client.h"
#include "scenarios.h"
#include "serve_rows.h"
#include "twinstep/azure/connection_string.h"
#include "twinstep/azure/sas.h"

namespace twinstep::bench {
namespace {

constexpr uint64_t kWarmUp = 2'000;
constexpr int kDirect = 1'000;

struct Creates {
  std::vector<std::string> paths, bodies;
};

Creates creates(std::string_view name, uint64_t count) {
  Creates out;
  for (uint64_t n = 0; n < count; ++n) {
    out.paths.push_back(fmt::format("/api/devices/{}/{}-{}", kHubName, name, n));
    out.bodies.push_back(fmt::format(
        R"({{"EUI":"0004A30B{:08X}","activationType":"OTAA","deviceProfileId":"LORA/GenericA.1.0.2b_ETSI"}})", n));
  }
  return out;
}

/// Milliseconds that half of the creates take when the hub is asked by one client, one after the other.
Result<double> hub_latency(const Stage& stage) {
  std::ifstream file(stage.path("connection"));
  std::string text;
  std::getline(file, text);
  TRY_ASSIGN(auto connection, azure::HubConnection::parse(text));
  const std::string host = connection.host;
  const auto authenticator = azure::make_hub_sas_authenticator(std::move(connection), real_clock());
  const auto http = http::make_transport({.ca_file = stage.ca_file(), .proxy = "-", .user_agent = {}});
  std::vector<double> took;
  for (int n = 0; n < kDirect; ++n) {
    http::Request request;
    request.method = "POST";
    request.url = fmt::format("https://{}/devices?api-version=2021-04-12", host);
    request.headers.push_back({"Content-Type", "application/json"});
    request.body = fmt::format(
        R"([{{"id":"direct-{}","importMode":"create","status":"enabled","tags":{{"EUI":"0004A30B{:08X}"}}}}])", n, n);
    TRY(authenticator->sign(request, {}));
    const auto begin = std::chrono::steady_clock::now();
    TRY_ASSIGN(const http::Response response, http->send(request, {}));
    if (!response.ok()) return fail(ErrorKind::kUnavailable, "bench.sim", response.body);
    took.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(took.begin(), took.begin() + kDirect / 2, took.end());
  return took[kDirect / 2];
}

}  // namespace

Result<RowReport> measure_facade(const ServeOptions& options, Stores& stores, StoreKind kind) {
  TRY_ASSIGN(const auto stage, Stage::open(stores, {.store = kind, .facade = true}));
  TRY_ASSIGN(Daemon daemon, stage->daemon());
  TRY_ASSIGN(const double direct, hub_latency(*stage));
  const auto post = [&](const Creates& what, double rate) {
    return post_all(daemon.listen, what.paths, what.bodies, options.connections, rate);
  };
  const uint64_t before = std::min(kWarmUp, options.creates);
  TRY_ASSIGN(const LoadResult warm, post(creates("warm", before), 0));
  const Usage at_start = usage_of(daemon.process->pid());
  TRY_ASSIGN(const LoadResult load, post(creates("load", options.creates), 0));
  const Usage at_end = usage_of(daemon.process->pid());
  const double rate = static_cast<double>(load.good) / load.seconds;
  TRY_ASSIGN(const LoadResult half, post(creates("half", options.creates), rate / 2));
  daemon.process->end(SIGTERM);

  const auto wanted = static_cast<int64_t>(before + 2 * options.creates);
  TRY_ASSIGN(const int64_t records, number_of(*stage, "SELECT count(*) FROM workflow WHERE state = 'done'"));
  TRY_ASSIGN(const int64_t lines, number_of(*stage, "SELECT count(*) FROM history WHERE what = 'IoTHubDeviceCreated'"));
  RowReport out;
  out.figures = {{"creates", options.creates},
                 {"errors", warm.bad + load.bad + half.bad},
                 {"createsPerSecond", rate},
                 {"p50Ms", load.percentile(50)},
                 {"p99Ms", load.percentile(99)},
                 {"halfRate", rate / 2},
                 {"halfP50Ms", half.percentile(50)},
                 {"halfP99Ms", half.percentile(99)},
                 {"hubMs", direct},
                 {"halfP99AboveHubMs", half.percentile(99) - direct},
                 {"daemonCpuSeconds", at_end.cpu_seconds - at_start.cpu_seconds},
                 {"daemonMb", at_end.resident_mb}};
  out.correct = records == wanted && lines == wanted && warm.bad + load.bad + half.bad == 0;
  return out;
}

}  // namespace twinstep::bench
