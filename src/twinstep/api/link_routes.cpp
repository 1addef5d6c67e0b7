#include "twinstep/api/link_routes.h"

#include <algorithm>

#include "twinstep/api/v1.h"
#include "twinstep/api/workflow_json.h"
#include "twinstep/config/load.h"
#include "twinstep/workflows/device_task.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::api {
namespace {

constexpr size_t kLongestKey = 200;

json::object pause_json(const store::Pause& pause) {
  return {{"lane", pause.lane},
          {"reason", pause.reason},
          {"since", time_json(pause.since)},
          {"until", time_json(pause.until)},
          {"tries", pause.tries}};
}

/// Pauses that still hold.
Result<std::vector<store::Pause>> pauses(const ApiDeps& deps, const Call& call) {
  TRY_ASSIGN(auto all, deps.store.pauses(call));
  std::erase_if(all, [](const store::Pause& one) { return !one.holds; });
  return all;
}

Result<json::object> link_json(const ApiDeps& deps, const config::Link& link, const std::vector<store::Pause>& paused,
                               const Call& call) {
  store::WorkflowFilter filter;
  filter.key = workflows::run_key(link.name);
  filter.limit = 20;
  TRY_ASSIGN(const auto runs, deps.store.list(filter, call));
  TRY_ASSIGN(const auto next, deps.store.next_firing(link.name, call));
  json::value last, active;
  for (const store::Workflow& run : runs) {
    json::value& place = has_ended(run) ? last : active;
    // Newest first: the newest that ended, the oldest that is at work (queued ones are behind it).
    if (place.is_null() || !has_ended(run)) place = workflow_json(run);
  }
  json::array lanes;
  const std::vector<std::string> ours{workflows::run_lane(link.hub), workflows::external_lane(link.external)};
  for (const store::Pause& pause : paused)
    if (std::find(ours.begin(), ours.end(), pause.lane) != ours.end()) lanes.push_back(pause_json(pause));
  const bool scheduled = !link.schedule.empty();
  return json::object{{"name", link.name},
                      {"hub", link.hub},
                      {"external", link.external},
                      {"master", link.master == config::Master::kHub ? "hub" : "external"},
                      {"deletes", to_string(link.deletes)},
                      {"events", link.events},
                      {"schedule", scheduled ? json::value(link.schedule) : json::value()},
                      {"zone", link.zone},
                      {"next", scheduled ? time_json(next) : json::value()},
                      {"lastRun", std::move(last)},
                      {"activeRun", std::move(active)},
                      {"paused", std::move(lanes)}};
}

Result<http::ServerResponse> start_run(const ApiDeps& deps, const V1Request& request) {
  TRY(request.body({}));
  TRY_ASSIGN(const config::Link* link, need_link(deps.config, request.part("link")));
  store::NewWorkflow run = workflows::link_workflow(*link, "api", deps.rng);
  if (const std::string_view key = request.header("Idempotency-Key"); !key.empty()) {
    if (key.size() > kLongestKey)
      return fail(ErrorKind::kInvalid, "api.bad-parameter",
                  fmt::format("Idempotency-Key: at most {} characters", kLongestKey));
    run.seen_id = fmt::format("key/{}/{}", link->name, key);
  }
  TRY_ASSIGN(const auto started, deps.store.start({run}, request.call));
  constexpr std::string_view kOutcomes[] = {"started", "merged", "skipped", "queued", "known"};
  auto out = reply(202, json::object{{"id", started.front().id.value}, {"outcome", kOutcomes[started.front().what]}});
  out.headers.push_back({"Location", "/api/v1/runs/" + started.front().id.value});
  return out;
}

}  // namespace

void add_link_routes(Router& router, const ApiDeps& deps) {
  add_v1(router, deps, "GET", "/api/v1/links", {}, [deps](const V1Request& request) -> Result<http::ServerResponse> {
    TRY_ASSIGN(const auto paused, pauses(deps, request.call));
    json::array items;
    for (const config::Link& link : deps.config.links) {
      TRY_ASSIGN(json::object one, link_json(deps, link, paused, request.call));
      items.push_back(std::move(one));
    }
    return page_reply(std::move(items), {});
  });
  add_v1(router, deps, "GET", "/api/v1/links/{link}", {},
         [deps](const V1Request& request) -> Result<http::ServerResponse> {
           TRY_ASSIGN(const config::Link* link, need_link(deps.config, request.part("link")));
           TRY_ASSIGN(const auto paused, pauses(deps, request.call));
           TRY_ASSIGN(const json::object body, link_json(deps, *link, paused, request.call));
           return reply(200, body);
         });
  add_v1(router, deps, "POST", "/api/v1/links/{link}/runs", {},
         [deps](const V1Request& request) { return start_run(deps, request); });
  add_v1(router, deps, "GET", "/api/v1/lanes", {}, [deps](const V1Request& request) -> Result<http::ServerResponse> {
    TRY_ASSIGN(const auto paused, pauses(deps, request.call));
    json::array items;
    for (const store::Pause& pause : paused) items.push_back(pause_json(pause));
    return page_reply(std::move(items), {});
  });
  add_v1(router, deps, "POST", "/api/v1/lanes/{lane}/resume", {},
         [deps](const V1Request& request) -> Result<http::ServerResponse> {
           TRY(request.body({}));
           TRY_ASSIGN(const auto paused, pauses(deps, request.call));
           const std::string& lane = request.part("lane");
           const auto same = [&](const store::Pause& one) { return one.lane == lane; };
           if (std::none_of(paused.begin(), paused.end(), same))
             return fail(ErrorKind::kNotFound, "api.not-paused",
                         fmt::format("lane {} does not rest; GET /api/v1/lanes names those that do (write its slash "
                                     "as %2F)",
                                     lane));
           TRY(deps.store.resume(lane, request.call));
           return reply(200, json::object{{"lane", lane}, {"resumed", true}});
         });
}

}  // namespace twinstep::api
