#include "sims/iothub_sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "sims/hub_answers.h"
#include "sims/hub_query.h"
#include "sims/text.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/ids.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

using http::ServerRequest;
using http::ServerResponse;

std::string guid() {
  std::string h = Rng::real().hex_id();
  return fmt::format("{}-{}-{}-{}-{}", h.substr(0, 8), h.substr(8, 4), h.substr(12, 4), h.substr(16, 4), h.substr(20));
}

std::string host_only(std::string_view host) { return lower(host.substr(0, std::min(host.rfind(':'), host.size()))); }

}  // namespace

IotHubSim::IotHubSim(IotHubSimOptions options, Clock& clock, http::Client& storage)
    : options_(std::move(options)),
      clock_(clock),
      started_(clock.steady_now()),
      storage_(storage),
      keys_{fmt::format("keys-{}", options_.seed)} {
  const bool big = options_.tier.ends_with('3');
  const double units = std::max(1, options_.units);
  const double registry = (big ? 5000.0 : 100.0) / 60 * units;
  const double queries = (big ? 1000.0 : 20.0) / 60 * units;
  const double reads = big ? 500 * units : std::max(100.0, options_.tier.ends_with('2') ? 10 * units : 0.0);
  const SteadyTime now = clock_.steady_now();
  const auto add = [&](const char* name, double rate, double burst) { buckets_[name] = {rate, burst, burst, now, 0}; };
  add("CRUD", registry, registry * 120);  // a burst of two minutes' worth passes
  add("RegistryRead", registry, registry * 150);
  add("Query", queries, queries * 60);
  add("TwinRead", reads, reads);
  add("TwinUpdate", reads / 2, reads / 2);
  add("Job", registry, registry * 60);
}

IotHubSim::~IotHubSim() {
  std::vector<std::jthread> runners;
  {
    std::scoped_lock lock(mutex_);
    runners.swap(runners_);
  }
  for (auto& t : runners) t.request_stop();
}

Answer<std::chrono::nanoseconds> IotHubSim::take(const std::string& name, double tokens) {
  if (!options_.throttle) return std::chrono::nanoseconds{0};
  std::scoped_lock lock(mutex_);
  Bucket& b = buckets_[name];
  const SteadyTime now = clock_.steady_now();
  b.tokens = std::min(b.burst, b.tokens + b.rate * std::chrono::duration<double>(now - b.filled).count());
  b.filled = now;
  const double wait = tokens <= b.tokens ? 0 : (tokens - b.tokens) / b.rate;
  if (wait > 40) {  // the queue holds about forty seconds' worth
    ++throttled_;
    return tl::unexpected(HubError{
        429, "ThrottlingBacklogTimeout", 429003,
        fmt::format("The request has been throttled. Wait 10 seconds and try again. Operation type: {}", name)});
  }
  b.tokens -= tokens;
  b.passed += static_cast<uint64_t>(tokens);
  return std::chrono::nanoseconds{static_cast<int64_t>(wait * 1e9 / options_.time_factor)};
}

