#include "twinstep/api/durable_functions.h"

#include <algorithm>
#include <charconv>

#include "twinstep/api/run_routes.h"
#include "twinstep/api/workflow_json.h"
#include "twinstep/base/time_format.h"
#include "twinstep/http/text.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::api {
namespace {

constexpr std::string_view kInstances = "/runtime/webhooks/durabletask/instances";
constexpr size_t kLongestText = 1000;  // of what a client says, in our records
constexpr int kUsualTop = 100;
constexpr int kPagesRead = 20;  // of one list request, 1,000 workflows each

bool switched(const http::ServerRequest& request, std::string_view name, bool otherwise) {
  const std::string value = request.query_value(name);
  if (http::same_name(value, "true") || value == "1") return true;
  if (http::same_name(value, "false") || value == "0") return false;
  return otherwise;
}

http::ServerResponse empty_reply(int status) {
  http::ServerResponse out;
  out.status = status;
  return out;
}

http::ServerResponse gone(const store::Workflow& workflow) {
  return problem(410, "store.ended",
                 fmt::format("instance {} has ended already ({})", workflow.id.value, runtime_status(workflow)));
}

std::string instance_url(const http::ServerRequest& request, const store::WorkflowId& id) {
  return fmt::format("{}{}/{}", base_url(request), kInstances, id.value);
}

/// What an address carries for who came with a key, as Functions' did: the right to this instance, never that key.
std::string with_code(const ApiDeps& deps, const RouteMatch& match, const store::WorkflowId& id, bool operate,
                      std::string url) {
  const std::string code = deps.keys.address_key ? deps.keys.address_key(*match.who, id.value, operate) : std::string();
  if (code.empty()) return url;
  return url + (url.find('?') == std::string::npos ? "?code=" : "&code=") + code;
}

/// 202 with the addresses for the caller. `{eventName}` and `{text}` are for it to fill in.
http::ServerResponse check_status(const ApiDeps& deps, const http::ServerRequest& request, const RouteMatch& match,
                                  const store::WorkflowId& id) {
  const std::string url = instance_url(request, id);
  const std::string status = with_code(deps, match, id, false, url);
  const auto operate = [&](std::string_view end) { return with_code(deps, match, id, true, url + std::string(end)); };
  auto out = reply(202, json::object{{"id", id.value},
                                     {"statusQueryGetUri", status},
                                     {"sendEventPostUri", operate("/raiseEvent/{eventName}")},
                                     {"terminatePostUri", operate("/terminate?reason={text}")},
                                     {"purgeHistoryDeleteUri", operate("")}});
  out.headers.push_back({"Location", status});
  out.headers.push_back({"Retry-After", "10"});
  return out;
}

/// The link that the sample's one synchronization is: the named one, `default`, or the only one.
Result<const config::Link*> sample_link(const config::Config& config, const std::string& name) {
  std::string names;
  for (const config::Link& link : config.links) names += (names.empty() ? "" : ", ") + link.name;
  const config::Link* found = !name.empty()              ? config.find_link(name)
                              : config.links.size() == 1 ? &config.links.front()
                                                         : config.find_link("default");
  if (found) return found;
  return fail(ErrorKind::kInvalid, name.empty() ? "api.which-link" : "api.unknown-link",
              config.links.empty() ? std::string("the configuration has no link")
              : name.empty()       ? fmt::format("there are several links; add ?link=NAME with one of {}", names)
                                   : fmt::format("there is no link '{}'; the links are {}", name, names));
}

http::ServerResponse start_run(const ApiDeps& deps, const http::ServerRequest& request, const RouteMatch& match) {
  if (!deps.config.synchronizer_enabled) return empty_reply(400);  // as the sample
  const auto link = sample_link(deps.config, request.query_value("link"));
  if (!link) return problem(link.error());
  const auto started = deps.store.start({workflows::link_workflow(**link, "http", deps.rng)}, deps.call());
  return started ? check_status(deps, request, match, started->front().id) : problem(started.error());
}

http::ServerResponse show(const ApiDeps& deps, const http::ServerRequest& request, const RouteMatch& match,
                          const store::Workflow& workflow) {
  json::object body = instance_json(workflow, switched(request, "showInput", true));
  if (switched(request, "showHistory", false)) {
    const auto lines = deps.store.history(workflow.id, deps.call());
    if (!lines) return problem(lines.error());
    body["historyEvents"] = history_events(workflow, *lines, switched(request, "showHistoryOutput", false));
  }
  if (!has_ended(workflow)) {
    auto out = reply(202, body);
    out.headers.push_back({"Location", with_code(deps, match, workflow.id, false, instance_url(request, workflow.id))});
    out.headers.push_back({"Retry-After", "5"});
    return out;
  }
  const bool broken =
      workflow.state == store::State::kFailed && switched(request, "returnInternalServerErrorOnFailure", true);
  return reply(broken ? 500 : 200, body);
}

http::ServerResponse purge(const ApiDeps& deps, const store::Workflow& workflow) {
  if (!has_ended(workflow))
    return problem(404, "store.active",
                   fmt::format("instance {} has not ended; only what has ended is purged", workflow.id.value));
  const Status removed = deps.store.remove(workflow.id, deps.call());
  return removed ? reply(200, json::object{{"instancesDeleted", 1}}) : problem(removed.error());
}

http::ServerResponse terminate(const ApiDeps& deps, const http::ServerRequest& request,
                               const store::Workflow& workflow) {
  if (has_ended(workflow)) return gone(workflow);
  const std::string reason = request.query_value("reason").substr(0, kLongestText);
  const Status cancelled = deps.store.cancel(
      workflow.id, reason.empty() ? std::string("terminated by http") : "terminated by http: " + reason, deps.call());
  if (cancelled && is_run(workflow) && workflow.state != store::State::kRunning && deps.answered)
    deps.answered("RunCancelled", workflow, "terminate");
  if (cancelled) return empty_reply(202);
  return cancelled.error().code == "store.ended" ? gone(workflow) : problem(cancelled.error());
}

/// Approve and Reject are for blocked runs. Durable Functions keeps events that nobody waits for yet; an approval
/// before there is a plan to look at would be worth nothing, so such events, and all others, are only recorded.
http::ServerResponse raise_event(const ApiDeps& deps, const http::ServerRequest& request,
                                 const store::Workflow& workflow, const RouteMatch& match) {
  const std::string& event = match.part("event");
  json::object body;
  if (!request.body.empty()) {
    const std::string_view type = request.header("Content-Type");
    if (!http::same_name(http::trimmed(type.substr(0, type.find(';'))), "application/json"))
      return problem(400, "api.bad-body", "only application/json request content is supported");
    auto parsed = json::parse(request.body, "the event");
    if (!parsed) return problem(400, "api.bad-body", parsed.error().what);
    if (parsed->is_object()) body = std::move(parsed->get_object());
  }
  if (has_ended(workflow)) return gone(workflow);
  const bool waits = is_run(workflow) && workflow.state == store::State::kBlocked;
  std::string by(json::string_or(body, "by", "raiseEvent").substr(0, kLongestText));
  if (!match.who->key_id.empty()) by += fmt::format(" (key {})", match.who->name);
  const bool approves = waits && http::same_name(event, "Approve");
  const bool rejects = waits && http::same_name(event, "Reject");
  Status done;
  if (approves)
    done = approve_run(deps.store, workflow.id, json::string_or(body, "plan"), by, deps.call());
  else if (rejects)
    done = reject_run(deps.store, workflow.id, by, deps.call());
  else
    done = deps.store.note(workflow.id, "EventRaised", event.substr(0, kLongestText), deps.call());
  if (done && (approves || rejects) && deps.answered)
    deps.answered(approves ? "RunApproved" : "RunRejected", workflow, by);
  return done ? empty_reply(202) : problem(done.error());
}

http::ServerResponse rewind(const ApiDeps& deps, const store::Workflow& workflow) {
  if (workflow.state == store::State::kDone || workflow.state == store::State::kCancelled) return gone(workflow);
  if (workflow.state != store::State::kFailed)
    return problem(400, "api.not-failed",
                   fmt::format("instance {} is {}: only a failed one can be rewound", workflow.id.value,
                               runtime_status(workflow)));
  const Status again = deps.store.retry(workflow.id, deps.call());
  return again ? empty_reply(202) : problem(again.error());
}

/// A new one with the input of the old one; what is at work already is the answer.
http::ServerResponse restart(const ApiDeps& deps, const http::ServerRequest& request, const RouteMatch& match,
                             const store::Workflow& workflow) {
  const Subject subject = subject_of(workflow.key);
  if (!deps.config.find_link(subject.link))
    return problem(400, "api.unknown-link",
                   fmt::format("instance {} belongs to link '{}', which is not configured any more", workflow.id.value,
                               subject.link));
  store::NewWorkflow anew;
  anew.id = store::WorkflowId(deps.rng.hex_id());
  anew.kind = workflow.kind;
  anew.lane = workflow.lane;
  anew.key = workflow.key;
  anew.input = workflow.input;
  anew.on_busy = store::OnBusy::kSkip;
  const auto started = deps.store.start({anew}, deps.call());
  return started ? check_status(deps, request, match, started->front().id) : problem(started.error());
}

http::ServerResponse not_suspendable(const store::Workflow& workflow) {
  if (has_ended(workflow)) return gone(workflow);
  return problem(400, "api.not-supported",
                 fmt::format("instance {}: twinstep cannot suspend or resume single runs and tasks; terminate and "
                             "restart it, or answer a blocked run by raiseEvent/Approve or raiseEvent/Reject",
                             workflow.id.value));
}

/// What a list request asks for.
struct Wanted {
  std::optional<SystemTime> from, to;  // of creation, both inclusive
  std::vector<std::string> statuses;   // empty = any
  int top = kUsualTop;

