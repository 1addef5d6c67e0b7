#include "twinstep/api/task_routes.h"

#include <algorithm>

#include "twinstep/api/v1.h"
#include "twinstep/api/workflow_json.h"
#include "twinstep/workflows/device_task.h"

namespace twinstep::api {
namespace {

constexpr int kBulkPage = 500;         // tasks of one transaction
constexpr int64_t kMostBulk = 10'000;  // tasks of one request
constexpr int64_t kUsualBulk = 1'000;

/// Which tasks are meant; empty = any.
struct TaskFilter {
  std::string link, device, code;
  std::optional<store::State> state;
  bool empty() const { return link.empty() && device.empty() && code.empty() && !state; }
};

/// As the store wants it. A device without a link may have tasks of every link: a filter for each.
Result<std::vector<store::WorkflowFilter>> filters_of(const config::Config& config, const TaskFilter& wanted) {
  if (!wanted.link.empty()) TRY(need_link(config, wanted.link));
  store::WorkflowFilter one;
  one.key_prefix = wanted.link.empty() ? std::string(kTaskKeys) : task_keys(wanted.link);
  one.state = wanted.state;
  one.error_code = wanted.code;
  std::vector<store::WorkflowFilter> out;
  if (wanted.device.empty()) out.push_back(one);
  for (const config::Link& link : config.links) {
    if (wanted.device.empty() || (!wanted.link.empty() && wanted.link != link.name)) continue;
    store::WorkflowFilter exact = one;
    exact.key_prefix.clear();
    exact.key = workflows::device_key(link.name, DeviceId(wanted.device));
    out.push_back(std::move(exact));
  }
  return out;
}

/// `code` filters tasks, and is the place of a caller's key on every route: what looks like a key is no code of an
/// error, and must reach neither the store nor the next page's address.
std::string error_code(const V1Request& request) {
  std::string code = request.text("code");
  if (code.starts_with("tsk_")) code.clear();
  return code;
}

Result<http::ServerResponse> list_tasks(const ApiDeps& deps, const V1Request& request) {
  TaskFilter wanted{request.text("link"), request.text("device"), error_code(request), {}};
  TRY_ASSIGN(wanted.state, request.state());
  TRY_ASSIGN(auto filters, filters_of(deps.config, wanted));
  TRY_ASSIGN(const int limit, request.limit());
  TRY_ASSIGN(const auto tasks,
             list_page(deps.store, std::move(filters), store::WorkflowId(request.text("before")), limit, request.call));
  json::array items;
  for (const store::Workflow& task : tasks) items.push_back(workflow_json(task));
  const bool more = tasks.size() == static_cast<size_t>(limit);
  std::vector<std::string_view> keep{"link", "state", "device", "limit"};
  if (!wanted.code.empty()) keep.emplace_back("code");
  return page_reply(std::move(items), more ? request.page(keep, "before", tasks.back().id.value) : "");
}

Result<http::ServerResponse> show_task(const ApiDeps& deps, const store::WorkflowId& id, const Call& call) {
  TRY_ASSIGN(const store::Workflow task, find_workflow(deps.store, id, false, call));
  TRY_ASSIGN(const json::object body, task_json(deps.store, task, call));
  return reply(200, body);
}

/// What a request for many asks.
struct BulkRequest {
  TaskFilter filter;
  int64_t limit = kUsualBulk;
  store::WorkflowId before;
  bool dry_run = false;
};

Result<BulkRequest> bulk_request(const V1Request& request) {
  TRY_ASSIGN(const json::object body, request.body({"filter", "all", "limit", "before", "dryRun"}));
  BulkRequest out;
  if (const json::object* filter = json::object_at(body, "filter")) {
    for (const auto& member : *filter) {
      const std::string_view name = member.key();
      if (!member.value().is_string())
        return fail(ErrorKind::kInvalid, "api.bad-body", fmt::format("filter.{} must be a text", name));
      const std::string_view text = member.value().get_string();
      if (name == "link")
        out.filter.link = text;
      else if (name == "device")
        out.filter.device = text;
      else if (name == "code")
        out.filter.code = text;
      else if (name != "state")
        return fail(ErrorKind::kInvalid, "api.bad-body",
                    fmt::format("filter.{} is not known; known are link, state, device, code", name));
      else if (auto state = need_state(text); state)
        out.filter.state = *state;
      else
        return fail(std::move(state).error());
    }
  }
  if (out.filter.empty() && !json::bool_or(body, "all", false))
    return fail(ErrorKind::kInvalid, "api.no-filter",
                R"(say which tasks are meant, {"filter":{"code":"..."}}, or {"all":true})");
  out.limit = json::int_or(body, "limit", kUsualBulk);
  if (out.limit < 1 || out.limit > kMostBulk)
    return fail(ErrorKind::kInvalid, "api.bad-body", fmt::format("limit must be from 1 to {}", kMostBulk));
  out.before = store::WorkflowId(std::string(json::string_or(body, "before")));
  out.dry_run = json::bool_or(body, "dryRun", false);
  return out;
}

struct BulkAct {
  std::vector<store::State> usual;     ///< which it takes when the filter names no state
  std::vector<store::State> possible;  ///< which it can change
  std::function<Result<store::Bulk>(const store::WorkflowFilter&, const Call&)> page;
};

/// How many the act would take.
Result<int64_t> matching(store::WorkflowStore& store, const BulkAct& act,
                         const std::vector<store::WorkflowFilter>& filters, const Call& call) {
  int64_t out = 0;
  for (const store::WorkflowFilter& filter : filters) {
    TRY_ASSIGN(const auto counts, store.count(filter, call));
    for (const store::State state : filter.state ? act.possible : act.usual)
      if (const auto found = counts.find(state); found != counts.end()) out += found->second;
  }
  return out;
}

Result<http::ServerResponse> change_many(const ApiDeps& deps, const BulkAct& act, const V1Request& request) {
  TRY_ASSIGN(const BulkRequest wanted, bulk_request(request));
  TRY_ASSIGN(auto filters, filters_of(deps.config, wanted.filter));
  for (store::WorkflowFilter& filter : filters) filter.before = wanted.before;
  TRY_ASSIGN(const int64_t matched, matching(deps.store, act, filters, request.call));
  int64_t changed = 0, skipped = 0;
  store::WorkflowId next;
  for (store::WorkflowFilter& filter : filters) {
    while (!wanted.dry_run && changed + skipped < wanted.limit) {
      filter.limit = static_cast<int>(std::min<int64_t>(kBulkPage, wanted.limit - changed - skipped));
      TRY_ASSIGN(const store::Bulk page, act.page(filter, request.call));
      changed += page.changed;
      skipped += page.skipped;
      next = page.last;
      if (page.last.empty()) break;
      filter.before = page.last;
    }
  }
  return reply(200, json::object{{"matched", matched},
                                 {"changed", changed},
                                 {"skipped", skipped},
                                 {"dryRun", wanted.dry_run},
                                 {"next", next.empty() ? json::value() : json::value(next.value)}});
}

}  // namespace

void add_task_routes(Router& router, const ApiDeps& deps) {
  using store::State;
  add_v1(router, deps, "GET", "/api/v1/tasks", {"link", "state", "device", "code", "limit", "before"},
         [deps](const V1Request& request) { return list_tasks(deps, request); });
  add_v1(router, deps, "GET", "/api/v1/tasks/{id}", {},
         [deps](const V1Request& request) { return show_task(deps, request.id(), request.call); });
  add_v1(router, deps, "POST", "/api/v1/tasks/{id}/retry", {},
         [deps](const V1Request& request) -> Result<http::ServerResponse> {
           TRY(request.body({}));
           TRY(find_workflow(deps.store, request.id(), false, request.call));
           TRY(deps.store.retry(request.id(), request.call));
           return show_task(deps, request.id(), request.call);
         });
  add_v1(router, deps, "POST", "/api/v1/tasks/{id}/cancel", {},
         [deps](const V1Request& request) -> Result<http::ServerResponse> {
           TRY(request.body({}));
           TRY(find_workflow(deps.store, request.id(), false, request.call));
           TRY(deps.store.cancel(request.id(), "cancelled by api", request.call));
           return show_task(deps, request.id(), request.call);
         });

  const BulkAct retry{
      {State::kFailed},
      {State::kWaiting, State::kFailed, State::kCancelled},
      [deps](const store::WorkflowFilter& filter, const Call& call) { return deps.store.retry_all(filter, call); }};
  const std::vector<State> active{State::kQueued, State::kWaiting, State::kRunning, State::kBlocked};
  const BulkAct cancel{active, active, [deps](const store::WorkflowFilter& filter, const Call& call) {
                         return deps.store.cancel_all(filter, "cancelled by api", call);
                       }};
  add_v1(router, deps, "POST", "/api/v1/tasks:retry", {},
         [deps, retry](const V1Request& request) { return change_many(deps, retry, request); });
  add_v1(router, deps, "POST", "/api/v1/tasks:cancel", {},
         [deps, cancel](const V1Request& request) { return change_many(deps, cancel, request); });
}

}  // namespace twinstep::api
