#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "sims/blob_sim.h"
#include "sims/control.h"
#include "sims/event_grid_sim.h"
#include "sims/iothub_sim.h"
#include "sims/sim_clock.h"
#include "sims/sim_faults.h"
#include "sims/thingpark_sim.h"
#include "twinstep/http/tls_certificate.h"
#include "twinstep/version.h"

namespace {

using namespace twinstep;
using namespace twinstep::sims;

struct Settings {
  uint16_t hub_port = 0, blob_port = 0, thingpark_port = 0, control_port = 0;
  std::string address = "127.0.0.1", write_ca, write_env, link = "default", mark = "link";
  int devices = 5000, missing = 3, orphaned = 1, changed = 2, foreign = 2, edge = 1;  // shares in percent
  double time_factor = 1;
  bool no_throttle = false;
  int lag_ms = 2000, ghost_s = 1500, hub_skew_s = 0, thingpark_skew_s = 0, job_queue_ms = 1000, job_duration_ms = 2000;
  std::vector<std::string> faults, identities{"system"};
  std::vector<std::string> policies, entra_roles;
  std::string storage_ca, event_ca;
  std::vector<std::string> subscribe;
  bool event_tags = false;
  IotHubSimOptions hub;
  ThingParkSimOptions thingpark;
};

/// "sync=RegistryRead+ServiceConnect" goes into the hub's policies.
Status add_policy(const std::string& text, IotHubSimOptions& hub) {
  static const std::set<std::string> kRights{"RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"};
  const size_t equals = text.find('=');
  const auto bad = [&] {
    return fail(ErrorKind::kInvalid, "sim.policy",
                fmt::format("--policy {}: say NAME=RIGHT+RIGHT with rights of {}", text, fmt::join(kRights, ", ")));
  };
  if (equals == 0 || equals == std::string::npos) return bad();
  auto& rights = hub.policies[text.substr(0, equals)];
  for (size_t from = equals + 1; from <= text.size();) {
    const size_t end = std::min(text.find('+', from), text.size());
    const std::string right = text.substr(from, end - from);
    if (!kRights.contains(right)) return bad();
    rights.insert(right);
    from = end + 1;
  }
  return {};
}

/// The same seed makes the same two registries.
void seed(const Settings& s, IotHubSim& hub, ThingParkSim& thingpark) {
  Rng rng(s.hub.seed);
  const auto mark = [&](json::object tags) {  // the sample's own devices are known by their tag `ref` alone
    if (s.mark == "link") tags["twinstep"] = json::object{{"link", s.link}};
    return json::write(json::value(tags));
  };
  for (int i = 0; i < s.devices; ++i) {
    const std::string eui = fmt::format("0004A30B{:08X}", static_cast<uint32_t>(i));
    const std::string id = "lora-" + eui;
    const json::object device{
        {"name", id},
        {"EUI", eui},
        {"activationType", "OTAA"},
        {"deviceProfileId", i % 3 == 0 ? "LORA/GenericA.1.0.2b_ETSI" : "LORA/GenericC.1.0.2b_ETSI"},
        {"applicationEUI", "70B3D57ED0000001"},
        {"applicationKey", rng.hex_id()}};
    auto added = thingpark.add(device);
    if (!added || rng.unit() * 100 < s.missing) continue;
    json::object tags = json::parse(*added, "device")->as_object();
    tags.erase("name");
    tags.erase("applicationKey");
    if (rng.unit() * 100 < s.changed) tags["deviceProfileId"] = "LORA/Outdated.1.0";
    hub.seed_device(id, true, false, mark(tags));
  }
  const auto extra = [&](int percent, const char* name, bool owned, bool edge) {
    for (int i = 0; i < s.devices * percent / 100; ++i)
      hub.seed_device(
          fmt::format("{}-{:06}", name, i), true, edge,
          owned ? mark({{"EUI", fmt::format("0004A30C{:08X}", i)}, {"ref", std::to_string(900001 + i)}}) : "");
  };
  extra(s.orphaned, "orphan", true, false);
  extra(s.foreign, "foreign", false, false);
  extra(s.edge, "edge", false, true);
}

int run(Settings s) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts

