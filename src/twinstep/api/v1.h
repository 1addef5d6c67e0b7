#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/api/api.h"

/// What all routes of /api/v1/ have in common.
namespace twinstep::api {

/// A request of /api/v1/, with the readers of what it may carry. Errors  kInvalid "api.*" naming the culprit.
class V1Request {
 public:
  V1Request(const http::ServerRequest& http, const RouteMatch& match, Call until)
      : call(std::move(until)), http_(http), match_(match) {}

  /// A named part of the path.
  const std::string& part(std::string_view name) const { return match_.part(name); }
  store::WorkflowId id() const { return store::WorkflowId(part("id")); }
  const Principal& who() const { return *match_.who; }
  /// A query parameter; empty = not given.
  std::string text(std::string_view name) const { return http_.query_value(name); }
  std::string_view header(std::string_view name) const { return http_.header(name); }
  /// `limit`, 1 to 1000; 100 when not given.
  Result<int> limit() const;
  /// `state`.
  Result<std::optional<store::State>> state() const;
  /// The body as a JSON object; an empty body is an empty object. Members that are not `known` are refused.
  Result<json::object> body(const std::vector<std::string_view>& known) const;
  /// The link of this page but with other query parameters, and those of this request that are in `keep`.
  std::string page(const std::vector<std::string_view>& keep, std::string_view name, std::string_view value) const;

  Call call;

 private:
  const http::ServerRequest& http_;
  const RouteMatch& match_;
};

using V1Handler = std::function<Result<http::ServerResponse>(const V1Request&)>;

/// Adds a route: GET needs Scope::kRead, everything else Scope::kOperate. Query parameters that are not among
/// `parameters` are 400 "api.unknown-parameter"; so is a page of another site that tries to change something (403
/// "api.cross-site"). Errors become problems.
void add_v1(Router& router, const ApiDeps& deps, std::string method, std::string pattern,
            std::vector<std::string_view> parameters, V1Handler handler);
/// As that, with a scope of its own.
void add_v1(Router& router, const ApiDeps& deps, std::string method, std::string pattern, Scope scope,
            std::vector<std::string_view> parameters, V1Handler handler);

/// Errors  kInvalid "api.unknown-parameter" for a query parameter that is not among `known`, "api.bad-parameter" for
/// one that is given twice.
Status check_parameters(const http::ServerRequest& request, const std::vector<std::string_view>& known);
/// Whether the query has it, with a value or without one.
bool has_parameter(const http::ServerRequest& request, std::string_view name);
/// A browser names the page that a changing request comes from (Origin), and says of every request whether a page of
/// another site makes it (Sec-Fetch-Site). Pages of other sites have no business here.
bool cross_site(const http::ServerRequest& request);

Result<store::State> need_state(std::string_view text);
/// kNotFound "api.unknown-link" with the names that there are.
Result<const config::Link*> need_link(const config::Config& config, std::string_view name);
/// {"items":[...],"next":LINK or null}
http::ServerResponse page_reply(json::array items, const std::string& next);

}  // namespace twinstep::api
