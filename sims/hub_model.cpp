#include "sims/hub_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "sims/hub_twin.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

constexpr std::string_view kNever = "0001-01-01T00:00:00Z";

bool same(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return lower(x) == lower(y);
  });
}

std::string_view auth_name(AuthType type) {
  switch (type) {
    case AuthType::kSelfSigned:
      return "selfSigned";
    case AuthType::kCertificateAuthority:
      return "certificateAuthority";
    case AuthType::kSas:
      break;
  }
  return "sas";
}

json::value text_or_null(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }

Answer<std::string> optional_text(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  if (v == nullptr || v->is_null()) return std::string{};
  if (!v->is_string()) return tl::unexpected(argument_invalid(fmt::format("'{}' must be a string.", key)));
  return std::string(v->as_string());
}

bool is_thumbprint(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

Answer<void> check_key(const std::string& key) {
  const auto raw = base64_decode(key);
  if (!raw || raw->size() < 16 || raw->size() > 64)
    return tl::unexpected(argument_invalid("Invalid device key length. The key must be base64 of 16 to 64 bytes."));
  return {};
}

std::string when(int64_t micros, bool with_z) {
  std::string text = hub_time(micros);
  if (!with_z) text.pop_back();
  return text;
}

}  // namespace

HubError argument_invalid(std::string text) { return {400, "ArgumentInvalid", 400004, std::move(text)}; }

Entity::Entity(const Entity& other) { *this = other; }
Entity& Entity::operator=(const Entity& o) {
  if (this == &o) return *this;
  generation = o.generation, etag = o.etag, key_seed = o.key_seed, status_updated_us = o.status_updated_us;
  twin_created_us = o.twin_created_us, desired_updated_us = o.desired_updated_us, twin_etag = o.twin_etag;
  version = o.version, desired_version = o.desired_version, reported_version = o.reported_version;
  auth = o.auth, enabled = o.enabled, edge = o.edge, tags = o.tags, desired = o.desired;
  extras = o.extras ? std::make_unique<EntityExtras>(*o.extras) : nullptr;
  return *this;
}
EntityExtras& Entity::more() {
  if (!extras) extras = std::make_unique<EntityExtras>();
  return *extras;
}

std::string KeyMaker::key(uint64_t seed, char which) const {
  return base64_encode(sha256(fmt::format("{}/{}/{}", secret, seed, which)));
}

std::string hub_time(int64_t micros) {
  if (micros == 0) return std::string(kNever);
  const SystemTime time{std::chrono::microseconds{micros}};
  std::string text = format_iso_seconds(std::chrono::floor<std::chrono::seconds>(time));
  text.pop_back();
  const auto rest = (time - std::chrono::floor<std::chrono::seconds>(time)).count();
  if (rest != 0) {
    std::string fraction = fmt::format(".{:06}", rest);
    while (fraction.back() == '0') fraction.pop_back();
    text += fraction;
  }
  return text + "Z";
}

std::string identity_etag(uint64_t counter) { return base64_encode(std::to_string(counter)); }

std::string twin_etag(uint64_t counter) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[7 - i] = static_cast<char>(static_cast<unsigned char>(counter >> (8 * i)));
  return base64_encode(bytes);
}

uint64_t dotnet_ticks(SystemTime time) {
  return static_cast<uint64_t>(time.time_since_epoch().count()) * 10 + 621355968000000000ULL;
}

