#include "sims/sim_faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace twinstep::sims {
namespace {

/// The path with what differs from device to device replaced, so that calls can be counted.
std::string route_of(std::string_view server, const http::ServerRequest& r) {
  std::vector<std::string> parts;
  for (size_t at = 1; at <= r.path.size();) {
    const size_t end = std::min(r.path.find('/', at), r.path.size());
    if (end > at) parts.push_back(r.path.substr(at, end - at));
    at = end + 1;
  }
  std::string out = r.method + " ";
  if (server == "blob") {  // /account/container/blob, and a blob's name may hold slashes
    out += parts.size() < 2 ? "/" : parts.size() == 2 ? "/{container}" : "/{container}/{blob}";
    if (const std::string comp = r.query_value("comp"); !comp.empty()) out += "?comp=" + comp;
    return out;
  }
  static const std::set<std::string_view> kFixed{"query", "create", "devices", "service", "modules", "commands"};
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool id = server == "hub" ? i % 2 == 1 && !(i == 1 && kFixed.contains(parts[i]))
                                    : i > 0 && parts[i].find_first_not_of("0123456789") == std::string::npos;
    out += "/" + (id ? "{id}" : parts[i]);
  }
  return out;
}

/// Does the fault belong to what a job does, and not to a call?
bool of_job(const json::object& fault) { return fault.contains("failJob") || fault.contains("breakLine"); }

Status check(const json::object& f) {
  static const std::set<std::string_view> kTexts{"server", "method", "path", "body", "page", "failJob"};
  static const std::set<std::string_view> kNumbers{"skip",    "times",    "status", "retryAfter",
                                                   "delayMs", "cutAfter", "at",     "breakLine"};
  static const std::set<std::string_view> kSwitches{"drop", "lost", "shift", "withId"};
  static const std::set<std::string_view> kEffects{"status", "delayMs", "cutAfter", "drop",     "lost",
                                                   "shift",  "page",    "failJob",  "breakLine"};
  bool effect = false;
  const auto wrong = [](std::string_view key, std::string_view why) {
    return fail(ErrorKind::kInvalid, "sim.fault", fmt::format("member '{}' of a fault {}", key, why));
  };
  for (const auto& [k, v] : f) {
    const std::string_view key(k.data(), k.size());
    if (kTexts.contains(key)) {
      if (!v.is_string()) return wrong(key, "must be a text");
    } else if (kNumbers.contains(key)) {
      if (!v.is_int64() && !v.is_uint64()) return wrong(key, "must be a whole number");
    } else if (kSwitches.contains(key)) {
      if (!v.is_bool()) return wrong(key, "must be true or false");
    } else if (key != "probability") {
      return wrong(key, "is not known");
    } else if (!v.is_number()) {
      return wrong(key, "must be a number from 0 to 1");
    }
    effect = effect || kEffects.contains(key);
  }
  const std::string_view server = json::string_or(f, "server", "*"), page = json::string_or(f, "page", "end");
  if (server != "*" && server != "hub" && server != "blob" && server != "thingpark")
    return wrong("server", "is hub, blob, thingpark or *");
  if (page != "repeat" && page != "missing" && page != "end" && page != "notFound")
    return wrong("page", "is repeat, missing, end or notFound");
  if (const std::string_view job = json::string_or(f, "failJob", "export"); job != "export" && job != "import")
    return wrong("failJob", "is export or import");
  if (json::int_or(f, "breakLine", 1) < 1) return wrong("breakLine", "counts from 1");
  if (!effect)
    return fail(ErrorKind::kInvalid, "sim.fault",
                "a fault needs an effect: status, delayMs, cutAfter, drop, lost, page, shift, failJob or breakLine");
  return {};
}

}  // namespace

Status FaultBox::add(const json::object& f) {
  TRY(check(f));
  Fault fault{f,
              std::string(json::string_or(f, "server", "*")),
              std::string(json::string_or(f, "method")),
              std::string(json::string_or(f, "path")),
              json::int_or(f, "skip", 0),
              json::int_or(f, "times", 1),
              1};
  if (const json::value* p = f.if_contains("probability"); p != nullptr && p->is_number())
    fault.probability = p->to_number<double>();
  std::scoped_lock lock(mutex_);
  faults_.push_back(std::move(fault));
  return {};
}

bool FaultBox::hits(Fault& fault) {
  if (fault.times == 0) return false;
  if (fault.skip > 0) {
    --fault.skip;
    return false;
  }
  if (fault.probability < 1 && rng_.unit() >= fault.probability) return false;
  if (fault.times > 0) --fault.times;
  return true;
}