  bool takes(const store::Workflow& one) const {
    if (to && one.created > *to) return false;
    return statuses.empty() || std::any_of(statuses.begin(), statuses.end(), [&](const std::string& status) {
             return http::same_name(status, runtime_status(one));
           });
  }
};

Result<Wanted> wanted_of(const http::ServerRequest& request) {
  Wanted out;
  for (auto& [name, time] : {std::pair{"createdTimeFrom", &out.from}, std::pair{"createdTimeTo", &out.to}}) {
    const std::string text = request.query_value(name);
    if (text.empty()) continue;
    auto parsed = parse_iso(text);
    if (!parsed) return fail_within(std::move(parsed), name);
    *time = *parsed;
  }
  const std::string statuses = request.query_value("runtimeStatus");
  for (size_t from = 0; from < statuses.size();) {
    const size_t end = std::min(statuses.find(',', from), statuses.size());
    if (const auto one = http::trimmed(std::string_view(statuses).substr(from, end - from)); !one.empty())
      out.statuses.emplace_back(one);
    from = end + 1;
  }
  const std::string top = request.query_value("top");
  if (top.empty()) return out;
  const auto [end, bad] = std::from_chars(top.data(), top.data() + top.size(), out.top);
  if (bad != std::errc{} || end != top.data() + top.size() || out.top < 1)
    return fail(ErrorKind::kInvalid, "api.bad-parameter", fmt::format("top is '{}'; it must be a number from 1", top));
  out.top = std::min(out.top, 1000);
  return out;
}

/// Newest first. A request reads a bounded number of rows: a page may be short, and still have a token to go on with.
Result<http::ServerResponse> list_instances(const ApiDeps& deps, const http::ServerRequest& request) {
  TRY_ASSIGN(const Wanted wanted, wanted_of(request));
  const bool show_input = switched(request, "showInput", true);
  const Call call = deps.call();
  store::WorkflowFilter filter;
  filter.limit = 1000;
  filter.before = store::WorkflowId(std::string(request.header("x-ms-continuation-token")));
  json::array items;
  bool more = true;
  for (int page = 0; page < kPagesRead && more; ++page) {
    TRY_ASSIGN(const auto rows, deps.store.list(filter, call));
    more = rows.size() == static_cast<size_t>(filter.limit);
    for (const store::Workflow& one : rows) {
      if (wanted.from && one.created < *wanted.from) {
        more = false;
        break;
      }
      if (items.size() == static_cast<size_t>(wanted.top)) {
        more = true;
        page = kPagesRead;
        break;
      }
      filter.before = one.id;
      if (wanted.takes(one)) items.push_back(instance_json(one, show_input));
    }
  }
  auto out = reply(200, items);
  if (more) out.headers.push_back({"x-ms-continuation-token", filter.before.value});
  return out;
}

}  // namespace