Answer<void> set_authentication(Entity& e, const json::value* authentication, uint64_t fresh_seed) {
  if (authentication == nullptr || authentication->is_null()) {
    e.auth = AuthType::kSas;
    e.key_seed = fresh_seed;
    if (e.extras)
      for (std::string* s : {&e.extras->primary_key, &e.extras->secondary_key, &e.extras->primary_thumbprint,
                             &e.extras->secondary_thumbprint})
        s->clear();
    return {};
  }
  if (!authentication->is_object()) return tl::unexpected(argument_invalid("'authentication' must be an object."));
  const json::object& a = authentication->as_object();
  std::string texts[4];
  const char* const names[4][2] = {{"symmetricKey", "primaryKey"},
                                   {"symmetricKey", "secondaryKey"},
                                   {"x509Thumbprint", "primaryThumbprint"},
                                   {"x509Thumbprint", "secondaryThumbprint"}};
  for (int i = 0; i < 4; ++i) {
    const json::value* group = a.if_contains(names[i][0]);
    if (group == nullptr || group->is_null()) continue;
    if (!group->is_object())
      return tl::unexpected(argument_invalid(fmt::format("'{}' must be an object.", names[i][0])));
    auto text = optional_text(group->as_object(), names[i][1]);
    if (!text) return tl::unexpected(text.error());
    texts[i] = std::move(*text);
  }
  const bool keys = !texts[0].empty() || !texts[1].empty();
  const bool prints = !texts[2].empty() || !texts[3].empty();
  auto type = optional_text(a, "type");
  if (!type) return tl::unexpected(type.error());
  AuthType wanted = prints ? AuthType::kSelfSigned : AuthType::kSas;
  if (!type->empty()) {
    if (same(*type, "sas"))
      wanted = AuthType::kSas;
    else if (same(*type, "selfSigned"))
      wanted = AuthType::kSelfSigned;
    else if (same(*type, "certificateAuthority"))
      wanted = AuthType::kCertificateAuthority;
    else
      return tl::unexpected(argument_invalid(
          fmt::format("Error converting value \"{}\" to the authentication type. Path 'authentication.type'.", *type)));
  }
  if (keys && prints) return tl::unexpected(argument_invalid("Symmetric keys and thumbprints cannot be mixed."));
  if (texts[0].empty() != texts[1].empty())
    return tl::unexpected(argument_invalid("Either no keys or both keys can be set."));
  if (keys && wanted != AuthType::kSas)
    return tl::unexpected(argument_invalid("Symmetric keys are only for authentication type sas."));
  if (prints && wanted != AuthType::kSelfSigned)
    return tl::unexpected(argument_invalid("Thumbprints are only for authentication type selfSigned."));
  for (int i = 0; i < 2; ++i)
    if (keys)
      if (auto ok = check_key(texts[i]); !ok) return ok;
  for (int i = 2; i < 4; ++i)
    if (!texts[i].empty() && !is_thumbprint(texts[i]))
      return tl::unexpected(argument_invalid(fmt::format("StringIsNotThumbprint: '{}'", names[i][1])));
  e.auth = wanted;
  if (!keys) e.key_seed = fresh_seed;
  if (keys || prints || e.extras) {
    EntityExtras& x = e.more();
    x.primary_key = texts[0], x.secondary_key = texts[1];
    x.primary_thumbprint = texts[2], x.secondary_thumbprint = texts[3];
  }
  return {};
}

Answer<void> set_identity(Entity& e, const std::string& id, const json::object& body, int64_t now_us) {
  bool enabled = true;
  if (const json::value* status = body.if_contains("status"); status != nullptr && !status->is_null()) {
    if (status->is_string() && same(status->as_string(), "enabled"))
      enabled = true;
    else if (status->is_string() && same(status->as_string(), "disabled"))
      enabled = false;
    else
      return tl::unexpected(argument_invalid("Error converting the value of 'status'. Path 'status'."));
  }
  auto reason = optional_text(body, "statusReason");
  if (!reason) return tl::unexpected(reason.error());
  if (reason->size() > 128) return tl::unexpected(argument_invalid("'statusReason' is longer than 128 characters."));
  bool edge = false;
  if (const json::value* capabilities = body.if_contains("capabilities");
      capabilities != nullptr && !capabilities->is_null()) {
    if (!capabilities->is_object()) return tl::unexpected(argument_invalid("'capabilities' must be an object."));
    const json::value* flag = capabilities->as_object().if_contains("iotEdge");
    if (flag != nullptr && !flag->is_null()) {
      if (!flag->is_bool()) return tl::unexpected(argument_invalid("'capabilities.iotEdge' must be true or false."));
      edge = flag->as_bool();
    }
  }
  auto scope = optional_text(body, "deviceScope");
  if (!scope) return tl::unexpected(scope.error());
  std::string parents;
  if (const json::value* p = body.if_contains("parentScopes"); p != nullptr && !p->is_null()) {
    if (!p->is_array()) return tl::unexpected(argument_invalid("'parentScopes' must be an array."));
    if (!p->as_array().empty()) parents = json::write(*p);
  }
  if (enabled != e.enabled) e.status_updated_us = now_us;
  e.enabled = enabled;
  e.edge = edge;
  if (edge && scope->empty()) *scope = fmt::format("ms-azure-iot-edge://{}-{}", id, e.generation);
  if (e.extras || !reason->empty() || !scope->empty() || !parents.empty()) {
    EntityExtras& x = e.more();
    x.status_reason = std::move(*reason), x.device_scope = std::move(*scope), x.parent_scopes = std::move(parents);
  }
  return {};
}

json::object authentication_json(const Entity& e, const KeyMaker& keys, bool hide) {
  static const EntityExtras kNone;
  const EntityExtras& x = e.extras ? *e.extras : kNone;
  json::object symmetric{{"primaryKey", nullptr}, {"secondaryKey", nullptr}};
  if (e.auth == AuthType::kSas && !hide) {
    symmetric["primaryKey"] = x.primary_key.empty() ? keys.key(e.key_seed, 'p') : x.primary_key;
    symmetric["secondaryKey"] = x.secondary_key.empty() ? keys.key(e.key_seed, 's') : x.secondary_key;
  }
  return {{"symmetricKey", std::move(symmetric)},
          {"x509Thumbprint", json::object{{"primaryThumbprint", text_or_null(x.primary_thumbprint)},
                                          {"secondaryThumbprint", text_or_null(x.secondary_thumbprint)}}},
          {"type", auth_name(e.auth)}};
}