  const auto complain = [](const Error& e) {
    fmt::print(stderr, "twinstep-sim: {}\n", e.what);
    return 1;
  };
  SimClock clock(s.time_factor);
  auto storage = http::make_transport({.ca_file = s.storage_ca, .proxy = {}, .user_agent = {}});
  s.hub.throttle = !s.no_throttle;
  s.hub.time_factor = clock.factor();
  s.hub.index_lag = std::chrono::milliseconds{s.lag_ms};
  s.hub.ghost_time = std::chrono::seconds{s.ghost_s};
  s.hub.clock_skew = std::chrono::seconds{s.hub_skew_s};
  s.hub.job_queue = std::chrono::milliseconds{s.job_queue_ms};
  s.hub.job_duration = std::chrono::milliseconds{s.job_duration_ms};
  s.thingpark.clock_skew = std::chrono::seconds{s.thingpark_skew_s};
  if (s.hub.identity_token.empty()) s.hub.identity_token = Rng::real().hex_id();
  for (const std::string& text : s.policies)
    if (auto good = add_policy(text, s.hub); !good) return complain(good.error());
  for (const std::string& role : s.entra_roles) s.hub.bearer_actions.merge(role_actions(role));
  BlobSim blobs(BlobSimOptions{}, clock);
  const auto grant = [&](const std::vector<std::string>& identities) {
    std::set<std::string> bearers;
    for (const std::string& name : identities)
      bearers.insert(identity_bearer(s.hub.identity_token, name == "system" ? std::string{} : name));
    if (!s.hub.bearer_token.empty()) bearers.insert(s.hub.bearer_token);
    blobs.grant(std::move(bearers));
  };
  grant(s.identities);
  auto webhooks = http::make_transport({.ca_file = s.event_ca, .proxy = {}, .user_agent = {}});
  EventGridSimOptions events_options{.hub_host = s.hub.name, .created_with_tags = s.event_tags, .seed = s.hub.seed};
  events_options.clock_skew = s.hub.clock_skew;
  // An endpoint works in real time, however fast the simulated one runs.
  events_options.answer_timeout = std::max(std::chrono::milliseconds{1'000},
                                           std::chrono::milliseconds{static_cast<int64_t>(30'000 / s.time_factor)});
  EventGridSim events(events_options, clock, *webhooks);
  IotHubSim hub(s.hub, clock, *storage);
  ThingParkSim thingpark(s.thingpark, clock);
  hub.on_change = [&](HubChange change, const std::string& id, const Entity& e) { events.publish(change, id, e); };
  FaultBox faults(s.hub.seed);
  hub.on_job = [&](std::string_view type) { return faults.job_fault(type); };
  faults.on_shift = [&] { thingpark.remove_first(); };
  for (const std::string& text : s.faults) {
    auto parsed = json::parse(text, "--fault");
    if (!parsed) return complain(parsed.error());
    if (!parsed->is_object())
      return complain({.kind = ErrorKind::kInvalid, .what = "--fault takes a JSON object", .code = "sim.fault"});
    if (auto good = faults.add(parsed->as_object()); !good) return complain(good.error());
  }
  seed(s, hub, thingpark);

  auto authority = http::CertificateAuthority::create("twinstep-sim", clock.system_now());
  if (!authority) return complain(authority.error());
  auto identity = authority->issue({"localhost", s.address, s.hub.name}, clock.system_now());
  if (!identity) return complain(identity.error());
  const auto serve = [&](uint16_t port, bool tls, http::Handler handler) {
    http::ServerOptions o;
    o.address = s.address;
    o.port = port;
    o.max_body_bytes = 128ull << 20;
    if (tls) o.tls_certificate = identity->certificate, o.tls_key = identity->key;
    return http::Server::start(o, std::move(handler));
  };
  const auto guarded = [&](const char* name, http::Handler inner) {
    return [&faults, name, inner = std::move(inner)](const http::ServerRequest& r) {
      return faults.serve(name, r, inner);
    };
  };
  auto hub_server = serve(s.hub_port, true, guarded("hub", [&](const auto& r) { return hub.handle(r); }));
  if (!hub_server) return complain(hub_server.error());
  auto blob_server = serve(s.blob_port, false, guarded("blob", [&](const auto& r) { return blobs.handle(r); }));
  if (!blob_server) return complain(blob_server.error());
  auto thingpark_server =
      serve(s.thingpark_port, false, guarded("thingpark", [&](const auto& r) { return thingpark.handle(r); }));
  if (!thingpark_server) return complain(thingpark_server.error());
  Control control(
      hub, thingpark, events, faults, [&](std::chrono::nanoseconds span) { clock.advance(span); }, grant);
  auto control_server = serve(s.control_port, false, [&](const auto& r) { return control.handle(r); });
  if (!control_server) return complain(control_server.error());

  const auto at = [&](const auto& server) { return fmt::format("{}:{}", s.address, (*server)->port()); };
  events.reached_at("http://" + at(control_server));
  for (size_t i = 0; i < s.subscribe.size(); ++i) {
    auto settings = subscription_argument(s.subscribe[i], i + 1);
    if (!settings) return complain(settings.error());
    if (auto good = events.subscribe(std::move(*settings)); !good) return complain(good.error());
  }

  const std::string iothub =
      fmt::format("HostName={};SharedAccessKeyName=iothubowner;SharedAccessKey={}", at(hub_server), s.hub.policy_key);
  const BlobSimOptions account;
  const std::string web =
      fmt::format("DefaultEndpointsProtocol=http;AccountName={0};AccountKey={1};BlobEndpoint=http://{2}/{0};",
                  account.account, account.key, at(blob_server));
  if (!s.write_ca.empty()) std::ofstream(s.write_ca) << authority->certificate();
  if (!s.write_env.empty()) {
    std::ofstream env(s.write_env);
    env << "export iothub='" << iothub << "'\n";
    // Its events name the hub by this name. The name of a shell's variable may hold no hyphen.
    if (const std::string hub_name = event_source(s.hub.name).hub_name; hub_name.find('-') == std::string::npos)
      env << "export iothub_" << hub_name << "='" << iothub << "'\n";
    env << "export AzureWebJobsStorage='" << web << "'\nexport actility_api_token_uri='http://" << at(thingpark_server)
        << "/admin/latest/api/oauth/token'\nexport actility_api_devices_uri='http://" << at(thingpark_server)
        << "/core/latest/api/devices'\nexport actility_api_client_id='" << s.thingpark.client_id
        << "'\nexport actility_api_client_secret='" << s.thingpark.client_secret << "'\n";
    if (!s.write_ca.empty())
      env << "export TWINSTEP_CA_FILE='" << std::filesystem::absolute(s.write_ca).string() << "'\n";
  }
  fmt::print("{}\n", json::write(json::object{{"hub", "https://" + at(hub_server)},
                                              {"blob", "http://" + at(blob_server)},
                                              {"thingpark", "http://" + at(thingpark_server)},
                                              {"control", "http://" + at(control_server)}}));
  std::fflush(stdout);
  int received = 0;
  sigwait(&signals, &received);
  for (auto* server : {&hub_server, &blob_server, &thingpark_server, &control_server})
    (**server)->stop(std::chrono::milliseconds{0});
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  CLI::App app{"twinstep-sim: a simulated IoT Hub with blob storage, Event Grid and a ThingPark, for rehearsals"};
  app.add_option("--address", s.address, "where to listen")->capture_default_str();
  app.add_option("--hub-port", s.hub_port, "HTTPS port of the hub, 0 = any");
  app.add_option("--blob-port", s.blob_port, "port of the blob storage, 0 = any");
  app.add_option("--thingpark-port", s.thingpark_port, "port of ThingPark, 0 = any");
  app.add_option("--control-port", s.control_port, "port of the control API, 0 = any");
  app.add_option("--write-ca", s.write_ca, "file for the certificate that clients must trust");
  app.add_option("--write-env", s.write_env, "file of shell exports that twinstep understands");
  app.add_option("--devices", s.devices, "devices in ThingPark")->capture_default_str();
  const CLI::Validator percent(
      [](std::string& text) {
        if (text.ends_with('%')) text.pop_back();
        return std::string{};
      },
      "PERCENT");
  app.add_option("--missing", s.missing, "share that the hub lacks")->transform(percent)->capture_default_str();
  app.add_option("--orphaned", s.orphaned, "share of owned devices in the hub only")
      ->transform(percent)
      ->capture_default_str();
  app.add_option("--changed", s.changed, "share with another tag")->transform(percent)->capture_default_str();
  app.add_option("--foreign", s.foreign, "share of hub devices that nobody owns")
      ->transform(percent)
      ->capture_default_str();
  app.add_option("--edge", s.edge, "share of Edge devices")->transform(percent)->capture_default_str();
  app.add_option("--link", s.link, "name of the link that owns the seeded devices")->capture_default_str();
  app.add_option("--mark", s.mark, "how owned devices are marked: link = tags.twinstep.link, ref = the tag ref alone")
      ->check(CLI::IsMember({"link", "ref"}))
      ->capture_default_str();
  app.add_option("--seed", s.hub.seed, "the same seed makes the same registries")->capture_default_str();
  app.add_option("--hub-name", s.hub.name, "host name that tokens may also be made for")->capture_default_str();
  app.add_option("--tier", s.hub.tier, "tier")
      ->check(CLI::IsMember({"F1", "B1", "B2", "B3", "S1", "S2", "S3"}))
      ->capture_default_str();
  app.add_option("--units", s.hub.units, "units")->check(CLI::Range(1, 200))->capture_default_str();
  app.add_option("--max-devices", s.hub.max_devices, "device quota, 0 = as the tier has it");
  app.add_option("--time-factor", s.time_factor, "rates, queues, jobs and lags run so many times as fast")
      ->check(CLI::Range(0.01, 100000.0));
  app.add_flag("--no-throttle", s.no_throttle, "answer any rate");
  app.add_option("--index-lag-ms", s.lag_ms, "how late queries show new devices")->capture_default_str();
  app.add_option("--ghost-seconds", s.ghost_s, "how long queries show deleted devices")->capture_default_str();
  app.add_option("--clock-skew", s.hub_skew_s, "seconds that the hub's clock is ahead");
  app.add_option("--thingpark-clock-skew", s.thingpark_skew_s, "seconds that ThingPark's clock is ahead");
  app.add_option("--job-queue-ms", s.job_queue_ms, "how long a job is enqueued")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--job-duration-ms", s.job_duration_ms, "how long a job runs, besides the pace of an import")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--import-rate", s.hub.import_rate,
                 "lines a minute of an import; 0 = as the tier has it (100 or, on S3, 5000 a unit), -1 = at once");
  app.add_option(
         "--storage-identity", s.identities,
         "an identity of the hub that may use the simulated storage: system, the resource id of a user-assigned "
         "one, or none; may be repeated")
      ->capture_default_str();
  app.add_option("--identity-token", s.hub.identity_token,
                 "the Bearer token that identity-based jobs present to a storage of your own");
  app.add_option("--storage-ca", s.storage_ca, "PEM file that jobs trust instead of the system's, for such a storage");
  app.add_option(
      "--subscribe", s.subscribe,
      "an address that gets the hub's events, alone, after schema=NAME,batch=N,name=NAME, or in a JSON object "
      "as for the control API; the handshake is repeated until it is there; may be repeated");
  app.add_flag("--event-tags", s.event_tags, "events of created devices hold the tags that came with them");
  app.add_option("--event-ca", s.event_ca, "PEM file that deliveries of events trust instead of the system's");
  app.add_option("--policy", s.policies,
                 "another shared access policy as NAME=RIGHT+RIGHT, with the key of the others; may be repeated");
  app.add_option("--entra-token", s.hub.bearer_token, "a Bearer token that the hub and its storage accept");
  app.add_option("--entra-role", s.entra_roles, "a role at the hub of whoever has that token; without one: all")
      ->check(CLI::IsMember({"contributor", "reader", "registry", "twin"}));
  app.add_flag("!--end-empty", s.thingpark.end_is_404, "ThingPark ends its list with [] instead of 404");
  app.add_option("--thingpark-rate", s.thingpark.rate_per_second, "calls per second before 429, 0 = any");
  app.add_option("--duplicate-status", s.thingpark.duplicate_status, "ThingPark's answer to an EUI that exists")
      ->capture_default_str();
  app.add_option("--fault", s.faults,
                 "a fault as JSON, for example {\"server\":\"hub\",\"path\":\"/devices\",\"status\":503,\"times\":3}");
  app.set_version_flag("--version", kVersion);
  app.footer(
      "Control API, plain HTTP at \"control\" of the ready line:\n"
      "  GET  /hub/devices[?keys=true], /thingpark/devices   the registries, one JSON object a line\n"
      "  PUT  the same   replaces a registry with such lines;  POST adds to it (?events=true makes events)\n"
      "  GET  /stats     time, devices, operations, calls, refusals\n"
      "  GET  /requests  counts by route and status, DELETE starts again\n"
      "  POST /faults    adds a fault;  DELETE /faults removes all\n"
      "  PUT  /storage/identities   [\"system\"]: the hub's identities that may use the storage from now on\n"
      "  POST /subscriptions   {\"name\":\"a\",\"endpoint\":\"http://...\"}: sends the hub's events there (schema,\n"
      "                  maxEventsPerBatch, maxDeliveryAttempts, deadLetter, duplicates, reorder, delayMs, ...)\n"
      "  GET  /subscriptions[/NAME[/dead-letters]]   state and counts;  DELETE /subscriptions[/NAME] ends them\n"
      "  POST /advance   {\"seconds\":N} jumps both clocks ahead, retries of events too\n"
      "A fault has server (hub|blob|thingpark|*), method, path, skip, times, probability and an effect: status (body,\n"
      "retryAfter), delayMs, cutAfter, drop, lost, shift, page (repeat|missing|end|notFound) with at,\n"
      "failJob (export|import), breakLine (line of an export) with withId.\n"
      "Examples:\n"
      "  twinstep-sim --write-ca ca.pem --write-env sim.env --devices 1000 --mark ref --time-factor 60\n"
      "  twinstep-sim --tier F1 --devices 480 --fault "
      "'{\"server\":\"hub\",\"path\":\"/jobs\",\"status\":503,\"times\":3}'");
  CLI11_PARSE(app, argc, argv);
  return run(std::move(s));
}
