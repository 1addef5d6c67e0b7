// The documents of Durable Functions' HTTP API.
#include "twinstep/api/durable_functions.h"
#include "twinstep/api/workflow_json.h"
#include "twinstep/base/time_format.h"
#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

constexpr std::string_view kRunName = "IoTHubSynchronizer_Orchestration";  // the sample's
constexpr std::string_view kTaskName = "ExternalRegistrySynchronizer_Orchestration";

std::string_view name_of(const store::Workflow& workflow) { return is_run(workflow) ? kRunName : kTaskName; }

}  // namespace

std::string_view runtime_status(const store::Workflow& workflow) {
  switch (workflow.state) {
    case store::State::kQueued:
      return "Pending";
    case store::State::kWaiting:
      return workflow.epoch == 0 ? "Pending" : "Running";  // nobody has worked on it yet
    case store::State::kRunning:
    case store::State::kBlocked:
      return "Running";
    case store::State::kDone:
      return "Completed";
    case store::State::kFailed:
      return "Failed";
    case store::State::kCancelled:
      return workflow.cancel_asked ? "Terminated" : "Canceled";
  }
  return "Failed";
}

json::object instance_json(const store::Workflow& workflow, bool show_input) {
  const bool ended = has_ended(workflow);
  json::value custom;
  if (!ended) custom = json::object{{"state", to_string(workflow.state)}, {"text", workflow.status}};
  return {{"name", name_of(workflow)},
          {"instanceId", workflow.id.value},
          {"runtimeStatus", runtime_status(workflow)},
          {"input", show_input ? stored_json(workflow.input) : json::value()},
          {"customStatus", std::move(custom)},
          {"output", ended ? json::value(workflow.status) : json::value()},
          {"createdTime", format_iso_seconds(workflow.created)},
          {"lastUpdatedTime", format_iso_seconds(workflow.updated)}};
}

json::array history_events(const store::Workflow& workflow, const std::vector<store::HistoryLine>& lines,
                           bool show_output) {
  json::array out;
  out.push_back(json::object{{"EventType", "ExecutionStarted"},
                             {"Timestamp", time_json(workflow.created)},
                             {"FunctionName", name_of(workflow)}});
  for (const store::HistoryLine& line : lines) {
    json::object event{{"EventType", "TaskCompleted"}, {"Timestamp", time_json(line.at)}, {"FunctionName", line.what}};
    if (show_output) event["Result"] = line.detail;
    out.push_back(std::move(event));
  }
  if (!has_ended(workflow)) return out;
  json::object end{{"EventType", "ExecutionCompleted"},
                   {"Timestamp", time_json(workflow.ended)},
                   {"OrchestrationStatus", runtime_status(workflow)}};
  if (show_output) end["Result"] = workflow.status;
  out.push_back(std::move(end));
  return out;
}

std::string base_url(const http::ServerRequest& request) {
  const std::string_view host = request.header("Host");
  // It goes into URLs that clients follow: nothing but a name or address and a port.
  constexpr std::string_view kLegal = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:[]";
  if (host.empty() || host.find_first_not_of(kLegal) != std::string_view::npos) return {};
  const bool tls = request.tls || http::same_name(http::trimmed(request.header("X-Forwarded-Proto")), "https");
  return fmt::format("{}://{}", tls ? "https" : "http", host);
}

}  // namespace twinstep::api
