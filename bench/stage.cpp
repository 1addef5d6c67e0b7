#include "stage.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

#include "event_texts.h"
#include "scenarios.h"
#include "twinstep/json/json.h"

namespace twinstep::bench {
namespace {

constexpr auto kReadyWithin = std::chrono::seconds{60};
constexpr auto kLookAgain = std::chrono::milliseconds{2};

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The number after `name` in /proc/PID/status, in MiB.
double status_mb(const std::string& status, std::string_view name) {
  const size_t at = status.find(name);
  return at == std::string::npos ? 0 : std::strtod(status.c_str() + at + name.size(), nullptr) / 1024;
}

}  // namespace

Result<testing::PostgresServer*> Stores::postgresql() {
  if (!server_) {
    try {
      server_ = std::make_unique<testing::PostgresServer>(testing::PostgresServer::Options{.fsync = true});
    } catch (const std::exception& e) {
      return fail(ErrorKind::kUnavailable, "bench.postgresql", e.what());
    }
  }
  return server_.get();
}

Usage usage_of(pid_t pid) {
  Usage out;
  const std::string status = text_of(fmt::format("/proc/{}/status", pid));
  out.resident_mb = status_mb(status, "VmRSS:");
  out.anonymous_mb = status_mb(status, "RssAnon:");
  // "PID (NAME) STATE ...": utime and stime are the 14th and 15th field.
  const std::string stat = text_of(fmt::format("/proc/{}/stat", pid));
  std::istringstream fields(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
  std::string field;
  for (int i = 3; i <= 15 && fields >> field; ++i)
    if (i >= 14) out.cpu_seconds += std::strtod(field.c_str(), nullptr) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return out;
}

Result<std::unique_ptr<Stage>> Stage::open(Stores& stores, const Options& options) {
  std::unique_ptr<Stage> out(new Stage);
  if (!out->folder_.made()) return fail(ErrorKind::kUnavailable, "bench.write", "cannot make a temporary folder");
  out->store_ = "sqlite:" + out->path("state.db");
  if (options.store == StoreKind::kPostgresql) {
    TRY_ASSIGN(testing::PostgresServer * server, stores.postgresql());
    out->store_ = server->fresh();
  }
  TRY_ASSIGN(out->network_, NetworkServer::start(options.network_delay));
  TRY(out->start_hub(options));
  out->write_config(options);
  return out;
}

Status Stage::start_hub(const Options& options) {
  TRY_ASSIGN(hub_, Server::start({program("twinstep-sim"), "--devices", "0", "--no-throttle", "--hub-name", kHubName,
                                  "--write-ca", path("ca.pem"), "--write-env", path("sim.env")}));
  TRY_ASSIGN(const json::value ready, json::parse(hub_->ready_line(), "twinstep-sim's first line"));
  hub_url_ = std::string(json::string_or(ready.as_object(), "hub"));
  http::Request request;
  request.method = "PUT";
  request.url = std::string(json::string_or(ready.as_object(), "control")) + "/hub/devices";
  for (uint64_t n = 0; n < options.hub_devices; ++n)
    request.body += fmt::format(R"({{"id":"{}","status":"enabled","tags":{}}})"
                                "\n",
                                device_id(n), device_tags(n));
  TRY_ASSIGN(const http::Response response, http_->send(request, {}));
  return response.ok() ? Status{} : fail(ErrorKind::kUnavailable, "bench.sim", response.body);
}

void Stage::write_config(const Options& options) const {
  // The connection string stands in the shell file that the simulator wrote.
  std::ifstream env(path("sim.env"));
  for (std::string line; std::getline(env, line);) {
    constexpr std::string_view kStart = "export iothub='";
    if (line.starts_with(kStart))
      std::ofstream(path("connection")) << line.substr(kStart.size(), line.size() - kStart.size() - 1);
  }
  std::ofstream(path("secret")) << "bench";
  std::ofstream(path("store")) << store_;
  std::ofstream(path("twinstep.yaml")) << fmt::format(
      "hubs: {{{0}: {{connection_string: \"file:{1}/connection\", tier: S3, units: {5}}}}}\n"
      "externals: {{network: {{provider: actility, settings: {{tokenUri: \"http://127.0.0.1:{2}/token\",\n"
      "  devicesUri: \"http://127.0.0.1:{2}/devices\", clientId: bench, clientSecret: \"file:{1}/secret\",\n"
      "  requestsPerSecond: \"{3}\"}}}}}}\n"
      "links: [{{name: bench, hub: {0}, external: network, master: {4}, deletes: never}}]\n"
      "store: \"file:{1}/store\"\n"
      "serve: {{listen: \"127.0.0.1:0\", operations: \"127.0.0.1:0\"}}\n"
      "ca_file: \"{1}/ca.pem\"\n",
      kHubName, folder_.path(), network_->port(), options.requests_per_second, options.facade ? "external" : "hub",
      options.facade ? 200 : 20);
}

std::vector<std::string> Stage::command(const std::vector<std::string>& arguments) const {
  std::vector<std::string> out{"env", "-i", "HOME=" + folder_.path(), "TMPDIR=" + folder_.path(), program("twinstep")};
  out.insert(out.end(), arguments.begin(), arguments.end());
  out.insert(out.end(), {"--config", path("twinstep.yaml")});
  return out;
}

Result<std::string> Stage::make_key(const std::string& scope) const {
  TRY_ASSIGN(ChildRun made, run_child(command({"key", "create", "--name", scope, "--scope", scope})));
  while (made.out.ends_with('\n')) made.out.pop_back();
  if (made.exit_code != 0 || made.out.empty())
    return fail(ErrorKind::kUnavailable, "bench.key", "twinstep key create: " + made.err);
  return made.out;
}

Result<Daemon> Stage::daemon() {
  Daemon out;
  const std::string errors = path("daemon.log");
  out.started = std::chrono::steady_clock::now();
  auto started = Server::start(command({"serve", "--output", "json"}), errors);
  if (!started) {
    started.error().what += ": " + text_of(errors).substr(0, 1000);
    return fail(std::move(started).error());
  }
  out.process = std::move(*started);
  TRY_ASSIGN(const json::value where, json::parse(out.process->ready_line(), "twinstep serve's first line"));
  out.listen = static_cast<uint16_t>(json::int_or(where.as_object(), "listen", 0));
  out.operations = static_cast<uint16_t>(json::int_or(where.as_object(), "operations", 0));
  http::Request request;
  request.url = fmt::format("http://127.0.0.1:{}/readyz", out.operations);
  for (;; std::this_thread::sleep_for(kLookAgain)) {
    const auto response = http_->send(request, {});
    const auto took = std::chrono::steady_clock::now() - out.started;
    if (response && response->ok()) {
      out.ready_seconds = std::chrono::duration<double>(took).count();
      return out;
    }
    if (took > kReadyWithin)
      return fail(ErrorKind::kUnavailable, "bench.daemon",
                  "twinstep serve does not get ready: " + (response ? response->body : response.error().what));
  }
}

Result<std::unique_ptr<store::Database>> Stage::database() const { return store::open_database(store_, real_clock()); }

}  // namespace twinstep::bench
