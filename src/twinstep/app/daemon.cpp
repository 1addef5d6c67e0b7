#include "twinstep/app/daemon.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include "twinstep/app/sd_notify.h"
#include "twinstep/base/backoff.h"
#include "twinstep/config/values.h"
#include "twinstep/store/metered_database.h"
#include "twinstep/version.h"

namespace twinstep::app {
namespace {

constexpr Backoff kOpenAgain{.first = Millis{500}, .cap = Millis{10'000}, .jitter = 0.2};
constexpr Millis kProbeTime{2'000};
constexpr Millis kProbeKept{1'000};
constexpr Millis kStartTime{30'000};
constexpr int kPublicHands = 64;  // each waits for its commit; many that wait together share one flush
constexpr int kOperationsHands = 8;
constexpr int kPublicQueue = 2048;
constexpr std::string_view kNoRoute = "none";
constexpr std::string_view kDaemonLock = "\ndaemon";  // no link can have that name

/// What the public listener answers also where strangers can reach it; the rest needs keys. Of the sample's status
/// routes only those of one instance: who knows its id was given it.
constexpr std::array<std::string_view, 3> kPublicPaths{"/api/externalregistrysynchronizer_", "/api/iothubsynchronizer_",
                                                       "/runtime/webhooks/durabletask/instances/"};

bool is_public(std::string_view path) {
  std::string lowered(path);
  for (char& c : lowered) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return std::any_of(kPublicPaths.begin(), kPublicPaths.end(), [&](std::string_view start) {
    return lowered.size() > start.size() && lowered.starts_with(start);
  });
}

Result<std::string> read_pem(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty())
    return fail(ErrorKind::kInvalid, "config.tls", fmt::format("serve: {} cannot be read", path));
  return text.str();
}

tl::unexpected<Error> not_open(const std::string& why) {
  return fail(ErrorKind::kUnavailable, "store.away",
              why.empty() ? std::string("the store is being opened") : "the store is not open: " + why);
}

}  // namespace

Daemon::Daemon(std::shared_ptr<const config::Config> config, Clock& clock, Rng& rng)
    : clock_(clock), rng_(rng), metrics_(kVersion, clock), tracer_(clock, rng), config_(std::move(config)) {
  own_.add("GET", "/metrics", api::Scope::kRead, [this](const http::ServerRequest&, const api::RouteMatch&) {
    http::ServerResponse out;
    out.headers.push_back({"Content-Type", std::string(obs::Metrics::kContentType)});
    out.body = metrics_.text();
    return out;
  });
}

Daemon::~Daemon() { stop(); }

Result<std::unique_ptr<Daemon>> Daemon::start(std::shared_ptr<const config::Config> config, Clock& clock, Rng& rng) {
  // What the configuration names must be usable before anybody is told that we are here.
  TRY_ASSIGN(const auto remotes, Remotes::open(*config, clock, rng));
  std::unique_ptr<Daemon> out(new Daemon(std::move(config), clock, rng));
  TRY(out->open_exporter());
  TRY(out->open_listeners());
  const Status opened = out->try_to_open({clock.steady_now() + kStartTime, {}});
  if (!opened && !opened.error().transient()) return fail(opened.error());
  if (!opened) {
    spdlog::warn("store.away reason=\"{}\" next=\"tried again until it is there\"", opened.error().what);
    out->opener_ = std::jthread([self = out.get()](std::stop_token stop) { self->bring_up(std::move(stop)); });
  }
  return out;
}

Status Daemon::open_exporter() {
  const config::Otlp& otlp = config_->otlp;
  if (otlp.traces_endpoint.empty()) return {};
  auto opened = otlp::Exporter::start({.endpoint = otlp.traces_endpoint,
                                       .headers = otlp.headers,
                                       .service_name = otlp.service_name,
                                       .instance = rng_.hex_id(),
                                       .ca_file = config_->ca_file},
                                      metrics_, clock_, rng_);
  if (!opened) return fail_within(std::move(opened), "telemetry.otlp");
  exporter_ = std::move(*opened);
  tracer_.export_to(exporter_.get(), otlp.sample);
  return {};
}

Status Daemon::open_listeners() {
  const config::Serve& serve = config_->serve;
  TRY_ASSIGN(const auto outside, config::parse_listen(serve.listen));
  TRY_ASSIGN(const auto inside, config::parse_listen(serve.operations));
  http::ServerOptions options;
  options.address = outside.address;
  options.port = outside.port;
  TRY_ASSIGN(options.tls_certificate, read_pem(serve.tls_certificate));
  TRY_ASSIGN(options.tls_key, read_pem(serve.tls_key));
  options.handler_threads = kPublicHands;
  options.queue = kPublicQueue;
  options.max_body_bytes = azure::kMaxDeliveryBytes;
  const bool everything = outside.loopback();
  auto opened = http::Server::start(
      options, [this, everything](const http::ServerRequest& request) { return handle(request, everything); });
  if (!opened) return fail_within(std::move(opened), fmt::format("serve.listen {}", serve.listen));
  public_ = std::move(*opened);

  if (!outside.loopback())
    spdlog::warn(
        "listener.open address={} reason=\"serve.listen is not on loopback: whoever reaches it may send events and "
        "start runs; a proxy with TLS and keys belongs before it\"",
        serve.listen);
  options = {};
  options.address = inside.address;
  options.port = inside.port;
  options.handler_threads = kOperationsHands;
  opened = http::Server::start(options, [this](const http::ServerRequest& request) { return handle(request, true); });
  if (!opened) return fail_within(std::move(opened), fmt::format("serve.operations {}", serve.operations));
  operations_ = std::move(*opened);
  if (!inside.loopback())
    spdlog::warn(
        "listener.open address={} reason=\"serve.operations is not on loopback: whoever reaches it may approve "
        "and cancel\"",
        serve.operations);
  return {};
}

Status Daemon::try_to_open(const Call& call) {
  std::shared_ptr<const config::Config> config;
  std::shared_ptr<Service> service;
  {
    std::scoped_lock lock(mutex_);
    config = config_;
    service = service_;
  }
  const auto attempt = [&]() -> Status {
    const std::string store(store_of(*config).reveal());
    if (!database_) {
      TRY_ASSIGN(auto opened, store::open_database(store, clock_));
      database_ = store::with_metrics(std::move(opened), metrics_, clock_);
    }
    if (!database_->shared() && !lock_) {
      auto taken = store::LinkLock::take(store, kDaemonLock, clock_);
      if (!taken && taken.error().kind == ErrorKind::kConflict)
        return fail(
            ErrorKind::kConflict, "store.in-use",
            fmt::format("{}: another twinstep serve works with it; stop that one, or give this one a store of its "
                        "own",
                        config::store_text(store_of(*config))));
      if (!taken) return fail(std::move(taken).error());
      lock_.emplace(std::move(*taken));
    }
    if (!service) {
      TRY_ASSIGN(service, Service::open(config, *database_, {metrics_, tracer_}, clock_, rng_));
    }
    return service->start(call);
  };
  Status done = attempt();
  std::scoped_lock lock(mutex_);
  if (done) service_ = service;
  not_open_ = done ? std::string() : done.error().what;
  if (done) sd_notify("READY=1\nSTATUS=working");
  return done;
}

void Daemon::bring_up(std::stop_token stop) {
  for (int tries = 1; clock_.sleep_for(kOpenAgain.after(tries, rng_), stop); ++tries) {
    const Status opened = try_to_open({clock_.steady_now() + kStartTime, stop});
    if (opened) {
      spdlog::info("store.open");
      return;
    }
    if (!opened.error().transient())
      spdlog::error("store.unusable reason=\"{}\" next=\"mend it; it is tried again\"", opened.error().what);
  }
}

Status Daemon::reload(std::shared_ptr<const config::Config> config, std::vector<std::string>& warnings) {
  std::scoped_lock one_at_a_time(reload_mutex_);
  if (stopped_) return {};
  sd_notify("RELOADING=1");
  opener_ = {};
  std::shared_ptr<Service> before;
  {
    std::scoped_lock lock(mutex_);
    before = service_;
    const config::Serve &was = config_->serve, &is = config->serve;
    if (was.listen != is.listen || was.operations != is.operations || was.tls_certificate != is.tls_certificate ||
        was.tls_key != is.tls_key)
      warnings.emplace_back("serve.listen, serve.operations and certificates take effect after a restart");
    if (!(config_->otlp == config->otlp)) warnings.emplace_back("telemetry.otlp takes effect after a restart");
    if (!(store_of(*config_) == store_of(*config))) warnings.emplace_back("store takes effect after a restart");
  }
  std::shared_ptr<Service> next;
  if (before) {
    auto opened = Service::open(config, *database_, {metrics_, tracer_}, clock_, rng_);
    if (!opened) {
      sd_notify("READY=1");
      return fail(std::move(opened).error());
    }
    next = std::move(*opened);
    before->stop();
  }
  {
    std::scoped_lock lock(mutex_);
    config_ = std::move(config);
    service_ = nullptr;
  }
  // From here on the new one is in force; while the store is away it is started as soon as it comes back.
  Status started = before ? next->start({clock_.steady_now() + kStartTime, {}}) : Status(not_open({}));
  if (started) {
    std::scoped_lock lock(mutex_);
    service_ = std::move(next);
    sd_notify("READY=1");
  } else {
    opener_ = std::jthread([this](std::stop_token stop) { bring_up(std::move(stop)); });
  }
  return {};
}

void Daemon::stop() {
  std::scoped_lock one_at_a_time(reload_mutex_);
  if (std::exchange(stopped_, true)) return;
  sd_notify("STOPPING=1");
  opener_ = {};
  if (public_) public_->stop();
  if (operations_) operations_->stop();
  std::shared_ptr<Service> service;
  {
    std::scoped_lock lock(mutex_);
    service = std::exchange(service_, nullptr);
  }
  if (service) service->stop();
  tracer_.export_to(nullptr, 0);
  if (exporter_) exporter_->stop();
}

bool Daemon::working() {
  std::scoped_lock lock(mutex_);
  return service_ != nullptr;
}

http::ServerResponse Daemon::handle(const http::ServerRequest& request, bool everything) {
  const SteadyTime began = clock_.steady_now();
  // What comes from outside is a hint only: a trace that cannot be read is none.
  obs::Span span =
      tracer_.begin_root(request.method, obs::SpanKind::kServer,
                         obs::parse_traceparent(request.header("traceparent"), request.header("tracestate")));
  std::string route(kNoRoute);
  const auto settle = [&](int status) {
    metrics_.http_answered(request.method, route, status, clock_.steady_now() - began);
    if (!span.recording()) return;
    span.name(fmt::format("{} {}", request.method, route));
    span.set("http.request.method", request.method);
    span.set("http.route", route);
    span.set("http.response.status_code", int64_t{status});
    if (status >= 500) span.fail(std::to_string(status));
  };
  try {
    auto response = answer(request, everything, route);
    settle(response.status);
    return response;
  } catch (...) {  // a bug: the server says so and logs it
    settle(500);
    throw;
  }
}

http::ServerResponse Daemon::answer(const http::ServerRequest& request, bool everything, std::string& route) {
  if (everything && request.path == "/healthz") return route = "/healthz", health();
  if (everything && request.path == "/readyz") return route = "/readyz", ready();
  if (everything && request.path == "/loglevel") return route = "/loglevel", log_level(request);
  if (!everything && !is_public(request.path))
    return api::problem(
        403, "http.not-public",
        fmt::format("{} is answered at serve.operations only, because this address is not loopback", request.path));
  std::string_view pattern = kNoRoute;
  if (request.path == "/metrics") {
    auto out = own_.handle(request, *gate_, &pattern);
    route = pattern;
    return out;
  }
  std::shared_ptr<Service> service;
  std::string why;
  {
    std::scoped_lock lock(mutex_);
    service = service_;
    why = not_open_;
  }
  if (!service) return api::problem(not_open(why).value());
  auto out = service->router().handle(request, *gate_, &pattern);
  route = pattern;  // copied: the pattern is the service's, and a reload may end that
  return out;
}

http::ServerResponse Daemon::health() {
  json::object out{{"status", "ok"}, {"version", kVersion}};
  std::shared_ptr<Service> service;
  {
    std::scoped_lock lock(mutex_);
    service = service_;
  }
  if (service) {
    const api::IntakeCounts counts = service->intake();
    json::object unknown;
    for (const auto& [hub, times] : counts.unknown_hubs) unknown[hub] = times;
    out["events"] =
        json::object{{"deliveries", counts.deliveries}, {"received", counts.events}, {"started", counts.started},
                     {"joined", counts.joined},         {"known", counts.known},     {"ignored", counts.ignored},
                     {"failed", counts.failed},         {"unknownHubs", unknown}};
  }
  return api::reply(200, out);
}

std::string Daemon::store_trouble() {
  std::scoped_lock lock(probe_mutex_);
  const SteadyTime now = clock_.steady_now();
  if (probed_at_ != SteadyTime{} && now - probed_at_ < kProbeKept) return probe_;
  // A write: a store that is full or read-only can take no events, however well it reads.
  const auto written = database_->change(
      "INSERT INTO meta (name, value) VALUES ('probe', '') ON CONFLICT (name) DO UPDATE SET value = excluded.value", {},
      {now + kProbeTime, {}});
  probed_at_ = clock_.steady_now();
  probe_ = written ? std::string() : written.error().what;
  return probe_;
}

http::ServerResponse Daemon::ready() {
  std::shared_ptr<Service> service;
  std::string why;
  {
    std::scoped_lock lock(mutex_);
    service = service_;
    why = not_open_;
  }
  json::array parts;
  bool all = true;
  const auto part = [&](std::string name, std::string trouble, bool needed) {
    all = all && (trouble.empty() || !needed);
    json::object one{{"part", std::move(name)}, {"ready", trouble.empty()}};
    if (!trouble.empty()) one["reason"] = std::move(trouble);
    parts.push_back(std::move(one));
  };
  if (!service) {
    part("store", why.empty() ? "is being opened" : why, true);
  } else {
    part("store", store_trouble(), true);
    std::map<std::string, std::string> resting;
    if (const auto pauses = service->pauses({clock_.steady_now() + kProbeTime, {}}))
      for (const store::Pause& pause : *pauses) resting[pause.lane] = "rests: " + pause.reason;
    // A lane that rests or cannot see keeps its work; events are taken in all the same.
    for (const engine::LaneState& lane : service->lanes())
      part("lane " + lane.name, lane.trouble.empty() ? resting[lane.name] : lane.trouble, false);
  }
  return api::reply(all ? 200 : 503, json::object{{"ready", all}, {"parts", parts}});
}

http::ServerResponse Daemon::log_level(const http::ServerRequest& request) {
  constexpr std::array<std::string_view, 5> kLevels{"debug", "info", "warning", "error", "off"};
  if (request.method == "PUT") {
    const auto body = json::parse(request.body, "the request");
    const std::string_view wanted =
        body && body->is_object() ? json::string_or(body->get_object(), "level") : std::string_view();
    if (std::find(kLevels.begin(), kLevels.end(), wanted) == kLevels.end())
      return api::problem(400, "log.level", R"(give {"level": "debug" | "info" | "warning" | "error" | "off"})");
    spdlog::set_level(spdlog::level::from_str(std::string(wanted)));
  } else if (request.method != "GET") {
    auto out = api::problem(405, "http.method", "/loglevel knows GET and PUT");
    out.headers.push_back({"Allow", "GET, PUT"});
    return out;
  }
  const auto level = spdlog::level::to_string_view(spdlog::get_level());
  return api::reply(200, json::object{{"level", std::string_view(level.data(), level.size())}});
}

}  // namespace twinstep::app
