// How much of a hub's quota `twinstep sync` uses while it applies changes: a simulated hub that throttles and runs
// faster than real time, and twinstep told of that factor. Without storage, so that changes go out as bulk and single
// calls.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <iostream>
#include <optional>
#include <thread>

#include "arguments.h"
#include "child.h"
#include "scenarios.h"
#include "temp_folder.h"
#include "twinstep/http/client.h"
#include "twinstep/json/json.h"

namespace twinstep::bench {
namespace {

constexpr std::string_view kUsage =
    "usage: twinstep-bench quota [--tier S1|S3] [--change create|delete|update|disable] [--seconds N]\n"
    "                            [--time-factor N] [--latency-ms N] [--least PERCENT]\n"
    "  --tier T         only this one (default: S1 and S3, one unit)\n"
    "  --change C       only this one (default: all four)\n"
    "  --seconds N      of simulated time in steady state (default: 1200 for identities on S1, else 240)\n"
    "  --time-factor N  simulated seconds in a second (default: 1,000 operations a second, at most 60)\n"
    "  --latency-ms N   simulated milliseconds until the hub answers (default 300)\n"
    "  --least PERCENT  of the quota that must be used (default 90)\n";

struct Options {
  std::string tier, change;
  uint64_t seconds = 0, time_factor = 0, latency_ms = 300, least = 90;
};

/// One measurement: a kind of change on a tier, and what the hub counts for it.
struct Case {
  std::string tier, change;
  double allowed = 0;  ///< operations a second; azure.md 1.12
  double window = 60;  ///< seconds in which the quota is counted
  uint64_t per_device = 1;
  std::vector<std::string> kinds;  ///< as the simulator names them
};

std::vector<Case> cases_of(const Options& options) {
  std::vector<Case> out;
  for (const std::string tier : {"S1", "S3"}) {
    const bool large = tier == "S3";
    const double identities = (large ? 5000.0 : 100.0) / 60;
    const double twins = large ? 250 : 50;
    for (const Case& one :
         {Case{tier, "create", identities, 60, 1, {"CRUD"}},                      // bulk calls of 100
          Case{tier, "delete", identities, 60, 1, {"CRUD"}},                      // bulk calls of 100
          Case{tier, "update", twins, 1, 1, {"TwinUpdate"}},                      // one patch a device
          Case{tier, "disable", identities, 60, 2, {"RegistryRead", "CRUD"}}}) {  // one read and one write a device
      if ((options.tier.empty() || options.tier == tier) && (options.change.empty() || options.change == one.change))
        out.push_back(one);
    }
  }
  return out;
}

std::string id_of(uint64_t device) { return fmt::format("bench-{:07}", device); }

constexpr uint64_t kUnchanged = 10;  // on both sides in every case: an empty list would change nothing

/// The two registries, so that every device but a few needs the change.
Status write_registries(const Case& one, uint64_t devices, const TempFolder& folder, std::string& hub_lines) {
  std::ofstream sheet(folder.path("sheet.ndjson"), std::ios::binary);
  for (uint64_t device = 0; device < devices + kUnchanged; ++device) {
    const bool changes = device < devices;
    const std::string id = id_of(device);
    if (!changes || one.change != "create")
      hub_lines += fmt::format(
          R"({{"id":"{0}","status":"enabled","tags":{{"deviceProfileId":"{1}","twinstep":{{"link":"quota"}}}}}})"
          "\n",
          id, changes && one.change == "update" ? "before" : "now");
    if (!changes || one.change == "create" || one.change == "update")
      sheet << R"({"deviceId":")" << id << R"(","deviceProfileId":"now"})" << '\n';
  }
  sheet.close();
  return sheet ? Status{} : fail(ErrorKind::kUnavailable, "bench.write", folder.path() + ": cannot be written");
}

void write_config(const Case& one, uint64_t time_factor, const TempFolder& folder) {
  // The connection string stands in the shell file that the simulator wrote.
  std::ifstream env(folder.path("sim.env"));
  for (std::string line; std::getline(env, line);) {
    constexpr std::string_view kStart = "export iothub='";
    if (line.starts_with(kStart))
      std::ofstream(folder.path("connection")) << line.substr(kStart.size(), line.size() - kStart.size() - 1);
  }
  std::ofstream(folder.path("twinstep.yaml")) << fmt::format(
      "hubs: {{sim: {{connection_string: \"file:{0}/connection\", tier: {1}, time_factor: {2}}}}}\n"
      "externals: {{sheet: {{provider: file, settings: {{path: \"{0}/sheet.ndjson\"}}}}}}\n"
      "links: [{{name: quota, hub: sim, external: sheet, deletes: {3},\n"
      "  limits: {{deletes: 100%, updates: 100%, shrink: 100%}}}}]\n"
      "store: \"sqlite:{0}/state.db\"\n"
      "ca_file: \"{0}/ca.pem\"\n",
      folder.path(), one.tier, time_factor, one.change == "disable" ? "disable" : "delete");
}

/// What the simulator says about itself at one moment.
struct Sample {
  double seconds = 0;
  uint64_t operations = 0;
  uint64_t throttled = 0;
};

class SimControl {
 public:
  explicit SimControl(std::string address) : address_(std::move(address)) {}