json::object device_json(const std::string& id, const Entity& e, const KeyMaker& keys, IdentityForm form) {
  const bool z = form != IdentityForm::kCreated;
  json::object o{{"deviceId", id},
                 {"generationId", std::to_string(e.generation)},
                 {"etag", identity_etag(e.etag)},
                 {"connectionState", "Disconnected"},
                 {"status", e.enabled ? "enabled" : "disabled"},
                 {"statusReason", e.extras ? text_or_null(e.extras->status_reason) : json::value(nullptr)},
                 {"connectionStateUpdatedTime", when(0, z)},
                 {"statusUpdatedTime", when(e.status_updated_us, z)},
                 {"lastActivityTime", when(0, z)},
                 {"cloudToDeviceMessageCount", 0},
                 {"authentication", authentication_json(e, keys, false)},
                 {"capabilities", json::object{{"iotEdge", e.edge}}}};
  if (e.extras && !e.extras->device_scope.empty()) o["deviceScope"] = e.extras->device_scope;
  if (e.extras && !e.extras->parent_scopes.empty())
    o["parentScopes"] = *json::parse(e.extras->parent_scopes, "parentScopes");
  else if (form == IdentityForm::kCreated)
    o["parentScopes"] = json::array{};
  return o;
}

json::object module_json(const std::string& id, const std::string& module, const Entity& e, const KeyMaker& keys,
                         IdentityForm form) {
  const bool z = form != IdentityForm::kCreated;
  return {{"moduleId", module},
          {"managedBy", e.extras ? text_or_null(e.extras->managed_by) : json::value(nullptr)},
          {"deviceId", id},
          {"generationId", std::to_string(e.generation)},
          {"etag", identity_etag(e.etag)},
          {"connectionState", "Disconnected"},
          {"connectionStateUpdatedTime", when(0, z)},
          {"lastActivityTime", when(0, z)},
          {"cloudToDeviceMessageCount", 0},
          {"authentication", authentication_json(e, keys, false)}};
}

json::object twin_json(const std::string& id, const std::string& module, const Entity& e, bool with_model) {
  static const EntityExtras kNone;
  const EntityExtras& x = e.extras ? *e.extras : kNone;
  json::object o{{"deviceId", id}};
  if (!module.empty()) o["moduleId"] = module;
  o["etag"] = twin_etag(e.twin_etag);
  o["deviceEtag"] = identity_etag(e.etag);
  o["status"] = e.enabled ? "enabled" : "disabled";
  if (!x.status_reason.empty()) o["statusReason"] = x.status_reason;
  o["statusUpdateTime"] = hub_time(e.status_updated_us);
  o["connectionState"] = "Disconnected";
  o["lastActivityTime"] = kNever;
  o["cloudToDeviceMessageCount"] = 0;
  o["authenticationType"] = auth_name(e.auth);
  o["x509Thumbprint"] = json::object{{"primaryThumbprint", text_or_null(x.primary_thumbprint)},
                                     {"secondaryThumbprint", text_or_null(x.secondary_thumbprint)}};
  if (with_model) o["modelId"] = "";
  o["version"] = e.version;
  if (!e.tags.empty()) o["tags"] = tags_json(e);
  o["properties"] = properties_json(e);
  if (module.empty()) o["capabilities"] = json::object{{"iotEdge", e.edge}};
  if (!x.device_scope.empty()) o["deviceScope"] = x.device_scope;
  if (!x.parent_scopes.empty()) o["parentScopes"] = *json::parse(x.parent_scopes, "parentScopes");
  return o;
}

json::object export_json(const std::string& id, const std::string& module, const Entity& e, const KeyMaker& keys,
                         bool hide) {
  json::object o{{"id", id}};
  if (!module.empty()) o["moduleId"] = module;
  o["eTag"] = identity_etag(e.etag);
  o["status"] = e.enabled ? "enabled" : "disabled";
  if (e.extras && !e.extras->status_reason.empty()) o["statusReason"] = e.extras->status_reason;
  if (e.extras && !e.extras->managed_by.empty()) o["managedBy"] = e.extras->managed_by;
  o["authentication"] = authentication_json(e, keys, hide);
  if (!e.tags.empty() || !e.desired.empty() || (e.extras && !e.extras->reported.empty())) {
    o["twinETag"] = twin_etag(e.twin_etag);
    if (!e.tags.empty()) o["tags"] = tags_json(e);
    o["properties"] = properties_json(e);
  }
  if (module.empty()) o["capabilities"] = json::object{{"iotEdge", e.edge}};
  if (e.extras && !e.extras->device_scope.empty()) o["deviceScope"] = e.extras->device_scope;
  return o;
}

}  // namespace twinstep::sims
