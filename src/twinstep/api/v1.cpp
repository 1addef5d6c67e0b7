#include "twinstep/api/v1.h"

#include <algorithm>
#include <charconv>

#include "twinstep/base/encoding.h"
#include "twinstep/base/units.h"
#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

template <class Range>
std::string joined(const Range& names) {
  std::string out;
  for (const auto& name : names) out += fmt::format("{}{}", out.empty() ? "" : ", ", name);
  return out;
}

std::string allowed_text(const std::vector<std::string_view>& known) {
  return known.empty() ? std::string("none is known here") : "known are " + joined(known);
}

std::vector<std::string> query_names(std::string_view query) {
  std::vector<std::string> out;
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query = end == query.size() ? std::string_view{} : query.substr(end + 1);
    if (!pair.empty()) out.push_back(percent_decode(pair.substr(0, pair.find('=')), true));
  }
  return out;
}

}  // namespace

Status check_parameters(const http::ServerRequest& request, const std::vector<std::string_view>& known) {
  std::vector<std::string> seen;
  for (const std::string& name : query_names(request.query)) {
    if (http::same_name(name, "code")) continue;  // the gate's
    const auto same = [&](std::string_view one) { return http::same_name(one, name); };
    if (std::none_of(known.begin(), known.end(), same))
      return fail(ErrorKind::kInvalid, "api.unknown-parameter",
                  fmt::format("query parameter '{}' is not known; {}", name, allowed_text(known)));
    if (std::any_of(seen.begin(), seen.end(), same))
      return fail(ErrorKind::kInvalid, "api.bad-parameter", fmt::format("query parameter '{}' is given twice", name));
    seen.push_back(name);
  }
  return {};
}

bool has_parameter(const http::ServerRequest& request, std::string_view name) {
  const auto names = query_names(request.query);
  return std::any_of(names.begin(), names.end(), [&](const std::string& one) { return http::same_name(one, name); });
}

bool cross_site(const http::ServerRequest& request) {
  const std::string_view from = http::trimmed(request.header("Sec-Fetch-Site"));
  if (http::same_name(from, "cross-site") || http::same_name(from, "same-site")) return true;
  const std::string_view origin = request.header("Origin");
  if (origin == "null") return true;
  // Event Grid names itself without a scheme in its CloudEvents deliveries, which no browser does.
  const size_t host = origin.find("://");
  return host != std::string_view::npos && !http::same_name(origin.substr(host + 3), request.header("Host"));
}

Result<int> V1Request::limit() const {
  const std::string given = text("limit");
  if (given.empty()) return 100;
  int out = 0;
  const auto [end, problem] = std::from_chars(given.data(), given.data() + given.size(), out);
  if (problem != std::errc{} || end != given.data() + given.size() || out < 1 || out > 1000)
    return fail(ErrorKind::kInvalid, "api.bad-parameter",
                fmt::format("limit is '{}'; it must be a whole number from 1 to 1000", given));
  return out;
}

Result<std::optional<store::State>> V1Request::state() const {
  const std::string given = text("state");
  if (given.empty()) return std::optional<store::State>{};
  TRY_ASSIGN(const store::State state, need_state(given));
  return std::optional{state};
}

Result<json::object> V1Request::body(const std::vector<std::string_view>& known) const {
  if (http_.body.empty()) return json::object{};
  const std::string_view type = http_.header("Content-Type");
  if (!http::same_name(http::trimmed(type.substr(0, type.find(';'))), "application/json"))
    return fail(ErrorKind::kInvalid, "api.bad-body",
                fmt::format("the body's Content-Type is '{}'; it must be application/json", type));
  auto parsed = json::parse(http_.body, "the body");
  if (!parsed) return fail(ErrorKind::kInvalid, "api.bad-body", parsed.error().what);
  if (!parsed->is_object()) return fail(ErrorKind::kInvalid, "api.bad-body", "the body must be a JSON object");
  for (const auto& member : parsed->get_object())
    if (std::find(known.begin(), known.end(), std::string_view(member.key())) == known.end())
      return fail(
          ErrorKind::kInvalid, "api.bad-body",
          fmt::format("the body's member '{}' is not known; {}", std::string_view(member.key()), allowed_text(known)));
  return std::move(parsed->get_object());
}

std::string V1Request::page(const std::vector<std::string_view>& keep, std::string_view name,
                            std::string_view value) const {
  std::string out = http_.path + "?";
  for (const std::string_view one : keep)
    if (const std::string given = text(one); !given.empty()) out += fmt::format("{}={}&", one, percent_encode(given));
  return out + fmt::format("{}={}", name, percent_encode(value));
}

void add_v1(Router& router, const ApiDeps& deps, std::string method, std::string pattern,
            std::vector<std::string_view> parameters, V1Handler handler) {
  const Scope scope = method == "GET" ? Scope::kRead : Scope::kOperate;
  add_v1(router, deps, std::move(method), std::move(pattern), scope, std::move(parameters), std::move(handler));
}

void add_v1(Router& router, const ApiDeps& deps, std::string method, std::string pattern, Scope scope,
            std::vector<std::string_view> parameters, V1Handler handler) {
  const bool changes = method != "GET";
  router.add(std::move(method), std::move(pattern), scope,
             [deps, changes, parameters = std::move(parameters), handler = std::move(handler)](
                 const http::ServerRequest& request, const RouteMatch& match) {
               if (const Status good = check_parameters(request, parameters); !good) return problem(good.error());
               if (changes && cross_site(request))
                 return problem(403, "api.cross-site",
                                fmt::format("a page of {} may not change anything here", request.header("Origin")));
               const V1Request v1(request, match, deps.call());
               auto answer = handler(v1);
               return answer ? std::move(*answer) : problem(answer.error());
             });
}

Result<store::State> need_state(std::string_view text) {
  const auto state = store::state_of(text);
  if (!state)
    return fail(
        ErrorKind::kInvalid, "api.bad-parameter",
        fmt::format("there is no state '{}'; known are queued, waiting, running, blocked, done, failed, cancelled",
                    text));
  return *state;
}

Result<const config::Link*> need_link(const config::Config& config, std::string_view name) {
  if (const config::Link* link = config.find_link(name)) return link;
  std::vector<std::string> names;
  for (const config::Link& link : config.links) names.push_back(link.name);
  const std::string meant = nearest(name, names);
  return fail(ErrorKind::kNotFound, "api.unknown-link",
              fmt::format("there is no link '{}'{}; the links are {}", name,
                          meant.empty() ? "" : fmt::format(" (did you mean '{}'?)", meant), joined(names)));
}

http::ServerResponse page_reply(json::array items, const std::string& next) {
  return reply(200,
               json::object{{"items", std::move(items)}, {"next", next.empty() ? json::value() : json::value(next)}});
}

}  // namespace twinstep::api
