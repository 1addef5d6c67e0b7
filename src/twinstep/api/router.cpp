#include "twinstep/api/router.h"

#include <algorithm>

#include "twinstep/base/encoding.h"
#include "twinstep/base/redact.h"
#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> out;
  for (size_t from = 0; from < path.size();) {
    if (path[from] == '/') {
      ++from;
      continue;
    }
    const size_t end = std::min(path.find('/', from), path.size());
    out.emplace_back(path.substr(from, end - from));
    from = end;
  }
  return out;
}

bool is_name(const std::string& segment) { return segment.starts_with('{'); }

bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path, RouteMatch& match) {
  if (pattern.size() != path.size()) return false;
  match.values.clear();
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string text = percent_decode(path[i]);
    if (is_name(pattern[i])) {
      const size_t close = pattern[i].find('}');
      const std::string_view end = std::string_view(pattern[i]).substr(close + 1);
      if (text.size() <= end.size() || !http::same_name(std::string_view(text).substr(text.size() - end.size()), end))
        return false;
      match.values[pattern[i].substr(1, close - 1)] = text.substr(0, text.size() - end.size());
    } else if (!http::same_name(pattern[i], text)) {
      return false;
    }
  }
  return true;
}

std::string_view title_of(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 413:
      return "Payload Too Large";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    default:
      return status < 500 ? "Refused" : "Internal Server Error";
  }
}

}  // namespace

void Router::add(std::string method, std::string pattern, Scope scope, RouteHandler handler) {
  auto segments = segments_of(pattern);
  entries_.push_back({{std::move(method), std::move(pattern), scope}, std::move(segments), std::move(handler)});
}

http::ServerResponse Router::handle(const http::ServerRequest& request, Gate& gate, std::string_view* pattern) const {
  const auto path = segments_of(request.path);
  const std::string_view method = request.method == "HEAD" ? std::string_view("GET") : request.method;
  std::string allowed;
  RouteMatch match;
  for (const Entry& entry : entries_) {
    if (!matches(entry.segments, path, match)) continue;
    if (pattern) *pattern = entry.route.pattern;
    if (entry.route.method == method) {
      auto who = gate.admit(request, entry.route.scope);
      if (!who) return std::move(who).error();
      match.who = std::move(*who);
      auto answer = entry.handler(request, match);
      gate.answered(request, *match.who, entry.route.scope, answer.status);
      return answer;
    }
    if (allowed.find(entry.route.method) == std::string::npos)
      allowed += (allowed.empty() ? "" : ", ") + entry.route.method;
  }
  if (allowed.empty()) return problem(404, "http.no-such-path", "there is nothing at " + request.path);
  auto out = problem(405, "http.method", fmt::format("{} knows {}, not {}", request.path, allowed, request.method));
  out.headers.push_back({"Allow", allowed});
  return out;
}

std::vector<std::string> path_segments(std::string_view path) {
  auto out = segments_of(path);
  for (std::string& one : out) one = percent_decode(one);
  return out;
}

std::vector<Router::Route> Router::routes() const {
  std::vector<Route> out;
  for (const Entry& entry : entries_) out.push_back(entry.route);
  return out;
}

http::ServerResponse reply(int status, const json::value& body) {
  http::ServerResponse out;
  out.status = status;
  out.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
  out.body = json::write(body);
  return out;
}

http::ServerResponse problem(int status, std::string_view code, std::string_view said) {
  // A detail may quote a path or a body, which may be no text at all; JSON is text.
  std::string detail = without_keys(said);
  if (!is_utf8(detail))
    for (char& c : detail)
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  http::ServerResponse out = reply(status, json::object{{"type", "about:blank"},
                                                        {"title", title_of(status)},
                                                        {"status", status},
                                                        {"detail", detail},
                                                        {"code", code}});
  out.headers.front().value = "application/problem+json";
  return out;
}

http::ServerResponse problem(const Error& error) {
  int status = 500;
  switch (error.kind) {
    case ErrorKind::kNotFound:
      status = 404;
      break;
    case ErrorKind::kConflict:
      status = 409;
      break;
    case ErrorKind::kInvalid:
      status = 400;
      break;
    case ErrorKind::kThrottled:
      status = 429;
      break;
    case ErrorKind::kUnavailable:
    case ErrorKind::kTimeout:
    case ErrorKind::kCancelled:
      status = 503;
      break;
    case ErrorKind::kDenied:
    case ErrorKind::kCorrupt:
      break;
  }
  auto out = problem(status, error.code, error.what);
  if (status == 503 || status == 429) {
    const auto wait = error.retry_after.value_or(Millis{10'000});
    out.headers.push_back({"Retry-After", std::to_string((wait.count() + 999) / 1000)});
  }
  return out;
}

}  // namespace twinstep::api