ServerResponse IotHubSim::refuse(const HubError& e) const {
  ServerResponse r;
  r.status = e.status;
  const SystemTime now = clock_.system_now();
  const std::string iso = format_iso_seconds(now);
  const std::string stamp =
      fmt::format("{}/{}/{} {}", iso.substr(5, 2), iso.substr(8, 2), iso.substr(0, 4), iso.substr(11, 8));
  json::object body;
  if (e.code == "JobQuotaExceeded") {
    body = {{"Message", fmt::format("ErrorCode:JobQuotaExceeded;Error: 403 ErrorCode: JobQuotaExceeded\nMessage: {}\n"
                                    "Timestamp: {}\nTracking ID: ",
                                    e.text, stamp)},
            {"ExceptionMessage", ""}};
  } else {
    body = {{"Message", fmt::format("ErrorCode:{};{}", e.code, e.text)},
            {"ExceptionMessage",
             fmt::format("Tracking ID:{}-G:{}-TimeStamp:{}", Rng::real().hex_id(), e.status == 429 ? 0 : 5, stamp)}};
  }
  r.body = json::write(json::value(body));
  r.headers.push_back({"iothub-errorcode", e.code});
  if (e.status == 429) {
    r.close = true;
    r.fault.delay = std::chrono::milliseconds{static_cast<int64_t>(40'000 / options_.time_factor)};
  }
  return r;
}

std::set<std::string> role_actions(std::string_view role) {
  if (role == "reader") return {"devices/read", "twins/read", "jobs/read", "statistics/read"};
  if (role == "registry") return {"devices/read", "devices/write", "devices/delete"};
  if (role == "twin") return {"twins/read", "twins/write"};
  if (role != "contributor") return {};
  return {"devices/read", "devices/write", "devices/delete", "twins/read",     "twins/write",
          "jobs/read",    "jobs/write",    "jobs/delete",    "statistics/read"};
}

std::optional<HubError> IotHubSim::authorize(const ServerRequest& request, std::string_view right,
                                             const std::set<std::string>& actions) const {
  const auto denied = [](std::string text) {
    return HubError{401, "IotHubUnauthorizedAccess", 401002, std::move(text)};
  };
  const std::string_view given = request.header("Authorization");
  if (given.empty()) return denied("Unauthorized: the authorization header is missing");
  if (given.starts_with("Bearer ")) {
    if (options_.bearer_token.empty() || given.substr(7) != options_.bearer_token)
      return denied("Unauthorized: the token is not accepted");
    const auto& has = options_.bearer_actions;
    if (has.empty() || std::includes(has.begin(), has.end(), actions.begin(), actions.end())) return std::nullopt;
    return denied(fmt::format("Principal 4b4b8be5 is not authorized for {} on {} due to no assigned permissions",
                              request.method, request.path));
  }
  constexpr std::string_view kScheme = "SharedAccessSignature ";
  if (!given.starts_with(kScheme)) return denied("Unauthorized: unknown authorization scheme");
  std::map<std::string, std::string> fields;
  std::string_view rest = given.substr(kScheme.size());
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const size_t eq = pair.find('=');
    if (eq == std::string_view::npos) return denied("Unauthorized: the token cannot be read");
    if (!fields.emplace(pair.substr(0, eq), pair.substr(eq + 1)).second)
      return denied("Unauthorized: the token names a field twice");
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  static const std::map<std::string, std::set<std::string, std::less<>>> kPolicies{
      {"iothubowner", {"RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"}},
      {"service", {"ServiceConnect"}},
      {"device", {"DeviceConnect"}},
      {"registryRead", {"RegistryRead"}},
      {"registryReadWrite", {"RegistryRead", "RegistryWrite"}}};
  const std::string name = percent_decode(fields["skn"]);
  const auto built_in = kPolicies.find(name);
  const auto own = options_.policies.find(name);
  if (built_in == kPolicies.end() && own == options_.policies.end()) return denied("Unauthorized: unknown policy");
  const bool has_right =
      built_in != kPolicies.end() ? built_in->second.contains(right) : own->second.contains(std::string(right));
  const std::string text = fields["sr"] + "\n" + fields["se"];
  const std::string want = base64_encode(hmac_sha256(base64_decode(options_.policy_key).value_or(""), text));
  if (percent_decode(fields["sig"]) != want) return denied("Unauthorized: the signature does not match");
  int64_t expiry = 0;
  const std::string& se = fields["se"];
  const auto [end, bad] = std::from_chars(se.data(), se.data() + se.size(), expiry);
  if (bad != std::errc{} || end != se.data() + se.size()) return denied("Unauthorized: the expiry is not a number");
  if (std::chrono::sys_seconds{std::chrono::seconds{expiry}} <= clock_.system_now() + options_.clock_skew)
    return denied("Unauthorized: the token has expired");
  std::string resource = percent_decode(fields["sr"]);
  while (resource.ends_with('/')) resource.pop_back();
  const size_t slash = std::min(resource.find('/'), resource.size());
  const std::string host = host_only(resource.substr(0, slash));
  if (host != host_only(request.header("Host")) && host != lower(options_.name))
    return denied("Unauthorized: the token is for another host");
  const std::string path = percent_decode(request.path);
  const std::string scope = resource.substr(slash);
  if (!path.starts_with(scope) || (path.size() > scope.size() && !scope.empty() && path[scope.size()] != '/'))
    return denied("Unauthorized: the token is for another resource");
  if (!has_right) return denied(fmt::format("Unauthorized: the policy lacks {}", right));
  return std::nullopt;
}

ServerResponse IotHubSim::handle(const ServerRequest& request) {
  ServerResponse r = route(request);
  r.headers.push_back({"Server", "Microsoft-HTTPAPI/2.0"});
  r.headers.push_back({"Vary", "Origin"});
  r.headers.push_back({"x-ms-request-id", guid()});
  if (!r.body.empty()) r.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
  if (options_.clock_skew.count() != 0)
    r.headers.push_back({"Date", format_http_date(clock_.system_now() + options_.clock_skew)});
  return r;
}

ServerResponse IotHubSim::route(const ServerRequest& r) {
  std::vector<std::string> p;
  for (size_t at = 1; at <= r.path.size();) {
    const size_t end = std::min(r.path.find('/', at), r.path.size());
    if (end > at) p.push_back(percent_decode(r.path.substr(at, end - at)));
    at = end + 1;
  }
  const bool read = r.method == "GET";
  const std::string root = p.empty() ? "" : p[0];
  std::string_view right = read ? "RegistryRead" : "RegistryWrite";
  std::string bucket = read ? "RegistryRead" : "CRUD";
  if (root == "twins") right = "ServiceConnect", bucket = read ? "TwinRead" : "TwinUpdate";
  if (root == "jobs") bucket = "Job";
  if (root == "devices" && p.size() == 2 && p[1] == "query" && r.method == "POST")
    right = "ServiceConnect", bucket = "Query";
  if (root == "statistics" && p.size() == 2 && p[1] == "service") right = "ServiceConnect";
  const bool bulk = root == "devices" && p.size() == 1 && r.method == "POST";
  // What the parts of the API are called in the data actions of Entra ID.
  const std::string part = bucket == "Query" ? "twins" : root;
  std::set<std::string> actions{part + (read || bucket == "Query" ? "/read"
                                        : r.method == "DELETE"    ? "/delete"
                                                                  : "/write")};
  if (bulk) actions = {"devices/write", "devices/delete"};
  if (auto denied = authorize(r, right, actions)) return refuse(*denied);
  static const std::set<std::string> kVersions{"2018-04-01",         "2018-06-30", "2019-10-01", "2020-03-13",
                                               "2020-05-31-preview", "2020-09-30", "2021-04-12", "2024-03-31"};
  if (!kVersions.contains(r.query_value("api-version")))
    return refuse({400, "InvalidProtocolVersion", 400001, "The api-version is missing or not supported."});
  if (options_.tier.starts_with('B') && (root == "twins" || root == "jobs" || bucket == "Query"))
    return refuse({400, "InvalidOperation", 400003, "The operation is not supported on the Basic tier."});
  double tokens = 1;
  if (bulk)  // the service counts entries, not calls
    if (auto parsed = json::parse(r.body, "bulk"); parsed && parsed->is_array() && parsed->as_array().size() <= 100)
      tokens = static_cast<double>(std::max<size_t>(1, parsed->as_array().size()));
  auto wait = take(bucket, tokens);
  if (!wait) return refuse(wait.error());
  ServerResponse out;
  if (bulk)
    out = bulk_call(r);
  else if (bucket == "Query")
    out = query_call(r);
  else if (root == "devices" && p.size() == 1 && read) {
    uint64_t top = 1000;
    const std::string text = r.query_value("top");
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), top);
    if (bad != std::errc{} || top < 1 || top > 1000) top = 1000;
    json::array all;
    std::scoped_lock lock(mutex_);
    for (const auto& [id, e] : devices_) {
      if (all.size() == top) break;
      all.push_back(device_json(id, e, keys_, IdentityForm::kRead));
    }
    out = ok(all);
  } else if (root == "devices" && p.size() == 2)
    out = device_call(r, p[1]);
  else if (root == "devices" && (p.size() == 3 || p.size() == 4) && p[2] == "modules")
    out = module_call(r, p[1], p.size() == 4 ? p[3] : "");
  else if (root == "twins" && p.size() == 2)
    out = twin_call(r, p[1], "");
  else if (root == "twins" && p.size() == 4 && p[2] == "modules")
    out = twin_call(r, p[1], p[3]);
  else if (root == "statistics" && p.size() == 2 && read) {
    std::scoped_lock lock(mutex_);
    if (p[1] == "service")
      out = ok(json::object{{"connectedDeviceCount", 0}});
    else  // enabled and disabled lag for ever, as recorded
      out = ok(
          json::object{{"totalDeviceCount", devices_.size()}, {"enabledDeviceCount", 0}, {"disabledDeviceCount", 0}});
  } else if (root == "jobs" && p.size() == 2 && p[1] == "create" && r.method == "POST")
    out = job_create(r);
  else if (root == "jobs" && p.size() == 1 && read) {
    json::array all;
    std::scoped_lock lock(mutex_);
    for (const auto& [id, job] : jobs_) all.push_back(job_json(job));
    out = ok(all);
  } else if (root == "jobs" && p.size() == 2) {
    std::scoped_lock lock(mutex_);
    const auto job = jobs_.find(p[1]);
    const bool active = job != jobs_.end() && (job->second.status == "enqueued" || job->second.status == "running");
    if (read)
      out = job != jobs_.end() ? ok(job_json(job->second))
                               : refuse({404, "JobNotFound", 404002, fmt::format("No job '{}'.", p[1])});
    else if (r.method == "DELETE" && !active)
      out = refuse({500, "ServerError", 500001, "An unexpected error occurred."});
    else if (r.method == "DELETE") {
      job->second.status = "cancelled";
      job->second.ended = clock_.system_now();
      jobs_changed_.notify_all();
      out.status = 204;
    } else
      out.status = 405;
  } else
    out = refuse({404, "InvalidOperation", 404000, "No such resource."});
  out.fault.delay += std::chrono::duration_cast<std::chrono::milliseconds>(*wait);
  return out;
}

