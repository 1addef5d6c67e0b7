#include "twinstep/app/daemon.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>

#include "twinstep/app/listeners.h"
#include "twinstep/app/open_files.h"
#include "twinstep/app/sd_notify.h"
#include "twinstep/app/webhook_trust.h"
#include "twinstep/base/backoff.h"
#include "twinstep/config/values.h"
#include "twinstep/security/sealed_store.h"
#include "twinstep/store/metered_database.h"
#include "twinstep/version.h"

namespace twinstep::app {
namespace {

constexpr Backoff kOpenAgain{.first = Millis{500}, .cap = Millis{10'000}, .jitter = 0.2};
constexpr Millis kProbeTime{2'000};
constexpr Millis kProbeKept{1'000};
constexpr Millis kStartTime{30'000};
constexpr std::string_view kNoRoute = "none";
constexpr std::string_view kDaemonLock = "\ndaemon";  // no link can have that name

constexpr const char* kThisMachine = "127.0.0.1";
constexpr std::string_view kMakeKey = "make one: twinstep key create --name NAME --scope events";
constexpr Millis kKeyReadTime{5'000};
constexpr std::string_view kAddressSecret = "instance-keys";
constexpr size_t kAddressSecretBytes = 32;

void set_certificate(http::ServerOptions& options, http::TlsMaterial tls) {
  options.tls_certificate = std::move(tls.certificate);
  options.tls_key = std::move(tls.key);
  options.tls_client_ca = std::move(tls.client_ca);
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
  TRY_ASSIGN(auto trust, open_webhook_trust(*config, clock));
  std::unique_ptr<Daemon> out(new Daemon(std::move(config), clock, rng));
  out->authenticator_.trust(std::move(trust));
  TRY(out->open_exporter());
  TRY(out->open_listeners());
  const Status opened = out->try_to_open({clock.steady_now() + kStartTime, {}});
  if (!opened && !opened.error().transient()) return fail(opened.error());
  if (!opened) {
    spdlog::warn("store.away reason=\"{}\" next=\"tried again until it is there\"", opened.error().what);
    out->opener_ = std::jthread([self = out.get()](std::stop_token stop) { self->bring_up(std::move(stop)); });
  }
  out->settle_public();
  out->keys_.watch([self = out.get()] { self->settle_public(); });
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
  public_local_ = local_by_choice_ = outside.loopback();
  public_gate_ = std::make_unique<api::KeyGate>(
      authenticator_, [this] { return public_local_ && keys_.known() && !keys_.any() && !authenticator_.trusts(); },
      serve.host_names);
  const bool operations_open = inside.loopback() && !serve.operations_keys;
  operations_gate_ = std::make_unique<api::KeyGate>(
      authenticator_, [operations_open] { return operations_open; }, serve.host_names);

  const int files = raise_open_files();
  http::ServerOptions options = public_options(serve, outside, files);
  if (!serve.tls_certificate.empty()) {
    TRY_ASSIGN(certificate_,
               CertificateKeeper::open({serve.tls_certificate, serve.tls_key, serve.client_ca}, metrics_, clock_));
    set_certificate(options, certificate_->material());
  }
  {
    std::scoped_lock lock(listener_mutex_);
    public_options_ = std::move(options);
    TRY(bind_public(outside.address));
    public_port_ = public_options_.port = public_->port();
  }
  if (certificate_)
    certificate_->keep([this](const http::TlsMaterial& material) -> Status {
      std::scoped_lock lock(listener_mutex_);
      if (public_) TRY(public_->use_certificate(material));
      set_certificate(public_options_, material);  // for when it moves
      return {};
    });
  auto opened = http::Server::start(operations_options(inside, files), [this](const http::ServerRequest& request) {
    return handle(request, *operations_gate_);
  });
  if (!opened) return fail_within(std::move(opened), fmt::format("serve.operations {}", serve.operations));
  operations_ = std::move(*opened);
  return {};
}

Status Daemon::bind_public(const std::string& address) {
  http::ServerOptions options = public_options_;
  options.address = address;
  auto opened = http::Server::start(
      options, [this](const http::ServerRequest& request) { return handle(request, *public_gate_); });
  if (!opened) return fail_within(std::move(opened), fmt::format("serve.listen {}", public_options_.address));
  public_ = std::move(*opened);
  public_bound_ = true;
  return {};
}

/// Called at the start and whenever the keys were read. Rebinding needs no restart, because nothing depends on the
/// socket but its address: the port stays, what is being answered is finished, and a sender that finds nobody for that
/// moment comes again.
void Daemon::settle_public() {
  std::scoped_lock lock(listener_mutex_);
  if (!keys_.known() || local_by_choice_) return;
  const bool was_wide = !public_local_;
  const bool wide = keys_.usable() || authenticator_.trusts() || (settled_ && was_wide);
  settled_ = true;
  if (public_ && was_wide == wide) return;
  if (wide) public_local_ = false;  // before anybody else can reach it
  public_bound_ = false;
  public_.reset();
  public_local_ = !wide;
  const std::string address = wide ? public_options_.address : kThisMachine;
  if (const Status bound = bind_public(address); !bound)
    return spdlog::error("listener.failed reason=\"{}\" next=\"it is tried again\"", bound.error().what);
  if (wide)
    spdlog::info("listener.open address={}:{} reason=\"there is a key now\"", address, public_port_);
  else
    spdlog::error("listener.local address={}:{} configured={} reason=\"no key exists\" next=\"{}\"", address,
                  public_port_, public_options_.address, kMakeKey);
}

std::string Daemon::public_trouble() const {
  if (!public_bound_) return "it is not bound; the log says why";
  return public_local_ && !local_by_choice_
             ? fmt::format("no key exists, so it listens on {} only; {}", kThisMachine, kMakeKey)
             : std::string();
}

Status Daemon::open_keys(const config::Config& config, const Call& call) {
  if (!key_store_) key_store_.emplace(*database_);
  keys_.open(*database_);
  TRY(keys_.refresh({std::min(call.deadline, clock_.steady_now() + kKeyReadTime), call.stop}));
  if (addresses_open_) return {};
  Secret secret(security::random_bytes(kAddressSecretBytes));
  if (config.store_keys.empty()) {
    // Without a key to seal it with it stays in this process: addresses that others handed out then need a key.
    spdlog::debug("addresses.own reason=\"no store_key\"");
  } else {
    auto shared =
        security::SealedStore(*database_).get_or_put(kAddressSecret, secret, security::Sealer(config.store_keys), call);
    if (!shared && shared.error().transient()) return fail(std::move(shared).error());
    if (shared)
      secret = std::move(*shared);
    else
      spdlog::error("addresses.own reason=\"{}\" next=\"put that key into store_old_keys and restart\"",
                    shared.error().what);
  }
  authenticator_.use(std::make_shared<const security::InstanceKeys>(std::move(secret)));
  addresses_open_ = true;
  return {};
}

api::KeyDeps Daemon::key_deps() {
  return {&*key_store_,
          [this] {
            if (const Status read = keys_.refresh({clock_.steady_now() + kKeyReadTime, {}}); !read)
              spdlog::warn("keys.unreadable reason=\"{}\" next=\"tried again in 3 s\"", read.error().what);
          },
          [this](const api::Principal& who, std::string_view instance, bool operate) {
            return authenticator_.address_key(who, instance, operate);
          }};
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
      auto taken = store::FileLock::take(store, kDaemonLock);
      if (!taken && taken.error().kind == ErrorKind::kConflict)
        return fail(
            ErrorKind::kConflict, "store.in-use",
            fmt::format("{}: another twinstep serve works with it; stop that one, or give this one a store of its "
                        "own",
                        config::store_text(store_of(*config))));
      if (!taken) return fail(std::move(taken).error());
      lock_.emplace(std::move(*taken));
    }
    TRY(open_keys(*config, call));
    if (!service) {
      TRY_ASSIGN(service, Service::open(config, *database_, {metrics_, tracer_}, clock_, rng_, key_deps()));
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
  TRY_ASSIGN(auto trust, open_webhook_trust(*config, clock_));
  sd_notify("RELOADING=1");
  opener_ = {};
  std::shared_ptr<Service> before;
  {
    std::scoped_lock lock(mutex_);
    before = service_;
    const config::Serve &was = config_->serve, &is = config->serve;
    if (was.listen != is.listen || was.operations != is.operations || was.tls_certificate != is.tls_certificate ||
        was.tls_key != is.tls_key || was.client_ca != is.client_ca || was.max_connections != is.max_connections ||
        was.max_connections_per_address != is.max_connections_per_address ||
        was.max_requests_per_address != is.max_requests_per_address || was.idle_timeout != is.idle_timeout ||
        was.request_timeout != is.request_timeout || was.operations_keys != is.operations_keys ||
        was.host_names != is.host_names)
      warnings.emplace_back(
          "serve.listen, serve.operations, the names of certificate files and of hosts, operations_keys, limits and "
          "times of serve take effect after a restart");
    if (!(config_->otlp == config->otlp)) warnings.emplace_back("telemetry.otlp takes effect after a restart");
    if (!(store_of(*config_) == store_of(*config))) warnings.emplace_back("store takes effect after a restart");
  }
  std::shared_ptr<Service> next;
  if (before) {
    auto opened = Service::open(config, *database_, {metrics_, tracer_}, clock_, rng_, key_deps());
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
  authenticator_.trust(std::move(trust));
  settle_public();
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

void Daemon::renew_certificate() {
  std::scoped_lock one_at_a_time(reload_mutex_);
  if (certificate_) certificate_->renew();
}

void Daemon::stop() {
  std::scoped_lock one_at_a_time(reload_mutex_);
  if (std::exchange(stopped_, true)) return;
  sd_notify("STOPPING=1");
  opener_ = {};
  keys_.stop();  // nobody moves the listener from now on
  certificate_.reset();
  {
    std::scoped_lock lock(listener_mutex_);
    if (public_) public_->stop();
  }
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

http::ServerResponse Daemon::handle(const http::ServerRequest& request, api::KeyGate& gate) {
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
    auto response = answer(request, gate, route);
    settle(response.status);
    return response;
  } catch (...) {  // a bug: the server says so and logs it
    settle(500);
    throw;
  }
}

http::ServerResponse Daemon::answer(const http::ServerRequest& request, api::KeyGate& gate, std::string& route) {
  if (request.path == "/healthz" || request.path == "/readyz" || request.path == "/loglevel") {
    route = request.path;
    return own_route(request, gate);
  }
  std::string_view pattern = kNoRoute;
  if (request.path == "/metrics") {
    auto out = own_.handle(request, gate, &pattern);
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
  // Why is for those who run it: a stranger is told that, and no more.
  if (!service) return api::problem(not_open(gate.open() ? why : std::string()).value());
  auto out = service->router().handle(request, gate, &pattern);
  route = pattern;  // copied: the pattern is the service's, and a reload may end that
  return out;
}

/// Health and log level. Probes of the operations listener have no key: where one is needed they are told yes or no,
/// and the reasons to those who may read.
http::ServerResponse Daemon::own_route(const http::ServerRequest& request, api::KeyGate& gate) {
  const bool level = request.path == "/loglevel";
  const bool probe = &gate == operations_gate_.get() && !level && !gate.open() && !api::shows_credentials(request);
  const api::Scope scope = level ? api::Scope::kAdmin : api::Scope::kRead;
  api::PrincipalPtr who;
  if (!probe) {
    auto admitted = gate.admit(request, scope);
    if (!admitted) return std::move(admitted).error();
    who = std::move(*admitted);
  }
  auto answer = level ? log_level(request) : request.path == "/healthz" ? health(!probe) : ready(!probe);
  if (who) gate.answered(request, *who, scope, answer.status);
  return answer;
}

http::ServerResponse Daemon::health(bool counts) {
  json::object out{{"status", "ok"}};
  if (!counts) return api::reply(200, out);
  out["version"] = kVersion;
  std::shared_ptr<Service> service;
  {
    std::scoped_lock lock(mutex_);
    service = service_;
  }
  if (service) {
    const api::IntakeCounts intake = service->intake();
    json::object unknown;
    for (const auto& [hub, times] : intake.unknown_hubs) unknown[hub] = times;
    out["events"] =
        json::object{{"deliveries", intake.deliveries}, {"received", intake.events}, {"started", intake.started},
                     {"joined", intake.joined},         {"known", intake.known},     {"ignored", intake.ignored},
                     {"failed", intake.failed},         {"unknownHubs", unknown}};
  }
  return api::reply(200, out);
}

std::string Daemon::store_trouble() {
  std::scoped_lock lock(probe_mutex_);
  const SteadyTime now = clock_.steady_now();
  if (probed_at_ != SteadyTime{} && now - probed_at_ < kProbeKept) return probe_;
  // A write: a store that is full or read-only can take no events, however well it reads.
  const Status written = store::WorkflowStore(*database_).can_write({now + kProbeTime, {}});
  probed_at_ = clock_.steady_now();
  probe_ = written ? std::string() : written.error().what;
  return probe_;
}

http::ServerResponse Daemon::ready(bool told) {
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
  part("public listener", public_trouble(), true);
  json::object out{{"ready", all}};
  if (told) out["parts"] = std::move(parts);
  return api::reply(all ? 200 : 503, out);
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
