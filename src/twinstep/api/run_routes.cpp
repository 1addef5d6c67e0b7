#include "twinstep/api/run_routes.h"

#include <algorithm>
#include <array>

#include "twinstep/api/v1.h"
#include "twinstep/api/workflow_json.h"
#include "twinstep/base/units.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::api {
namespace {

constexpr size_t kLargestPlan = 64ull << 20;
constexpr size_t kLongestName = 200;

json::value step_json(const std::map<std::string, std::string>& steps, const char* name) {
  const auto found = steps.find(name);
  return found == steps.end() ? json::value() : stored_json(found->second);
}

Result<json::object> run_json(const ApiDeps& deps, const store::WorkflowId& id, const Call& call) {
  TRY_ASSIGN(const store::Workflow run, find_workflow(deps.store, id, true, call));
  TRY_ASSIGN(const auto steps, deps.store.steps(id, call));
  TRY_ASSIGN(json::object out, task_json(deps.store, run, call));
  for (const char* step : {"plan", "approved", "report"}) out[step] = step_json(steps, step);
  return out;
}

Result<http::ServerResponse> list_runs(const ApiDeps& deps, const V1Request& request) {
  store::WorkflowFilter filter;
  filter.key_prefix = kRunKeys;
  if (const std::string link = request.text("link"); !link.empty()) {
    TRY(need_link(deps.config, link));
    filter.key = workflows::run_key(link);
  }
  TRY_ASSIGN(filter.state, request.state());
  TRY_ASSIGN(const int limit, request.limit());
  TRY_ASSIGN(const auto runs,
             list_page(deps.store, {filter}, store::WorkflowId(request.text("before")), limit, request.call));
  json::array items;
  for (const store::Workflow& run : runs) items.push_back(workflow_json(run));
  const bool more = runs.size() == static_cast<size_t>(limit);
  return page_reply(std::move(items),
                    more ? request.page({"link", "state", "limit"}, "before", runs.back().id.value) : "");
}

Result<http::ServerResponse> list_devices(const ApiDeps& deps, const V1Request& request) {
  TRY(find_workflow(deps.store, request.id(), true, request.call));
  constexpr std::array<std::string_view, 5> kOutcomes{"done", "failed", "skipped", "task", "reported"};
  const std::string outcome = request.text("outcome");
  if (!outcome.empty() && std::find(kOutcomes.begin(), kOutcomes.end(), outcome) == kOutcomes.end())
    return fail(ErrorKind::kInvalid, "api.bad-parameter",
                fmt::format("there is no outcome '{}'; known are done, failed, skipped, task, reported", outcome));
  TRY_ASSIGN(const int limit, request.limit());
  TRY_ASSIGN(const auto devices,
             deps.runs.outcomes(request.id(), outcome, DeviceId(request.text("after")), limit, request.call));
  json::array items;
  for (const store::DeviceOutcome& one : devices)
    items.push_back(
        json::object{{"device", one.device.value}, {"op", one.op}, {"outcome", one.outcome}, {"reason", one.reason}});
  const bool more = devices.size() == static_cast<size_t>(limit);
  return page_reply(std::move(items),
                    more ? request.page({"outcome", "limit"}, "after", devices.back().device.value) : "");
}

Result<http::ServerResponse> show_plan(const ApiDeps& deps, const V1Request& request) {
  TRY(find_workflow(deps.store, request.id(), true, request.call));
  http::ServerResponse out;
  out.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
  TRY(deps.runs.read_plan(
      request.id(),
      [&](std::string_view piece) -> Status {
        if (out.body.size() + piece.size() > kLargestPlan)
          return fail(ErrorKind::kInvalid, "api.plan-too-large",
                      fmt::format("the plan of run {} is larger than {}; /api/v1/runs/{}/devices gives it page by page",
                                  request.id().value, format_bytes(kLargestPlan), request.id().value));
        out.body += piece;
        return {};
      },
      request.call));
  return out;
}

/// Who does it, for the history: the body's "by", else "api"; whoever came with a key cannot leave its name out.
std::string by_of(const json::object& body, const Principal& who) {
  const std::string_view by = json::string_or(body, "by").substr(0, kLongestName);
  if (who.key_id.empty()) return std::string(by.empty() ? "api" : by);
  return by.empty() ? fmt::format("key {}", who.name) : fmt::format("{} (key {})", by, who.name);
}

}  // namespace