Entity IotHubSim::fresh_entity() {
  Entity e;
  e.generation = dotnet_ticks(clock_.system_now()) + next_seed_ % 10;
  e.key_seed = next_seed_++;
  e.etag = (options_.seed * 7919 + e.key_seed * 104729) % 900'000'000 + 1;
  e.twin_created_us = now_us();
  return e;
}

std::optional<HubError> IotHubSim::quota() const {
  const uint64_t most = options_.max_devices != 0 ? options_.max_devices : options_.tier == "F1" ? 500 : 1'000'000;
  if (devices_.size() + modules_ < most) return std::nullopt;
  return HubError{403, "IotHubQuotaExceeded", 403002, "The number of devices has reached the limit of this hub."};
}

void IotHubSim::touch(const std::string& id, bool deleted) {
  const auto span = deleted ? options_.ghost_time : options_.index_lag;
  const auto found = devices_.find(id);
  auto shown = index_.find(id);
  if (shown == index_.end()) {
    if (span.count() == 0) return;
    shown = index_.emplace(id, Shown{}).first;
    if (found != devices_.end()) shown->second.old = found->second;
  }
  shown->second.until = clock_.steady_now() + span;
}

void IotHubSim::purge_index() {
  const SteadyTime now = clock_.steady_now();
  std::erase_if(index_, [&](const auto& item) { return item.second.until <= now; });
}

