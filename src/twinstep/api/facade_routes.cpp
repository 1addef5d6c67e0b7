#include "twinstep/api/facade_routes.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>

#include "twinstep/api/v1.h"
#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

using workflows::FacadeDevice;
using workflows::FacadeOutcome;

constexpr Millis kPatience{20'000};
constexpr Millis kBatchPatience{60'000};
constexpr size_t kMostBody = 64 * 1024;  // IoT Hub takes 8 KB of names and values; escapes and blanks come on top
constexpr size_t kMostItems = 100;       // of a bulk call

/// The same whether the device exists or not, and whether the hub does.
Error not_allowed(DeviceAction action) {
  return {.kind = ErrorKind::kDenied,
          .what = fmt::format("this key may not {} a device of that id in that hub", to_string(action)),
          .code = "facade.not-allowed"};
}

struct Told {
  int status;
  std::string_view result;  // as the answer names it; empty = a problem
  std::string_view would;   // as a dry run names it
  std::string_view code;
};

Told told(const FacadeOutcome& outcome) {
  switch (outcome.what) {
    case FacadeOutcome::kCreated:
      return {201, "created", "create", {}};
    case FacadeOutcome::kEnabled:
      return {200, "enabled", "enable", {}};
    case FacadeOutcome::kAdopted:
      return {200, "adopted", "adopt", {}};
    case FacadeOutcome::kUnchanged:
      return {200, "unchanged", "nothing", {}};
    case FacadeOutcome::kDeleted:
      return {200, "deleted", "delete", {}};
    case FacadeOutcome::kDisabled:
      return {200, "disabled", "disable", {}};
    case FacadeOutcome::kFound:
      return {200, "found", "nothing", {}};
    case FacadeOutcome::kAbsent:
      return {404, {}, "not-found", "facade.no-device"};
    case FacadeOutcome::kDiffers:
      return {409, {}, "conflict", "facade.differs"};
    case FacadeOutcome::kNotOwned:
      return {409, {}, "refuse", "facade.not-owned"};
    case FacadeOutcome::kExcluded:
      break;
  }
  return {409, {}, "refuse", "facade.excluded"};
}

json::object state_json(const FacadeDevice& device) {
  json::object out{{"status", device.enabled ? "enabled" : "disabled"},
                   {"link", device.link.empty() ? json::value() : json::value(device.link)},
                   {"tags", device.tags}};
  if (!device.status_reason.empty()) out["statusReason"] = device.status_reason;
  return out;
}

std::string why_text(const FacadeOutcome& outcome, const DeviceId& id, const config::Hub& hub) {
  const std::string who = fmt::format("device '{}' of hub {}", id.value, hub.name);
  if (outcome.what == FacadeOutcome::kAbsent) return who + " does not exist";
  std::string out = fmt::format("{}: {}", who, outcome.why);
  if (outcome.what == FacadeOutcome::kDiffers) out += "; delete it first, or ask for what is there";
  return out;
}

/// The members of a single answer, or of one item of a batch.
json::object body_of(const FacadeOutcome& outcome, const DeviceId& id, const config::Hub& hub) {
  const Told told_as = told(outcome);
  json::object out{{"id", id.value}, {"hub", hub.name}};
  if (!told_as.code.empty()) {
    out["code"] = told_as.code;
    out["detail"] = why_text(outcome, id, hub);
    if (outcome.what == FacadeOutcome::kDiffers) out["wanted"] = state_json(outcome.wanted);
    if (told_as.status == 409) out["present"] = state_json(outcome.present);
    return out;
  }
  out["result"] = told_as.result;
  const bool made = outcome.what == FacadeOutcome::kCreated || outcome.what == FacadeOutcome::kEnabled ||
                    outcome.what == FacadeOutcome::kAdopted || outcome.what == FacadeOutcome::kUnchanged;
  if (outcome.what == FacadeOutcome::kDeleted) return out;
  FacadeDevice now = made ? outcome.wanted : outcome.present;
  if (outcome.what == FacadeOutcome::kDisabled) {
    now.enabled = false;
    now.status_reason = workflows::kSoftDeleted;
  }
  for (auto& member : state_json(now)) out[member.key()] = std::move(member.value());
  return out;
}

http::ServerResponse answer_of(const FacadeOutcome& outcome, const DeviceId& id, const config::Hub& hub, bool dry_run) {
  const Told told_as = told(outcome);
  json::object body = body_of(outcome, id, hub);
  if (dry_run) {
    body.erase("result");
    body["dryRun"] = true;
    body["would"] = told_as.would;
    body["wouldAnswer"] = told_as.status;
    return reply(200, body);
  }
  if (told_as.code.empty()) return reply(told_as.status, body);
  auto out = problem(told_as.status, told_as.code, why_text(outcome, id, hub));
  if (told_as.status == 409) {
    auto whole = json::parse(out.body, "a problem");
    for (const char* name : {"wanted", "present"})
      if (const json::value* state = body.if_contains(name)) whole->as_object()[name] = *state;
    out.body = json::write(*whole);
  }
  return out;
}

/// As api::problem(), but what is wrong between us and the hub is no fault of this program: 503, never 500.
http::ServerResponse facade_problem(const Error& error) {
  if (error.code == "facade.not-allowed" || error.code == "facade.disabled")
    return problem(403, error.code, error.what);
  if (error.code == "facade.too-large") return problem(413, error.code, error.what);
  Error told_as = error;
  // A device that the hub does not have is told by those who look for it; here it is the hub itself.
  const bool no_hub = error.kind == ErrorKind::kNotFound && error.code.starts_with("hub.");
  if (error.kind == ErrorKind::kDenied || error.kind == ErrorKind::kCorrupt || no_hub) {
    told_as.kind = ErrorKind::kUnavailable;
    told_as.retry_after = Millis{60'000};
  }
  if (told_as.kind == ErrorKind::kThrottled)
    told_as.retry_after = std::max(told_as.retry_after.value_or(Millis{1000}), Millis{1});
  auto out = problem(told_as);
  // An answer of this moment, not of a day: with Retry-After no repetition is answered from what was kept.
  if (told_as.kind == ErrorKind::kConflict && told_as.code != "facade.which-link")
    out.headers.push_back({"Retry-After", "1"});
  return out;
}

/// Only one reading of a path leads to a device: no empty parts, and every % begins an escape.
Status check_path(std::string_view path) {
  const auto hex = [&](size_t at) { return at < path.size() && std::isxdigit(static_cast<unsigned char>(path[at])); };
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '%' && !(hex(i + 1) && hex(i + 2)))
      return fail(ErrorKind::kInvalid, "facade.bad-path", "the path holds a '%' that begins no escape; write '%25'");
    // A script whose variable for the hub or the device is empty must not reach another one.
    if (path[i] == '/' && (i + 1 == path.size() || path[i + 1] == '/'))
      return fail(ErrorKind::kInvalid, "facade.bad-path", "the path holds an empty part");
  }
  return {};
}

Result<DeviceId> need_device(std::string_view id) {
  // Dots alone are legal ids, but no path of the hub can carry them.
  if (is_legal_hub_device_id(id) && id != "." && id != "..") return DeviceId(std::string(id));
  return fail(ErrorKind::kInvalid, "facade.bad-device",
              "this is no device id that IoT Hub accepts: 1 to 128 letters, digits and - : . + % _ # * ? ! ( ) , = @ ; "
              "$ ', and not dots alone");
}

Result<bool> wants_dry_run(const http::ServerRequest& request) {
  if (!has_parameter(request, "dryRun")) return false;
  const std::string given = request.query_value("dryRun");
  if (http::same_name(given, "false")) return false;
  if (http::same_name(given, "true")) return true;
  // "?dryRun" alone too: who forgot the value did not mean a real write.
  return fail(ErrorKind::kInvalid, "api.bad-parameter", "dryRun must be true or false");
}

Result<json::object> need_tags(std::string_view text, const config::Link& link) {
  json::object tags;
  if (text.find_first_not_of(" \t\r\n") != std::string_view::npos) {
    auto parsed = json::parse(text, "the body");
    if (!parsed) return fail(ErrorKind::kInvalid, "facade.bad-body", parsed.error().what);
    if (!parsed->is_object())
      return fail(ErrorKind::kInvalid, "facade.bad-body",
                  "the body must be a JSON object, which becomes the twin's tags, or empty");
    tags = std::move(parsed->get_object());
  }
  if (std::string why = workflows::why_tags_unfit(tags, link.name); !why.empty())
    return fail(ErrorKind::kInvalid, "facade.bad-tags", std::move(why));
  return tags;
}

std::string names_of(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

/// The hubs that this caller may do this in.
std::string hubs_of(const config::Config& config, const Principal& who, DeviceAction action, const DeviceId& id) {
  std::vector<std::string> names;
  for (const config::Hub& hub : config.hubs)
    if (who.may(action, hub.name, id.value)) names.push_back(hub.name);
  return names_of(names);
}

}  // namespace

Status Facade::find_link(Ask& ask) const {
  const auto links = deps_.config.facade_links(ask.hub->name);
  if (links.size() == 1) {
    ask.link = links.front();
    return {};
  }
  if (links.empty())
    return fail(ErrorKind::kNotFound, "facade.no-link",
                fmt::format("hub {} has no link whose master is an external system, so no devices are made there "
                            "this way",
                            ask.hub->name));
  std::vector<std::string> names;
  for (const config::Link* link : links) names.push_back(link->name);
  return fail(ErrorKind::kConflict, "facade.which-link",
              fmt::format("hub {} has several links whose master is an external system ({}); 'facade: true' at one of "
                          "them says which one owns what is made here",
                          ask.hub->name, names_of(names)));
}

http::ServerResponse Facade::in_turn(const std::function<http::ServerResponse()>& work) {
  struct Turn {
    std::atomic<int>& at_work;
    ~Turn() { at_work.fetch_sub(1); }
  };
  const int others = at_work_.fetch_add(1);
  const Turn turn{at_work_};
  if (others < deps_.most_at_work) return work();
  Error busy{.kind = ErrorKind::kUnavailable,
             .what = fmt::format("{} other calls wait for a hub already; nothing was done, ask again", others),
             .code = "facade.busy"};
  busy.retry_after = Millis{1'000};
  return problem(busy);
}

http::ServerResponse Facade::answer(const http::ServerRequest& request, const RouteMatch& match, DeviceAction action,
                                    Act act) {
  const auto work = [&]() -> Result<http::ServerResponse> {
    const bool changes = action != DeviceAction::kRead;
    if (!deps_.config.facade.enabled)
      return fail(ErrorKind::kDenied, "facade.disabled", "the facade is switched off (facade.enabled)");
    if (changes)
      TRY(check_parameters(request, {"dryRun", "code", "clientId"}));
    else
      TRY(check_parameters(request, {"code", "clientId"}));
    TRY(check_path(request.path));
    Ask ask{request, *match.who};
    TRY_ASSIGN(ask.id, need_device(match.part("device")));
    const auto named = match.values.find("hub");
    const config::Hub* hub =
        named == match.values.end() ? deps_.config.default_hub() : deps_.config.find_hub(named->second);
    if (!hub && named == match.values.end()) {
      const std::string hubs = hubs_of(deps_.config, ask.who, action, ask.id);
      if (hubs.empty()) return fail(not_allowed(action));
      return fail(ErrorKind::kInvalid, "facade.which-hub",
                  fmt::format("there are several hubs; name one of {}: /api/devices/HUB/DEVICE", hubs));
    }
    // Before anything is looked up: who may not, learns nothing.
    if (!ask.who.may(action, hub ? hub->name : named->second, ask.id.value)) return fail(not_allowed(action));
    if (!hub)
      return fail(ErrorKind::kNotFound, "facade.unknown-hub",
                  fmt::format("there is no hub '{}'; the hubs are {}", named->second,
                              hubs_of(deps_.config, ask.who, action, ask.id)));
    ask.hub = hub;
    TRY(find_link(ask));
    ask.call.by = fmt::format("facade call of {}", ask.who.name);
    ask.call.soft_delete = deps_.config.facade.soft_delete;
    ask.call.grace = deps_.config.facade.grace;
    ask.call.call = {deps_.clock.steady_now() + kPatience, deps_.stop};
    if (changes) {
      TRY_ASSIGN(ask.call.dry_run, wants_dry_run(request));
    }
    const auto done = [&] {
      auto out = (this->*act)(ask);
      return out ? std::move(*out) : facade_problem(out.error());
    };
    return in_turn([&] { return changes && !ask.call.dry_run ? repetitions_.once(request, ask.who, done) : done(); });
  };
  if (action != DeviceAction::kRead && cross_site(request))
    return problem(403, "api.cross-site",
                   fmt::format("a page of {} may not change anything here", request.header("Origin")));
  auto out = work();
  return out ? std::move(*out) : facade_problem(out.error());
}

Result<http::ServerResponse> Facade::create(Ask& ask) {
  if (ask.request.body.size() > kMostBody)
    return fail(ErrorKind::kInvalid, "facade.too-large",
                fmt::format("the body has {} bytes; IoT Hub keeps 8 KB of tags", ask.request.body.size()));
  TRY_ASSIGN(const json::object tags, need_tags(ask.request.body, *ask.link));
  TRY_ASSIGN(const auto outcome, devices_.create(deps_.open(*ask.link), ask.id, tags, ask.call));
  if (!ask.call.dry_run && told(outcome).code.empty())
    spdlog::info("facade.{} hub={} device={} by=\"{}\"", told(outcome).result, ask.hub->name, ask.id.value,
                 ask.who.name);
  return answer_of(outcome, ask.id, *ask.hub, ask.call.dry_run);
}

Result<http::ServerResponse> Facade::remove(Ask& ask) {
  TRY_ASSIGN(const auto outcome, devices_.remove(deps_.open(*ask.link), ask.id, ask.call));
  if (!ask.call.dry_run && told(outcome).code.empty())
    spdlog::info("facade.{} hub={} device={} by=\"{}\"", told(outcome).result, ask.hub->name, ask.id.value,
                 ask.who.name);
  return answer_of(outcome, ask.id, *ask.hub, ask.call.dry_run);
}

Result<http::ServerResponse> Facade::read(Ask& ask) {
  TRY_ASSIGN(const auto outcome, devices_.read(deps_.open(*ask.link), ask.id, ask.call));
  return answer_of(outcome, ask.id, *ask.hub, false);
}

namespace {

struct BatchItem {
  workflows::FacadeDevices::Item item;
  std::string op, name;
  std::optional<Error> refused;
};

Result<std::vector<BatchItem>> read_batch(const http::ServerRequest& request, const Principal& who,
                                          std::string_view hub, const config::Link* link) {
  const auto bad = [](std::string text) { return fail(ErrorKind::kInvalid, "facade.bad-body", std::move(text)); };
  auto parsed = json::parse(request.body, "the body");
  if (!parsed) return bad(parsed.error().what);
  const json::object* whole = parsed->if_object();
  const json::array* all = whole && whole->size() == 1 ? json::array_at(*whole, "operations") : nullptr;
  if (!all) return bad(R"(the body must be {"operations":[{"op":"create","id":"...","tags":{}},...]})");
  if (all->empty() || all->size() > kMostItems)
    return bad(fmt::format("there are {} operations; 1 to {} can be asked for at once", all->size(), kMostItems));
  std::vector<BatchItem> out;
  std::map<std::string, std::string> seen;  // canonical id, and how it was written
  for (size_t i = 0; i < all->size(); ++i) {
    const json::object* one = (*all)[i].if_object();
    if (!one) return bad(fmt::format("operations[{}] is not an object", i));
    BatchItem& next = out.emplace_back();
    for (const auto& member : *one)
      if (member.key() != "op" && member.key() != "id" && member.key() != "tags")
        return bad(fmt::format("operations[{}]: the member '{}' is not known; known are op, id, tags", i,
                               std::string_view(member.key())));
    next.op = json::string_or(*one, "op");
    next.name = json::string_or(*one, "id");
    if (next.op != "create" && next.op != "delete")
      return bad(fmt::format("operations[{}]: op must be 'create' or 'delete'", i));
    if (next.name.empty()) return bad(fmt::format("operations[{}] lacks an id", i));
    const auto [first, fresh] = seen.emplace(canonical_device_id(next.name), next.name);
    if (!fresh)
      return fail(ErrorKind::kInvalid, "facade.twice",
                  fmt::format("'{}' and '{}' are the same device; ask for it once", first->second, next.name));
    next.item.create = next.op == "create";
    const DeviceAction action = next.item.create ? DeviceAction::kCreate : DeviceAction::kDelete;
    if (auto id = need_device(next.name); id)
      next.item.id = std::move(*id);
    else
      next.refused = std::move(id).error();
    if (!next.refused && !who.may(action, hub, next.name)) next.refused = not_allowed(action);
    const json::value* tags = one->if_contains("tags");
    if (next.refused || !tags) continue;
    if (!next.item.create || !tags->is_object())
      return bad(
          fmt::format("operations[{}]: {}", i, next.item.create ? "tags must be an object" : "a delete has no tags"));
    next.item.tags = tags->get_object();
    if (std::string why = link ? workflows::why_tags_unfit(next.item.tags, link->name) : std::string(); !why.empty())
      next.refused = Error{.kind = ErrorKind::kInvalid, .what = std::move(why), .code = "facade.bad-tags"};
  }
  return out;
}

/// One result; raises `again` to how long somebody who repeats should wait.
json::object item_json(const BatchItem& item, const Result<FacadeOutcome>& outcome, const config::Hub& hub,
                       bool dry_run, int64_t& again) {
  json::object out{{"op", item.op}, {"id", item.name}};
  if (outcome) {
    const Told told_as = told(*outcome);
    for (auto& member : body_of(*outcome, item.item.id, hub))
      if (member.key() != "hub") out[member.key()] = std::move(member.value());
    if (const std::string state(json::string_or(out, "status")); !state.empty()) out["state"] = state;
    out["status"] = told_as.status;
    if (dry_run) {
      out.erase("result");
      out["would"] = told_as.would;
    }
    return out;
  }
  const http::ServerResponse as_problem = facade_problem(outcome.error());
  out["status"] = as_problem.status;
  out["code"] = outcome.error().code;
  out["detail"] = outcome.error().what;
  for (const http::Header& header : as_problem.headers)
    if (header.name == "Retry-After") {
      const int64_t seconds = std::max<int64_t>(1, std::strtoll(header.value.c_str(), nullptr, 10));
      out["retryAfter"] = seconds;
      again = std::max(again, seconds);
    }
  return out;
}

}  // namespace

http::ServerResponse Facade::batch(const http::ServerRequest& request, const RouteMatch& match) {
  const auto work = [&]() -> Result<http::ServerResponse> {
    if (!deps_.config.facade.enabled)
      return fail(ErrorKind::kDenied, "facade.disabled", "the facade is switched off (facade.enabled)");
    TRY(check_parameters(request, {"dryRun", "code", "clientId"}));
    TRY(check_path(request.path));
    const std::string& name = match.part("hub");
    Ask ask{request, *match.who};
    ask.hub = deps_.config.find_hub(name);
    Status usable;
    if (ask.hub) usable = find_link(ask);
    TRY_ASSIGN(auto items, read_batch(request, ask.who, ask.hub ? ask.hub->name : name, ask.link));
    // Each is a call of its own to the key's rate, whatever becomes of it.
    if (ask.who.charge) ask.who.charge(items.size() - 1);
    const bool nothing_allowed = std::all_of(items.begin(), items.end(), [](const BatchItem& item) {
      return item.refused && item.refused->code == "facade.not-allowed";
    });
    if (nothing_allowed)
      return fail(not_allowed(items.front().item.create ? DeviceAction::kCreate : DeviceAction::kDelete));
    if (!ask.hub) return fail(ErrorKind::kNotFound, "facade.unknown-hub", fmt::format("there is no hub '{}'", name));
    TRY(usable);
    ask.call.by = fmt::format("facade call of {}", ask.who.name);
    ask.call.soft_delete = deps_.config.facade.soft_delete;
    ask.call.grace = deps_.config.facade.grace;
    ask.call.call = {deps_.clock.steady_now() + kBatchPatience, deps_.stop};
    TRY_ASSIGN(ask.call.dry_run, wants_dry_run(request));

    const auto act = [&]() -> Result<http::ServerResponse> {
      std::vector<workflows::FacadeDevices::Item> wanted;
      for (const BatchItem& item : items)
        if (!item.refused) wanted.push_back(item.item);
      TRY_ASSIGN(const auto outcomes, devices_.batch(deps_.open(*ask.link), wanted, ask.call));
      json::array results;
      int64_t again = 0;
      size_t next = 0, good = 0;
      for (const BatchItem& item : items) {
        const Result<FacadeOutcome> outcome =
            item.refused ? Result<FacadeOutcome>(fail(*item.refused)) : outcomes[next++];
        results.push_back(item_json(item, outcome, *ask.hub, ask.call.dry_run, again));
        if (outcome && told(*outcome).code.empty()) ++good;
      }
      if (!ask.call.dry_run)
        spdlog::info("facade.batch hub={} devices={} done={} by=\"{}\"", ask.hub->name, items.size(), good,
                     ask.who.name);
      json::object body{{"hub", ask.hub->name}, {"done", good}, {"results", std::move(results)}};
      if (ask.call.dry_run) body["dryRun"] = true;
      auto out = reply(200, body);
      if (again > 0) out.headers.push_back({"Retry-After", std::to_string(again)});
      return out;
    };
    const auto done = [&] {
      auto out = act();
      return out ? std::move(*out) : facade_problem(out.error());
    };
    return in_turn([&] { return ask.call.dry_run ? done() : repetitions_.once(request, ask.who, done); });
  };
  if (cross_site(request))
    return problem(403, "api.cross-site",
                   fmt::format("a page of {} may not change anything here", request.header("Origin")));
  auto out = work();
  return out ? std::move(*out) : facade_problem(out.error());
}

void Facade::add_routes(Router& router) {
  const auto add = [&](const char* method, DeviceAction action, Act act) {
    for (const char* path : {"/api/devices/{device}", "/api/devices/{hub}/{device}"})
      router.add(method, path, Scope::kFacade,
                 [this, action, act](const http::ServerRequest& request, const RouteMatch& match) {
                   return answer(request, match, action, act);
                 });
  };
  add("POST", DeviceAction::kCreate, &Facade::create);
  add("DELETE", DeviceAction::kDelete, &Facade::remove);
  add("GET", DeviceAction::kRead, &Facade::read);
  router.add("POST", "/api/v1/devices/{hub}:batch", Scope::kFacade,
             [this](const http::ServerRequest& request, const RouteMatch& match) { return batch(request, match); });
}

}  // namespace twinstep::api
