#include "twinstep/api/explain_routes.h"

#include <memory>
#include <semaphore>

#include "twinstep/api/v1.h"
#include "twinstep/api/workflow_json.h"
#include "twinstep/base/time_format.h"
#include "twinstep/config/load.h"
#include "twinstep/workflows/device_task.h"

namespace twinstep::api {
namespace {

/// Each may wait for two remotes that hang, and holds one of the threads that events and health need too.
constexpr int kAtOnce = 6;
constexpr Millis kComeBack{1'000};
constexpr int kLastTasks = 5;
constexpr int kLastRuns = 10;

using Seats = std::counting_semaphore<kAtOnce>;
struct GiveBack {
  void operator()(Seats* seats) const { seats->release(); }
};

std::string next_run_text(const std::optional<SystemTime>& next) {
  return next ? fmt::format("the run at {}", format_iso_seconds(*next))
              : std::string("the next run (none is scheduled)");
}

/// What the next run makes of a difference.
std::string difference(const DeviceFacts& facts) {
  const HubSide& hub = *facts.sides.hub;
  const config::Link& link = facts.link;
  const std::string next = next_run_text(facts.next_run);
  const bool hub_rules = link.master == config::Master::kHub;
  if (!hub.exists)
    return hub_rules ? fmt::format("only in {}: {} reports it, and deletes it only if twinstep created it there",
                                   link.external, next)
                     : fmt::format("only in {}: {} creates it in the hub", link.external, next);
  if (hub_rules) return fmt::format("only in the hub: {} creates it in {}", next, link.external);
  const bool owned = link.scope == config::Scope::kWholeHub || hub.owner == link.name || hub.has_ref;
  if (!owned) return fmt::format("left alone: in the hub only, and not made by link {}", link.name);
  if (link.deletes == config::Deletes::kNever)
    return fmt::format("only in the hub, and kept there: link {} says deletes: never", link.name);
  return fmt::format("only in the hub: {} {}s it", next, to_string(link.deletes));
}

std::string active_text(const DeviceFacts& facts) {
  const store::Workflow& task = *facts.active;
  if (facts.pause && task.state == store::State::kWaiting)
    return fmt::format("lane {} rests until {}: {}", facts.pause->lane, format_iso_seconds(facts.pause->until),
                       facts.pause->reason);
  if (task.state == store::State::kRunning) return "a task is working on it now";
  if (task.state != store::State::kWaiting) return task.status;
  if (task.status.empty()) return fmt::format("a task is due at {}", format_iso_seconds(task.due));
  return fmt::format("{}; looks again at {}", task.status, format_iso_seconds(task.due));
}

json::value hub_json(const Result<HubSide>& side) {
  if (!side) return json::object{{"state", "unknown"}, {"error", side.error().what}};
  if (!side->exists) return json::object{{"state", "absent"}};
  return json::object{{"state", "present"},
                      {"enabled", side->enabled},
                      {"edge", side->edge},
                      {"owner", side->owner.empty() ? json::value() : json::value(side->owner)},
                      {"tags", side->tags}};
}

json::value external_json(const Result<ExternalSide>& side) {
  if (!side) return json::object{{"state", "unknown"}, {"error", side.error().what}};
  if (side->what == ExternalSide::What::kFound) return json::object{{"state", "present"}, {"id", side->id}};
  if (side->what == ExternalSide::What::kAbsent) return json::object{{"state", "absent"}};
  return json::object{{"state", "cannot-be-looked-up"}};
}

Result<json::object> explain_link(const ApiDeps& deps, const config::Link& link, const DeviceId& device,
                                  const Call& call) {
  const std::string canonical = canonical_device_id(device.value);
  TRY_ASSIGN(const auto ledger, deps.store.ledger(link.name, canonical, call));
  store::WorkflowFilter filter;
  filter.key = workflows::device_key(link.name, device);
  filter.limit = kLastTasks;
  TRY_ASSIGN(const auto tasks, deps.store.list(filter, call));
  TRY_ASSIGN(const auto pauses, deps.store.pauses(call));
  TRY_ASSIGN(const auto next, deps.store.next_firing(link.name, call));

  json::object remembered;
  if (ledger)
    if (json::value tags = stored_json(ledger->tags); tags.is_object()) remembered = std::move(tags.get_object());
  // The hub tells case apart: what the ledger knows is spelled as the hub does.
  const DeviceSides sides = deps.look(link, ledger ? ledger->device : device, remembered, call);

  DeviceFacts facts{link, sides, {}, {}, {}, link.schedule.empty() ? std::nullopt : next};
  json::value active;
  json::array last;
  for (const store::Workflow& task : tasks) {
    TRY_ASSIGN(json::object shown, task_json(deps.store, task, call));
    if (!has_ended(task)) {
      facts.active = task;
      active = std::move(shown);
      continue;
    }
    if (!facts.last) facts.last = task;
    last.push_back(std::move(shown));
  }
  const std::string lane = workflows::external_lane(link.external);
  for (const store::Pause& pause : pauses)
    if (pause.lane == lane && pause.holds) facts.pause = pause;
  return json::object{
      {"link", link.name},
      {"why", why(facts)},
      {"hub", hub_json(sides.hub)},
      {"external", external_json(sides.external)},
      {"ledger", ledger ? json::value(json::object{
                              {"device", ledger->device.value}, {"present", ledger->present}, {"tags", remembered}})
                        : json::value()},
      {"activeTask", std::move(active)},
      {"lastTasks", std::move(last)},
  };
}

Result<http::ServerResponse> explain(const ApiDeps& deps, const V1Request& request) {
  const DeviceId device(request.part("device"));
  if (!is_legal_hub_device_id(device.value))
    return fail(ErrorKind::kInvalid, "api.bad-device",
                "this is no device id that IoT Hub accepts: 1 to 128 letters, digits and - : . + % _ # * ? ! ( ) , = @ "
                "; $ '");
  const std::string only = request.text("link");
  if (!only.empty()) TRY(need_link(deps.config, only));
  json::array links;
  for (const config::Link& link : deps.config.links) {
    if (!only.empty() && link.name != only) continue;
    TRY_ASSIGN(json::object one, explain_link(deps, link, device, request.call));
    links.push_back(std::move(one));
  }
  TRY_ASSIGN(const auto mentions, deps.runs.mentions(device, kLastRuns, request.call));
  json::array runs;
  for (const auto& mention : mentions)
    runs.push_back(json::object{{"run", mention.run.value},
                                {"at", time_json(mention.at)},
                                {"op", mention.outcome.op},
                                {"outcome", mention.outcome.outcome},
                                {"reason", mention.outcome.reason}});
  return reply(200, json::object{{"device", device.value},
                                 {"canonicalId", canonical_device_id(device.value)},
                                 {"links", std::move(links)},
                                 {"runs", std::move(runs)}});
}

}  // namespace

std::string why(const DeviceFacts& facts) {
  const config::Link& link = facts.link;
  if (facts.active) return active_text(facts);
  if (!facts.sides.hub) return fmt::format("not known: the hub cannot be read now: {}", facts.sides.hub.error().what);
  const HubSide& hub = *facts.sides.hub;
  if (hub.exists && hub.edge && !link.include_edge) return "left alone: Edge device";
  const bool known = facts.sides.external && facts.sides.external->what != ExternalSide::What::kCannotLookUp;
  const bool outside = known && facts.sides.external->what == ExternalSide::What::kFound;
  if (known && hub.exists == outside)
    return hub.exists ? "in step: both sides have it" : "in step: neither side has it";
  if (facts.last && facts.last->state == store::State::kFailed)
    return fmt::format("its last task failed: {}; `twinstep retry {}` tries it again", facts.last->status,
                       facts.last->id.value);
  if (!facts.sides.external)
    return fmt::format("not known: {} cannot be asked now: {}", link.external, facts.sides.external.error().what);
  if (!known)
    return fmt::format("{} the hub; {} cannot be asked for this device alone, the run compares it",
                       hub.exists ? "in" : "not in", link.external);
  return difference(facts);
}

void add_explain_routes(Router& router, const ApiDeps& deps) {
  add_v1(router, deps, "GET", "/api/v1/explain/{device}", {"link"},
         [deps, seats = std::make_shared<Seats>(kAtOnce)](const V1Request& request) -> Result<http::ServerResponse> {
           if (!seats->try_acquire()) {
             Error busy{.kind = ErrorKind::kUnavailable,
                        .what = "other devices are being explained; ask again in a second",
                        .code = "api.busy"};
             busy.retry_after = kComeBack;
             return fail(std::move(busy));
           }
           const std::unique_ptr<Seats, GiveBack> seat(seats.get());
           return explain(deps, request);
         });
}

}  // namespace twinstep::api
