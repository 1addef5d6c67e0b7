#include "twinstep/api/key_routes.h"

#include "twinstep/api/key_gate.h"
#include "twinstep/api/v1.h"
#include "twinstep/security/key_json.h"

namespace twinstep::api {
namespace {

constexpr Millis kUsualOverlap{24 * 3600 * 1000};

void changed(const ApiDeps& deps, std::string_view what, const security::Key& key, const V1Request& request) {
  audit_key(what, key, request.who());
  if (deps.keys.changed) deps.keys.changed();
}

/// Nothing between us and the caller keeps what is shown once.
http::ServerResponse shown_once(int status, const ApiDeps& deps, const security::MadeKey& made) {
  auto out = reply(status, security::to_json(made, deps.clock.system_now()));
  out.headers.push_back({"Cache-Control", "no-store"});
  return out;
}

Result<http::ServerResponse> make(const ApiDeps& deps, const V1Request& request) {
  TRY_ASSIGN(const json::object body, request.body({"name", "scopes", "hubs", "ids", "may", "rate", "expires"}));
  TRY_ASSIGN(const security::NewKey wanted, security::new_key_of(body));
  TRY_ASSIGN(const security::MadeKey made, deps.keys.store->create(wanted, request.who().name, request.call));
  changed(deps, "create", made.key, request);
  return shown_once(201, deps, made);
}

Result<http::ServerResponse> rotate(const ApiDeps& deps, const V1Request& request) {
  TRY_ASSIGN(const json::object body, request.body({"overlap"}));
  Millis overlap = kUsualOverlap;
  if (const json::value* given = json::find(body, "overlap")) {
    if (!given->is_string())
      return fail(ErrorKind::kInvalid, "api.bad-body", "the body's member 'overlap' must be a text such as \"24h\"");
    TRY_ASSIGN(overlap, security::parse_span(std::string_view(given->get_string()), "overlap"));
  }
  TRY_ASSIGN(const security::MadeKey made, deps.keys.store->rotate(request.part("key"), overlap, request.call));
  changed(deps, "rotate", made.key, request);
  return shown_once(200, deps, made);
}

}  // namespace

void add_key_routes(Router& router, const ApiDeps& deps) {
  add_v1(router, deps, "GET", "/api/v1/keys", Scope::kAdmin, {},
         [deps](const V1Request& request) -> Result<http::ServerResponse> {
           TRY_ASSIGN(const auto keys, deps.keys.store->list(request.call));
           json::array items;
           for (const security::Key& key : keys) items.push_back(security::to_json(key, deps.clock.system_now()));
           return page_reply(std::move(items), {});
         });
  add_v1(router, deps, "POST", "/api/v1/keys", Scope::kAdmin, {},
         [deps](const V1Request& request) { return make(deps, request); });
  add_v1(router, deps, "POST", "/api/v1/keys/{key}/revoke", Scope::kAdmin, {},
         [deps](const V1Request& request) -> Result<http::ServerResponse> {
           TRY(request.body({}));
           TRY_ASSIGN(const security::Key key, deps.keys.store->revoke(request.part("key"), request.call));
           changed(deps, "revoke", key, request);
           return reply(200, security::to_json(key, deps.clock.system_now()));
         });
  add_v1(router, deps, "POST", "/api/v1/keys/{key}/rotate", Scope::kAdmin, {},
         [deps](const V1Request& request) { return rotate(deps, request); });
}

}  // namespace twinstep::api
