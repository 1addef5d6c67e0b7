#include "twinstep/security/key_json.h"

#include "twinstep/base/time_format.h"
#include "twinstep/base/units.h"

namespace twinstep::security {
namespace {

json::value time_of(const std::optional<SystemTime>& time) {
  return time ? json::value(json::string(format_iso_millis(*time))) : json::value();
}

template <class Value>
json::array names_of(const std::vector<Value>& all) {
  json::array out;
  for (const Value one : all) out.push_back(json::value(json::string(to_string(one))));
  return out;
}

json::array texts_of(const std::vector<std::string>& all) {
  json::array out;
  for (const std::string& one : all) out.push_back(json::value(json::string(one)));
  return out;
}

tl::unexpected<Error> bad(std::string_view member, std::string_view what) {
  return fail(ErrorKind::kInvalid, "api.bad-body", fmt::format("the body's member '{}' must be {}", member, what));
}

Result<std::vector<std::string>> list_in(const json::object& body, std::string_view member) {
  std::vector<std::string> out;
  const json::value* found = json::find(body, member);
  if (found == nullptr) return out;
  if (!found->is_array()) return bad(member, "a list of texts");
  for (const json::value& one : found->get_array()) {
    if (!one.is_string()) return bad(member, "a list of texts");
    out.emplace_back(one.get_string());
  }
  return out;
}

Result<std::string> text_in(const json::object& body, std::string_view member) {
  const json::value* found = json::find(body, member);
  if (found == nullptr) return std::string();
  if (!found->is_string()) return bad(member, "a text");
  return std::string(found->get_string());
}

}  // namespace

json::object to_json(const Key& key, SystemTime now) {
  return {{"id", key.id},
          {"name", key.name},
          {"state", state_of(key, now)},
          {"scopes", names_of(key.rights.scopes)},
          {"hubs", texts_of(key.rights.hubs)},
          {"ids", texts_of(key.rights.ids)},
          {"may", names_of(key.rights.actions)},
          {"rate", key.rights.rate.empty() ? json::value() : json::value(json::string(key.rights.rate))},
          {"created", time_of(key.created)},
          {"createdBy", key.created_by},
          {"expires", time_of(key.expires)},
          {"lastUsed", time_of(key.last_used)},
          {"revoked", time_of(key.revoked)},
          {"previousUntil", key.previous_until > now ? time_of(key.previous_until) : json::value()}};
}

json::object to_json(const MadeKey& made, SystemTime now) {
  json::object out = to_json(made.key, now);
  out["key"] = json::string(made.text.reveal());
  return out;
}

Result<Millis> parse_span(std::string_view text, std::string_view what) {
  auto span = parse_duration(text);
  if (!span) return fail(ErrorKind::kInvalid, "key.time", fmt::format("{}: {}", what, span.error().what));
  return *span;
}

Result<NewKey> new_key_of(const json::object& body) {
  NewKey out;
  TRY_ASSIGN(out.name, text_in(body, "name"));
  TRY_ASSIGN(std::vector<std::string> scopes, list_in(body, "scopes"));
  if (json::find(body, "scopes") == nullptr) scopes = {"facade"};
  for (const std::string& one : scopes) {
    TRY_ASSIGN(const Scope scope, scope_of(one));
    out.rights.scopes.push_back(scope);
  }
  TRY_ASSIGN(out.rights.hubs, list_in(body, "hubs"));
  TRY_ASSIGN(out.rights.ids, list_in(body, "ids"));
  TRY_ASSIGN(const std::vector<std::string> actions, list_in(body, "may"));
  for (const std::string& one : actions) {
    TRY_ASSIGN(const DeviceAction action, action_of(one));
    out.rights.actions.push_back(action);
  }
  if (json::find(body, "may") == nullptr && out.rights.has(Scope::kFacade)) out.rights.actions = all_actions();
  TRY_ASSIGN(out.rights.rate, text_in(body, "rate"));
  TRY_ASSIGN(const std::string expires, text_in(body, "expires"));
  if (!expires.empty()) {
    TRY_ASSIGN(out.expires_in, parse_span(expires, "expires"));
  }
  return out;
}

json::object to_json(const NewKey& wanted) {
  json::object out{{"name", wanted.name}, {"scopes", names_of(wanted.rights.scopes)}};
  if (!wanted.rights.hubs.empty()) out["hubs"] = texts_of(wanted.rights.hubs);
  if (!wanted.rights.ids.empty()) out["ids"] = texts_of(wanted.rights.ids);
  if (!wanted.rights.actions.empty()) out["may"] = names_of(wanted.rights.actions);
  if (!wanted.rights.rate.empty()) out["rate"] = json::string(wanted.rights.rate);
  if (wanted.expires_in) out["expires"] = json::string(fmt::format("{}ms", wanted.expires_in->count()));
  return out;
}

}  // namespace twinstep::security
