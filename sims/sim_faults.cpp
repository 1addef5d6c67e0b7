#include "sims/sim_faults.h"

#include <fmt/format.h>

#include <set>

namespace twinstep::sims {

Status FaultBox::add(const json::object& f) {
  static const std::set<std::string_view> kKnown{"server", "method", "path", "skip",  "times", "probability", "status", "body",
                                                 "retryAfter", "delayMs", "cutAfter", "drop", "lost", "page", "at", "shift"};
  for (const auto& [key, v] : f)
    if (!kKnown.contains({key.data(), key.size()}))
      return fail(ErrorKind::kInvalid, "sim.fault", fmt::format("unknown member '{}' of a fault", std::string_view(key)));
  Fault fault{f, std::string(json::string_or(f, "server", "*")), std::string(json::string_or(f, "method")),
              std::string(json::string_or(f, "path")), json::int_or(f, "skip", 0), json::int_or(f, "times", 1), 1};
  if (const json::value* p = f.if_contains("probability"); p != nullptr && p->is_number())
    fault.probability = p->to_number<double>();
  std::scoped_lock lock(mutex_);
  faults_.push_back(std::move(fault));
  return {};
}

void FaultBox::clear() {
  std::scoped_lock lock(mutex_);
  faults_.clear();
}

http::ServerResponse FaultBox::serve(std::string_view server, const http::ServerRequest& request,
                                     const http::Handler& handler) {
  std::vector<json::object> hits;
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
      if (f.skip > 0) {
        --f.skip;
        continue;
      }
      if (f.probability < 1 && rng_.unit() >= f.probability) continue;
      if (f.times > 0) --f.times;
      hits.push_back(f.what);
    }
  }
  http::ServerRequest asked = request;
  http::ServerResponse out;
  bool execute = true, lost = false, shift = false;
  int64_t delay = 0, cut = -1;
  for (const json::object& f : hits) {
    if (const int64_t status = json::int_or(f, "status", 0); status != 0) {
      execute = false;
      out.status = static_cast<int>(status);
      out.body = std::string(json::string_or(f, "body"));
      if (const int64_t s = json::int_or(f, "retryAfter", -1); s >= 0) out.headers.push_back({"Retry-After", std::to_string(s)});
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
  ++counts_[fmt::format("{} {} {}", server, request.method, lost ? "dropped" : std::to_string(out.status))];
  return out;
}

json::object FaultBox::counts() const {
  std::scoped_lock lock(mutex_);
  json::object out;
  for (const auto& [key, n] : counts_) out[key] = n;
  return out;
}

}  // namespace twinstep::sims
