#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/api/principal.h"
#include "twinstep/base/result.h"
#include "twinstep/http/server.h"
#include "twinstep/json/json.h"

namespace twinstep::api {

/// What the router knows of a request when it calls the handler.
struct RouteMatch {
  std::map<std::string, std::string, std::less<>> values{};  ///< named parts of the path, percent-decoded
  PrincipalPtr who{};                                        ///< never null in a handler

  /// A part of the path that the pattern names.
  const std::string& part(std::string_view name) const { return values.find(name)->second; }
};
using RouteHandler = std::function<http::ServerResponse(const http::ServerRequest&, const RouteMatch&)>;

/// Finds the handler for a request and asks the gate whether this caller may use it. Every route names the scope that
/// it needs, so that none is open by oversight.
///
/// A pattern's segments are literals, compared without case as ASP.NET does, or `{name}` for any one segment that is
/// not empty; `{name}:batch` is one with that end. A trailing slash is the same path. HEAD is answered by GET's
/// handler. A path that is known with another method is 405 with Allow, any other path 404, both as problem+json.
///
/// Threads   add() before the first handle(); handle() from any thread.
class Router {
 public:
  struct Route {
    std::string method;
    std::string pattern;  ///< "/api/v1/tasks/{id}"
    Scope scope = Scope::kAdmin;
  };
  void add(std::string method, std::string pattern, Scope scope, RouteHandler handler);
  /// `pattern`, when given, is set to the pattern of the route that answers, also when the gate refuses; else it stays.
  http::ServerResponse handle(const http::ServerRequest& request, Gate& gate,
                              std::string_view* pattern = nullptr) const;
  /// Every route in the order in which it was added, for the comparison with the OpenAPI description.
  std::vector<Route> routes() const;

 private:
  struct Entry {
    Route route;
    std::vector<std::string> segments;
    RouteHandler handler;
  };
  std::vector<Entry> entries_;
};

/// The parts of a path as the router sees them: percent-decoded, without empty ones.
std::vector<std::string> path_segments(std::string_view path);

/// A JSON answer.
http::ServerResponse reply(int status, const json::value& body);
/// An RFC 9457 problem: {"type":"about:blank","title","status","detail","code"}. The code is Error::code, stable. A
/// detail may quote what the caller sent: keys in it become ***.
http::ServerResponse problem(int status, std::string_view code, std::string_view detail);
/// The status that fits the kind: not found 404, conflict 409, invalid 400, throttled 429, timeout and unavailable 503
/// with Retry-After, the rest 500.
http::ServerResponse problem(const Error& error);

}  // namespace twinstep::api