void add_durable_functions_routes(Router& router, const ApiDeps& deps) {
  for (const char* method : {"GET", "POST"})
    router.add(method, "/api/IoTHubSynchronizer_HttpListener", Scope::kOperate,
               [deps](const http::ServerRequest& request, const RouteMatch& match) {
                 return start_run(deps, request, match);
               });

  router.add("GET", std::string(kInstances), Scope::kRead,
             [deps](const http::ServerRequest& request, const RouteMatch&) {
               auto listed = list_instances(deps, request);
               return listed ? std::move(*listed) : problem(listed.error());
             });

  using Operation =
      std::function<http::ServerResponse(const http::ServerRequest&, const store::Workflow&, const RouteMatch&)>;
  const auto add = [&](const char* method, std::string_view end, int unknown, Operation operation) {
    router.add(
        method, fmt::format("{}/{{id}}{}", kInstances, end),
        std::string_view(method) == "GET" ? Scope::kRead : Scope::kOperate,
        [deps, unknown, operation = std::move(operation)](const http::ServerRequest& request, const RouteMatch& match) {
          const auto found = deps.store.find(store::WorkflowId(match.part("id")), deps.call());
          if (found) return operation(request, *found, match);
          if (found.error().kind != ErrorKind::kNotFound) return problem(found.error());
          return problem(unknown, found.error().code, found.error().what);
        });
  };
  add("GET", "", 404, [deps](const auto& request, const auto& found, const RouteMatch& match) {
    return show(deps, request, match, found);
  });
  add("DELETE", "", 404, [deps](const auto&, const auto& found, const auto&) { return purge(deps, found); });
  add("POST", "/terminate", 404,
      [deps](const auto& request, const auto& found, const auto&) { return terminate(deps, request, found); });
  add("POST", "/raiseEvent/{event}", 404, [deps](const auto& request, const auto& found, const RouteMatch& match) {
    return raise_event(deps, request, found, match);
  });
  add("POST", "/rewind", 404, [deps](const auto&, const auto& found, const auto&) { return rewind(deps, found); });
  add("POST", "/restart", 400, [deps](const auto& request, const auto& found, const RouteMatch& match) {
    return restart(deps, request, match, found);
  });
  for (const char* end : {"/suspend", "/resume"})
    add("POST", end, 404, [](const auto&, const auto& found, const auto&) { return not_suspendable(found); });
}

}  // namespace twinstep::api