JobFault FaultBox::job_fault(std::string_view type) {
  JobFault out;
  std::scoped_lock lock(mutex_);
  for (Fault& f : faults_) {
    const bool fails = json::string_or(f.what, "failJob") == type;
    const bool breaks = type == "export" && f.what.contains("breakLine");
    if ((!fails && !breaks) || !hits(f)) continue;
    out.fail = out.fail || fails;
    if (breaks) out.break_line = json::int_or(f.what, "breakLine", 0);
    if (breaks) out.with_id = json::bool_or(f.what, "withId", false);
  }
  return out;
}

void FaultBox::clear() {
  std::scoped_lock lock(mutex_);
  faults_.clear();
}

http::ServerResponse FaultBox::serve(std::string_view server, const http::ServerRequest& request,
                                     const http::Handler& handler) {
  std::vector<json::object> found;
  const std::string page = request.query_value("pageIndex");
  {
    std::scoped_lock lock(mutex_);
    for (Fault& f : faults_) {
      if (f.times == 0 || (f.server != "*" && f.server != server)) continue;
      if (!f.method.empty() && f.method != request.method) continue;
      if (!f.path.empty() && request.target.find(f.path) == std::string::npos) continue;
      const std::string at = std::to_string(json::int_or(f.what, "at", 1));
      if (f.what.contains("page") && page != at) continue;
      if (f.what.contains("shift") && page != "1") continue;
      if (of_job(f.what) || !hits(f)) continue;
      found.push_back(f.what);
    }
  }
  http::ServerRequest asked = request;
  http::ServerResponse out;
  bool execute = true, lost = false, shift = false;
  int64_t delay = 0, cut = -1;
  for (const json::object& f : found) {
    if (const int64_t status = json::int_or(f, "status", 0); status != 0) {
      execute = false;
      out.status = static_cast<int>(status);
      out.body = std::string(json::string_or(f, "body"));
      if (const int64_t s = json::int_or(f, "retryAfter", -1); s >= 0)
        out.headers.push_back({"Retry-After", std::to_string(s)});
    }
    if (json::bool_or(f, "drop", false)) execute = false, lost = true;
    if (json::bool_or(f, "lost", false)) lost = true;
    delay += json::int_or(f, "delayMs", 0);
    if (f.contains("cutAfter")) cut = json::int_or(f, "cutAfter", 0);
    if (json::bool_or(f, "shift", false)) shift = true;
    const std::string_view kind = json::string_or(f, "page");
    if (kind == "notFound") {
      execute = false;
      out.status = 404;
    } else if (kind == "end") {
      execute = false;
      out.body = "[]";
    } else if (kind == "repeat" || kind == "missing") {
      const int64_t at = json::int_or(f, "at", 1) + (kind == "repeat" ? -1 : 1);
      const size_t from = asked.query.find("pageIndex=");
      asked.query.replace(from, 10 + page.size(), "pageIndex=" + std::to_string(std::max<int64_t>(1, at)));
      asked.target = asked.path + "?" + asked.query;
    }
  }
  if (execute) out = handler(asked);
  if (shift && on_shift) on_shift();
  out.fault.delay += std::chrono::milliseconds{delay};
  if (cut >= 0) out.fault.cut_after = cut;
  if (lost) out.fault.drop = true;
  std::scoped_lock lock(mutex_);
  const std::string status = lost ? "dropped" : std::to_string(out.status);
  ++counts_[fmt::format("{} {} {}", server, request.method, status)];
  ++requests_[std::string(server)][route_of(server, request)][status];
  return out;
}

json::object FaultBox::requests() const {
  std::scoped_lock lock(mutex_);
  json::object out;
  for (const auto& [server, routes] : requests_) {
    json::object shown;
    for (const auto& [route, counts] : routes) {
      json::object& by_status = (shown[route] = json::object{}).as_object();
      for (const auto& [status, n] : counts) by_status[status] = n;
    }
    out[server] = std::move(shown);
  }
  return out;
}

void FaultBox::reset_requests() {
  std::scoped_lock lock(mutex_);
  counts_.clear();
  requests_.clear();
}

json::object FaultBox::counts() const {
  std::scoped_lock lock(mutex_);
  json::object out;
  for (const auto& [key, n] : counts_) out[key] = n;
  return out;
}

}  // namespace twinstep::sims