ServerResponse IotHubSim::query_call(const ServerRequest& r) {
  auto body = body_object(r);
  const HubError bad = argument_invalid("BadRequest");
  if (!body) return refuse(bad);
  const std::string text(json::string_or(*body, "query"));
  const auto query = HubQuery::parse(text);
  if (!query) return refuse(bad);
  uint64_t most = 100;
  if (const std::string_view count = r.header("x-ms-max-item-count"); !count.empty()) {
    const auto [end, wrong] = std::from_chars(count.data(), count.data() + count.size(), most);
    if (wrong != std::errc{} || most == 0) return refuse(bad);
    most = std::min<uint64_t>(most, 1000);
  }
  const std::string mark = hex_encode(sha256(text)).substr(0, 16);
  std::string after;
  if (const std::string_view token = r.header("x-ms-continuation"); !token.empty()) {
    const auto raw = base64_decode(token);
    if (!raw || !raw->starts_with(mark + "/")) return refuse(bad);  // a token belongs to its query
    after = raw->substr(mark.size() + 1);
  }
  const bool model = r.query_value("api-version") >= "2020-05-31";
  json::array rows;
  uint64_t counted = 0;
  std::string last, next;
  const bool none = query->source == HubQuery::Source::kJobs;
  std::scoped_lock lock(mutex_);
  purge_index();
  auto device = none ? devices_.end() : devices_.upper_bound(after);
  auto shown = none ? index_.end() : index_.upper_bound(after);
  while (device != devices_.end() || shown != index_.end()) {
    const bool from_index = shown != index_.end() && (device == devices_.end() || shown->first <= device->first);
    const std::string id = from_index ? shown->first : device->first;
    const Entity* e = from_index ? (shown->second.old ? &*shown->second.old : nullptr) : &device->second;
    if (!query->count && rows.size() >= most) {
      next = last;
      break;
    }
    last = id;
    if (e != nullptr) {
      const auto consider = [&](const std::string& module, const Entity& row) {
        if (query->plain()) return rows.push_back(twin_json(id, module, row, model)), void();
        json::object twin = twin_json(id, module, row, model);
        if (!query->matches(twin)) return;
        if (query->count)
          ++counted;
        else
          rows.push_back(query->project(std::move(twin)));
      };
      if (query->source == HubQuery::Source::kDevices)
        consider("", *e);
      else if (e->extras)
        for (const auto& [name, module] : e->extras->modules) consider(name, module);
    }
    if (device != devices_.end() && device->first == id) ++device;
    if (from_index) ++shown;
  }
  if (query->count) rows.push_back(json::object{{query->count_name, counted}});
  ServerResponse out = ok(rows);
  out.headers.push_back({"x-ms-item-type", none ? "DeviceJob" : query->all() ? "Twin" : "Raw"});
  if (!next.empty()) out.headers.push_back({"x-ms-continuation", base64_encode(mark + "/" + next)});
  return out;
}

}  // namespace twinstep::sims
