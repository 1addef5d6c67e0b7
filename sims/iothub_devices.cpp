// Devices, modules and twins of the simulated hub, one by one and in bulk.
#include <fmt/format.h>

#include <set>

#include "sims/hub_answers.h"
#include "sims/hub_twin.h"
#include "sims/iothub_sim.h"
#include "sims/text.h"
#include "twinstep/base/ids.h"

namespace twinstep::sims {

using http::ServerRequest;
using http::ServerResponse;

ServerResponse IotHubSim::device_call(const ServerRequest& r, const std::string& id) {
  std::scoped_lock lock(mutex_);
  const auto found = devices_.find(id);
  const bool exists = found != devices_.end();
  const std::string match = bare_etag(r.header("If-Match"));
  const auto answer = [&](const Entity& e, IdentityForm form) {
    ServerResponse out = ok(device_json(id, e, keys_, form));
    out.headers.push_back({"ETag", "\"" + identity_etag(e.etag) + "\""});
    return out;
  };
  if (r.method == "GET") return exists ? answer(found->second, IdentityForm::kRead) : refuse(device_not_found(id));
  if (r.method == "DELETE") {
    if (!exists) return refuse(device_not_found(id));
    if (match.empty()) return refuse(precondition("Etag missing"));
    if (match != "*" && match != identity_etag(found->second.etag)) return refuse(precondition("PreconditionFailed"));
    touch(id, true);
    if (found->second.extras) modules_ -= found->second.extras->modules.size();
    tell(HubChange::kDeleted, id, found->second);
    devices_.erase(found);
    ServerResponse out;
    out.status = 204;
    return out;
  }
  if (r.method != "PUT") return refuse({405, "InvalidOperation", 400003, "The method is not allowed."});
  auto body = body_object(r);
  if (!body) return refuse(body.error());
  if (!is_legal_hub_device_id(id))
    return refuse(argument_invalid("The device id holds characters that are not allowed."));
  if (json::string_or(*body, "deviceId") != id)
    return refuse(argument_invalid("The deviceId differs from the address."));
  if (match.empty() && exists)
    return refuse(
        {409, "DeviceAlreadyExists", 409001, fmt::format("A device with ID '{}' is already registered.", id)});
  if (!match.empty() && !exists) return refuse(device_not_found(id));
  if (exists && match != "*" && match != identity_etag(found->second.etag))
    return refuse(precondition("PreconditionFailed"));
  if (!exists)
    if (auto full = quota(); full) return refuse(*full);
  Entity e = exists ? found->second : fresh_entity();
  if (auto good = set_authentication(e, body->if_contains("authentication"), next_seed_++); !good)
    return refuse(good.error());
  if (auto good = set_identity(e, id, *body, now_us()); !good) return refuse(good.error());
  if (exists)
    ++e.etag;
  else
    e.status_updated_us = 0;
  touch(id, false);
  Entity& stored = devices_[id] = std::move(e);
  if (!exists) tell(HubChange::kCreated, id, stored);
  ServerResponse out = answer(stored, exists ? IdentityForm::kUpdated : IdentityForm::kCreated);
  if (exists && body->contains("parentScopes") && !(stored.extras && !stored.extras->parent_scopes.empty())) {
    json::object shown = device_json(id, stored, keys_, IdentityForm::kUpdated);
    shown["parentScopes"] = json::array{};
    out.body = json::write(json::value(shown));
  }
  return out;
}

ServerResponse IotHubSim::module_call(const ServerRequest& r, const std::string& id, const std::string& module) {
  std::scoped_lock lock(mutex_);
  const auto found = devices_.find(id);
  if (found == devices_.end()) return refuse(device_not_found(id));
  auto& modules = found->second.more().modules;
  if (module.empty()) {
    json::array all;
    for (const auto& [name, e] : modules) all.push_back(module_json(id, name, e, keys_, IdentityForm::kRead));
    return ok(all);
  }
  const auto at = modules.find(module);
  const bool exists = at != modules.end();
  const HubError missing{404, "ModuleNotFound", 404010, fmt::format("The module '{}' is not registered.", module)};
  const std::string match = bare_etag(r.header("If-Match"));
  if (r.method == "GET")
    return exists ? ok(module_json(id, module, at->second, keys_, IdentityForm::kRead)) : refuse(missing);
  if (!exists && (r.method == "DELETE" || !match.empty())) return refuse(missing);
  if (exists && !match.empty() && match != "*" && match != identity_etag(at->second.etag))
    return refuse(precondition("PreconditionFailed"));
  if (r.method == "DELETE") {
    if (match.empty()) return refuse(precondition("Etag missing"));
    modules.erase(at);
    --modules_;
    ServerResponse out;
    out.status = 204;
    return out;
  }
  if (r.method != "PUT") return refuse({405, "InvalidOperation", 400003, "The method is not allowed."});
  if (exists && match.empty())
    return refuse(
        {409, "ModuleAlreadyExistsOnDevice", 409301, fmt::format("The module '{}' is already registered.", module)});
  if (!exists)
    if (auto full = quota(); full) return refuse(*full);
  auto body = body_object(r);
  if (!body) return refuse(body.error());
  Entity e = exists ? at->second : fresh_entity();
  if (auto good = set_authentication(e, body->if_contains("authentication"), next_seed_++); !good)
    return refuse(good.error());
  e.more().managed_by = std::string(json::string_or(*body, "managedBy"));
  if (exists)
    ++e.etag;
  else
    ++modules_;
  return ok(module_json(id, module, modules[module] = std::move(e), keys_,
                        exists ? IdentityForm::kUpdated : IdentityForm::kCreated));
}

ServerResponse IotHubSim::twin_call(const ServerRequest& r, const std::string& id, const std::string& module) {
  std::scoped_lock lock(mutex_);
  const auto found = devices_.find(id);
  if (found == devices_.end()) return refuse(device_not_found(id));
  Entity* e = &found->second;
  if (!module.empty()) {
    auto& modules = e->more().modules;
    const auto at = modules.find(module);
    if (at == modules.end())
      return refuse({404, "ModuleNotFound", 404010, fmt::format("The module '{}' is not registered.", module)});
    e = &at->second;
  }
  const bool model = r.query_value("api-version") >= "2020-05-31";
  if (r.method == "GET") return ok(twin_json(id, module, *e, model));
  if (r.method != "PATCH" && r.method != "PUT")
    return refuse({405, "InvalidOperation", 400003, "The method is not allowed."});
  const std::string match = bare_etag(r.header("If-Match"));
  if (!match.empty() && match != "*" && match != twin_etag(e->twin_etag))
    return refuse(precondition(fmt::format("ETag mismatch for device ID '{}'", id)));
  auto body = body_object(r);
  if (!body) return refuse(body.error());
  Entity changed = *e;
  auto good =
      r.method == "PATCH" ? merge_twin(changed, *body, now_us()) : replace_twin(changed, *body, now_us(), true, false);
  if (!good) return refuse(good.error());
  touch(id, false);
  *e = std::move(changed);
  return ok(twin_json(id, module, *e, model));
}

Answer<void> IotHubSim::apply(const json::object& entry, bool import, Entry& about) {
  const auto refused = [](HubError e) { return tl::unexpected(std::move(e)); };
  about.id = std::string(json::string_or(entry, "id"));
  about.module = std::string(json::string_or(entry, "moduleId"));
  const std::string mode = lower(json::string_or(entry, "importMode", "createOrUpdate"));
  about.operation = mode;
  static const std::set<std::string> kModes{"create",
                                            "update",
                                            "updateifmatchetag",
                                            "delete",
                                            "deleteifmatchetag",
                                            "updatetwin",
                                            "updatetwinifmatchetag",
                                            "createorupdate",
                                            "createorupdateifmatchetag"};
  if (!kModes.contains(mode)) return refused(argument_invalid("Error converting the value of 'importMode'."));
  if (!is_legal_hub_device_id(about.id)) return refused(argument_invalid("The device id is not valid."));
  if (import && !entry.contains("status")) return refused(argument_invalid("Required property 'status' not found."));
  const auto found = devices_.find(about.id);
  std::map<std::string, Entity, std::less<>>* home = &devices_;
  if (!about.module.empty()) {
    if (found == devices_.end()) return refused(device_not_found(about.id));
    home = &found->second.more().modules;
  }
  const std::string& key = about.module.empty() ? about.id : about.module;
  const auto at = home->find(key);
  const bool exists = at != home->end();
  const bool matched = mode.ends_with("ifmatchetag");
  const std::string etag(json::string_or(entry, "eTag"));
  if (mode == "create" && exists)
    return refused(
        {409, "DeviceAlreadyExists", 409001, fmt::format("A device with ID '{}' is already registered.", about.id)});
  if (!exists && !mode.starts_with("create")) return refused(device_not_found(about.id));
  const bool twin_only = mode.starts_with("updatetwin");
  if (exists && matched && !twin_only && !etag.empty() && bare_etag(etag) != "*" &&
      bare_etag(etag) != identity_etag(at->second.etag))
    return refused(precondition("PreconditionFailed"));
  const std::string twin_tag = bare_etag(json::string_or(entry, "twinETag"));
  if (exists && matched && (twin_only || !twin_tag.empty()) && !mode.starts_with("delete") && twin_tag != "*" &&
      twin_tag != twin_etag(at->second.twin_etag))
    return refused(precondition(fmt::format("ETag mismatch for device ID '{}'", about.id)));
  if (mode.starts_with("delete")) {
    if (about.module.empty()) {
      touch(about.id, true);
      if (at->second.extras) modules_ -= at->second.extras->modules.size();
      tell(HubChange::kDeleted, about.id, at->second);
    } else
      --modules_;
    home->erase(at);
    return {};
  }
  if (!exists)
    if (auto full = quota(); full) return refused(*full);
  Entity e = exists ? at->second : fresh_entity();
  if (!twin_only) {
    if (auto good = set_authentication(e, entry.if_contains("authentication"), next_seed_++); !good) return good;
    if (auto good = set_identity(e, about.id, entry, now_us()); !good) return good;
    if (exists)
      ++e.etag;
    else
      e.status_updated_us = 0;
  }
  if (auto good = replace_twin(e, entry, now_us(), false, !exists); !good) return good;
  if (about.module.empty())
    touch(about.id, false);
  else if (!exists)
    ++modules_;
  const Entity& stored = (*home)[key] = std::move(e);
  if (!exists && about.module.empty()) tell(HubChange::kCreated, about.id, stored);
  return {};
}

ServerResponse IotHubSim::bulk_call(const ServerRequest& r) {
  auto parsed = json::parse(r.body, "bulk");
  if (!parsed || !parsed->is_array())
    return refuse({400, "IotHubFormatError", 400006, "The request body is not a JSON array."});
  const json::array& entries = parsed->as_array();
  if (entries.size() > 100) return refuse({413, "TooManyDevices", 413002, "At most 100 devices in one call."});
  std::set<std::pair<std::string, std::string>> ids;
  for (const json::value& v : entries) {
    if (!v.is_object()) return refuse({400, "IotHubFormatError", 400006, "An entry is not a JSON object."});
    const std::pair id{std::string(json::string_or(v.as_object(), "id")),
                       std::string(json::string_or(v.as_object(), "moduleId"))};
    if (!ids.insert(id).second)
      return refuse({400, "DeviceDefinedMultipleTimes", 400011, fmt::format("'{}' occurs more than once.", id.first)});
  }
  json::array errors;
  {
    std::scoped_lock lock(mutex_);
    for (const json::value& v : entries) {
      Entry about;
      if (auto good = apply(v.as_object(), false, about); !good)
        errors.push_back(
            json::object{{"deviceId", about.id},
                         {"errorCode", good.error().code},
                         {"errorStatus", good.error().text},
                         {"moduleId", about.module.empty() ? json::value(nullptr) : json::value(about.module)},
                         {"operation", about.operation}});
    }
  }
  const bool good = errors.empty();
  ServerResponse out =
      ok(json::object{{"isSuccessful", good}, {"errors", std::move(errors)}, {"warnings", json::array{}}});
  if (!good) out.status = 400;
  return out;
}

}  // namespace twinstep::sims