Status approve_run(store::WorkflowStore& store, const store::WorkflowId& id, std::string_view plan, std::string_view by,
                   const Call& call) {
  if (plan.empty())
    return fail(ErrorKind::kInvalid, "api.bad-body",
                R"(the body must name the plan that is approved: {"plan":"ID"}; the run shows it)");
  TRY_ASSIGN(const store::Workflow run, find_workflow(store, id, true, call));
  if (run.state != store::State::kBlocked)
    return fail(ErrorKind::kConflict, "store.not-blocked",
                fmt::format("run {} is {}: only a blocked one can be approved", id.value, to_string(run.state)));
  TRY_ASSIGN(const auto steps, store.steps(id, call));
  const json::value step = step_json(steps, "plan");
  const std::string_view blocked = step.is_object() ? json::string_or(step.get_object(), "plan") : std::string_view{};
  if (plan != blocked)
    return fail(ErrorKind::kConflict, "api.other-plan",
                fmt::format("run {} is blocked with plan {}, not {}; nothing was approved", id.value,
                            blocked.empty() ? "(none)" : blocked, plan));
  return store.unblock(id, "approved", json::write(json::object{{"plan", blocked}, {"by", by}}), call);
}

Status reject_run(store::WorkflowStore& store, const store::WorkflowId& id, std::string_view by, const Call& call) {
  TRY_ASSIGN(const store::Workflow run, find_workflow(store, id, true, call));
  if (run.state != store::State::kBlocked)
    return fail(ErrorKind::kConflict, "store.not-blocked",
                fmt::format("run {} is {}: only a blocked one can be rejected", id.value, to_string(run.state)));
  return store.cancel(id, fmt::format("rejected by {}", by), call);
}

void add_run_routes(Router& router, const ApiDeps& deps) {
  const auto get = [&](std::string pattern, std::vector<std::string_view> parameters, auto function) {
    add_v1(router, deps, "GET", std::move(pattern), std::move(parameters),
           [deps, function](const V1Request& request) { return function(deps, request); });
  };
  get("/api/v1/runs", {"link", "state", "limit", "before"}, list_runs);
  get("/api/v1/runs/{id}/devices", {"outcome", "after", "limit"}, list_devices);
  get("/api/v1/runs/{id}/plan", {}, show_plan);
  get("/api/v1/runs/{id}", {}, [](const ApiDeps& with, const V1Request& request) -> Result<http::ServerResponse> {
    TRY_ASSIGN(const json::object body, run_json(with, request.id(), request.call));
    return reply(200, body);
  });

  // What changes a run answers with the run as it is afterwards.
  using Change = Status (*)(store::WorkflowStore&, const store::WorkflowId&, const json::object& body,
                            const std::string& by, const Call&);
  const auto post = [&](std::string pattern, std::vector<std::string_view> members, Change change,
                        std::string_view event = {}) {
    add_v1(
        router, deps, "POST", std::move(pattern), {},
        [deps, members = std::move(members), change, event](const V1Request& request) -> Result<http::ServerResponse> {
          TRY_ASSIGN(const json::object body, request.body(members));
          TRY_ASSIGN(const store::Workflow run, find_workflow(deps.store, request.id(), true, request.call));
          const std::string by = by_of(body, request.who());
          TRY(change(deps.store, request.id(), body, by, request.call));
          // One that is at work tells of its end itself.
          const bool tells = event == "RunCancelled" && run.state == store::State::kRunning;
          if (!event.empty() && !tells && deps.answered) deps.answered(event, run, by);
          TRY_ASSIGN(const json::object after, run_json(deps, request.id(), request.call));
          return reply(200, after);
        });
  };
  post(
      "/api/v1/runs/{id}/approve", {"plan", "by"},
      [](store::WorkflowStore& store, const store::WorkflowId& id, const json::object& body, const std::string& by,
         const Call& call) { return approve_run(store, id, json::string_or(body, "plan"), by, call); },
      "RunApproved");
  post(
      "/api/v1/runs/{id}/reject", {"by"},
      [](store::WorkflowStore& store, const store::WorkflowId& id, const json::object&, const std::string& by,
         const Call& call) { return reject_run(store, id, by, call); },
      "RunRejected");
  post(
      "/api/v1/runs/{id}/cancel", {"by"},
      [](store::WorkflowStore& store, const store::WorkflowId& id, const json::object&, const std::string& by,
         const Call& call) { return store.cancel(id, fmt::format("cancelled by {}", by), call); },
      "RunCancelled");
  post("/api/v1/runs/{id}/retry", {},
       [](store::WorkflowStore& store, const store::WorkflowId& id, const json::object&, const std::string&,
          const Call& call) { return store.retry(id, call); });
}

}  // namespace twinstep::api