  Status put_hub(std::string lines) {
    http::Request request;
    request.method = "PUT";
    request.url = address_ + "/hub/devices";
    request.body = std::move(lines);
    return answer(request).map([](const json::value&) {});
  }

  Result<Sample> sample(const Case& one) {
    http::Request request;
    request.url = address_ + "/stats";
    TRY_ASSIGN(const json::value stats, answer(request));
    const json::value* seconds = json::at(stats, "/seconds");
    const json::object* operations = json::object_at(stats.get_object(), "operations");
    if (!seconds || !operations) return fail(ErrorKind::kCorrupt, "bench.stats", "twinstep-sim tells no operations");
    Sample out;
    out.seconds = seconds->to_number<double>();
    for (const std::string& kind : one.kinds)
      out.operations += static_cast<uint64_t>(json::int_or(*operations, kind, 0));
    out.throttled = static_cast<uint64_t>(json::int_or(stats.get_object(), "throttled", 0));
    return out;
  }

 private:
  Result<json::value> answer(const http::Request& request) {
    TRY_ASSIGN(const http::Response response, http_->send(request, {}));
    if (!response.ok())
      return fail(ErrorKind::kUnavailable, "bench.sim", fmt::format("{}: {}", request.url, response.body));
    TRY_ASSIGN(json::value parsed, json::parse(response.body, request.url));
    if (!parsed.is_object()) return fail(ErrorKind::kCorrupt, "bench.sim", request.url + ": no object");
    return parsed;
  }

  const std::string address_;
  const std::unique_ptr<http::Client> http_ = http::make_transport({.ca_file = {}, .proxy = "-", .user_agent = {}});
};

/// Runs `command` and looks at the simulator until it has ended.
Result<ChildRun> run_observed(const std::vector<std::string>& command, SimControl& sim, const Case& one,
                              std::vector<Sample>& samples) {
  std::optional<Result<ChildRun>> ended;
  std::atomic<bool> done{false};
  std::jthread runner([&] {
    ended = run_child(command);
    done = true;
  });
  Status watched;
  while (!done && watched) {
    auto sample = sim.sample(one);
    if (sample)
      samples.push_back(*sample);
    else
      watched = fail(sample.error());
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  runner.join();
  TRY(watched);
  TRY_ASSIGN(ChildRun run, std::move(*ended));
  TRY_ASSIGN(samples.emplace_back(), sim.sample(one));
  if (run.exit_code != 0)
    return fail(ErrorKind::kUnavailable, "bench.failed",
                fmt::format("twinstep sync ended with {}: {}{}", run.exit_code, run.out.substr(0, 1000),
                            run.err.substr(0, 1000)));
  return run;
}

/// The first sample at which so many operations were done; samples come in order.
const Sample& reached(const std::vector<Sample>& samples, double operations) {
  return *std::find_if(samples.begin(), samples.end() - 1,
                       [&](const Sample& s) { return static_cast<double>(s.operations) >= operations; });
}

struct Outcome {
  json::object report;
  bool held = false;
};

Result<Outcome> measure(const Case& one, const Options& options) {
  const bool slow = one.allowed < 10;
  const double seconds = static_cast<double>(options.seconds ? options.seconds : slow ? 1200 : 240);
  const uint64_t factor =
      options.time_factor ? options.time_factor : static_cast<uint64_t>(std::clamp(1000 / one.allowed, 1.0, 60.0));
  // Left out at the start is what may be saved up, and more: a whole window of the quota or an eighth of the steady
  // part. At the end an eighth, when threads run out of work.
  const double steady = one.allowed * seconds;
  const double left_out = std::max(one.allowed * one.window, steady / 8);
  const auto devices = static_cast<uint64_t>((steady + left_out + steady / 8) / static_cast<double>(one.per_device));

  TempFolder folder;
  if (!folder.made()) return fail(ErrorKind::kUnavailable, "bench.write", "cannot make a temporary folder");
  std::string hub_lines;
  TRY(write_registries(one, devices, folder, hub_lines));
  const json::object delay{
      {"server", "hub"},
      {"times", -1},
      {"delayMs", std::llround(static_cast<double>(options.latency_ms) / static_cast<double>(factor))}};
  TRY_ASSIGN(const auto sim,
             Server::start({program("twinstep-sim"), "--devices", "0", "--tier", one.tier, "--time-factor",
                            std::to_string(factor), "--write-ca", folder.path("ca.pem"), "--write-env",
                            folder.path("sim.env"), "--fault", json::write(json::value(delay))}));
  TRY_ASSIGN(const json::value ready, json::parse(sim->ready_line(), "twinstep-sim's first line"));
  SimControl control(std::string(json::string_or(ready.as_object(), "control")));
  TRY(control.put_hub(std::move(hub_lines)));
  write_config(one, factor, folder);

  std::vector<Sample> samples;
  TRY_ASSIGN(const ChildRun run,
             run_observed({"env", "-i", "HOME=" + folder.path(), "TMPDIR=" + folder.path(), program("twinstep"), "sync",
                           "--quiet", "--config", folder.path("twinstep.yaml")},
                          control, one, samples));
  const Sample& last = samples.back();
  const Sample& from = reached(samples, left_out);
  const Sample& to = reached(samples, left_out + steady);
  const double per_second = static_cast<double>(to.operations - from.operations) / (to.seconds - from.seconds);
  const double percent = 100 * per_second / one.allowed;

  Outcome out;
  out.held = percent >= static_cast<double>(options.least) && last.throttled == 0 &&
             last.operations >= devices * one.per_device;
  out.report = {{"tier", one.tier},
                {"change", one.change},
                {"devices", devices},
                {"timeFactor", factor},
                {"operations", last.operations},
                {"steady", json::object{{"operations", to.operations - from.operations},
                                        {"simulatedSeconds", to.seconds - from.seconds}}},
                {"perSimulatedSecond", per_second},
                {"allowedPerSecond", one.allowed},
                {"quotaPercent", percent},
                {"throttled", last.throttled},
                {"wallSeconds", run.seconds},
                {"cpuSeconds", run.cpu_seconds},
                {"peakMb", run.peak_mb},
                {"held", out.held}};
  return out;
}

}  // namespace

Result<bool> quota(const std::vector<std::string>& arguments) {
  Options options;
  Arguments bound(kUsage);
  bound.bind("--tier", &options.tier);
  bound.bind("--change", &options.change);
  bound.bind("--seconds", &options.seconds);
  bound.bind("--time-factor", &options.time_factor);
  bound.bind("--latency-ms", &options.latency_ms);
  bound.bind("--least", &options.least);
  TRY(bound.read(arguments));
  const std::vector<Case> cases = cases_of(options);
  if (cases.empty())
    return bound.wrong(fmt::format("there is no '{}' on tier '{}' to measure", options.change, options.tier));

  json::array runs;
  bool held = true;
  for (const Case& one : cases) {
    auto measured = measure(one, options);
    if (!measured) return fail_within(std::move(measured), fmt::format("{} {}", one.tier, one.change));
    held = held && measured->held;
    runs.push_back(std::move(measured->report));
  }
  std::cout << json::write(json::object{{"latencyMs", options.latency_ms},
                                        {"leastPercent", options.least},
                                        {"processors", std::thread::hardware_concurrency()},
                                        {"runs", std::move(runs)},
                                        {"held", held}})
            << '\n';
  if (!held) std::cerr << "twinstep-bench: less of the quota was used than it should, or the hub refused\n";
  return held;
}

}  // namespace twinstep::bench
