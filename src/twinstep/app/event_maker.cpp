#include "twinstep/app/event_maker.h"

#include <algorithm>
#include <array>

#include "twinstep/json/json.h"
#include "twinstep/workflows/link_context.h"

namespace twinstep::app {
namespace {

/// History lines that are events, besides being told to people.
constexpr std::array<std::string_view, 10> kOfDevices{"ExternalDeviceCreated",        "ExternalDeviceCreationError",
                                                      "ExternalDeviceCreationFailed", "ExternalDeviceDeleted",
                                                      "ExternalDeviceDeletedError",   "ExternalDeviceDeleteFailed",
                                                      "DeviceTwinCheckFail",          "DeviceTwinCheckFailed",
                                                      "IoTHubDeviceCreated",          "IoTHubDeviceDeleted"};

/// What the sample calls the reason; empty = it sent none.
std::string_view samples_name(std::string_view event) {
  if (event == "ExternalDeviceCreationError") return "error";
  if (event == "ExternalDeviceDeletedError") return "errorMessage";
  return {};
}

/// The first tag that a list of faults ("EUI must have 16 characters, applicationKey is missing") says is missing.
std::string_view first_missing(std::string_view faults) {
  const size_t end = faults.find(" is missing");
  if (end == std::string_view::npos) return {};
  const size_t before = faults.rfind(", ", end);
  return faults.substr(0, end).substr(before == std::string_view::npos ? 0 : before + 2);
}

bool is_run(const store::Workflow& workflow) { return workflow.kind == "run" || workflow.kind == "sweep"; }

}  // namespace

obs::Event EventMaker::about(std::string_view name, const store::Workflow& workflow) const {
  obs::Event out{std::string(name), clock_.system_now(), {}, {}, workflow.id.value};
  const auto input = json::parse(workflow.input, "the input");
  const json::object none;
  const json::object& o = input && input->is_object() ? input->get_object() : none;
  const std::string link_name(json::string_or(o, "link"));
  const config::Link* link = config_.find_link(link_name);
  const config::Hub* hub = config_.find_hub(link ? std::string_view(link->hub) : json::string_or(o, "hub"));
  if (const std::string_view device = json::string_or(o, "device"); !device.empty() && !is_run(workflow))
    out.properties.emplace_back("deviceId", device);
  if (hub) out.properties.emplace_back("iothubname", workflows::hub_label(*hub));
  if (!link_name.empty()) out.properties.emplace_back("link", link_name);
  out.properties.emplace_back(is_run(workflow) ? "run" : "task", workflow.id.value);
  if (is_run(workflow)) out.properties.emplace_back("kind", workflow.kind);
  return out;
}

void EventMaker::begun(const store::Workflow& claim) {
  if (is_run(claim) && claim.epoch == 1) sink_.emit(about("RunStarted", claim));
}

void EventMaker::recorded(const store::Workflow& claim, const store::Finish& finish, store::State state) {
  if (is_run(claim)) return run_recorded(claim, finish, state);
  for (const store::HistoryLine& line : finish.history) {
    if (std::find(kOfDevices.begin(), kOfDevices.end(), line.what) == kOfDevices.end()) continue;
    obs::Event event = about(line.what, claim);
    if (!line.detail.empty()) event.properties.emplace_back("reason", line.detail);
    if (const auto name = samples_name(line.what); !name.empty() && !line.detail.empty())
      event.properties.emplace_back(name, line.detail);
    if (const auto tag = first_missing(line.detail); line.what == "DeviceTwinCheckFail" && !tag.empty())
      event.properties.emplace_back("missingProperty", tag);
    sink_.emit(event);
  }
}

void EventMaker::done_by_facade(const store::NewWorkflow& task) {
  store::Workflow ended;
  ended.id = task.id;
  ended.kind = task.kind;
  ended.input = task.input;
  for (const store::HistoryLine& line : task.history) {
    const bool softly = line.what == "IoTHubDeviceDisabled";  // the sample calls both a deletion
    const bool deleted = softly || line.what == "IoTHubDeviceDeleted";
    if (!deleted && line.what != "IoTHubDeviceCreated") continue;
    obs::Event event = about(deleted ? "IoTHubDeviceDeleted" : "IoTHubDeviceCreated", ended);
    if (deleted) event.properties.emplace_back("softDelete", softly ? "true" : "false");
    sink_.emit(event);
  }
}

void EventMaker::run_recorded(const store::Workflow& claim, const store::Finish& finish, store::State state) {
  const auto tell = [&](std::string_view name, std::string_view text, bool ended) {
    obs::Event event = about(name, claim);
    if (!finish.error_code.empty()) event.properties.emplace_back("code", finish.error_code);
    event.properties.emplace_back(text, finish.status);
    if (ended)
      event.measurements.emplace_back(
          "durationMs",
          static_cast<double>(std::chrono::duration_cast<Millis>(clock_.system_now() - claim.created).count()));
    sink_.emit(event);
  };
  if (finish.error_code.starts_with("guard.") && (state == store::State::kBlocked || state == store::State::kFailed)) {
    obs::Event event = about("GuardTripped", claim);
    event.properties.emplace_back("rule", finish.error_code.substr(std::string_view("guard.").size()));
    event.properties.emplace_back("reason", finish.status);
    sink_.emit(event);
  }
  switch (state) {
    case store::State::kDone:
      return tell("RunCompleted", "result", true);
    case store::State::kFailed:
      return tell("RunFailed", "reason", true);
    case store::State::kCancelled:
      return tell("RunCancelled", "reason", true);
    case store::State::kBlocked:
      return tell("RunBlocked", "reason", false);
    case store::State::kQueued:
    case store::State::kWaiting:
    case store::State::kRunning:
      return;
  }
}

void EventMaker::rested(const engine::LaneRest& rest) {
  if (rest.rests) {
    {
      std::scoped_lock lock(mutex_);
      if (!rest.alarm) {
        throttled_.insert(rest.lane);
        return;
      }
      throttled_.erase(rest.lane);
    }
    sink_.emit({"LaneRests", clock_.system_now(), {{"lane", rest.lane}, {"reason", rest.reason}}, {}, {}});
    return;
  }
  {
    std::scoped_lock lock(mutex_);
    if (throttled_.erase(rest.lane) > 0) return;
  }
  sink_.emit({"LaneRecovered", clock_.system_now(), {{"lane", rest.lane}}, {}, {}});
}

void EventMaker::answered(std::string_view event, const store::Workflow& run, std::string_view by) {
  obs::Event out = about(event, run);
  out.properties.emplace_back("by", by);
  sink_.emit(out);
}

void EventMaker::unknown_hub(std::string_view hub, uint64_t events) {
  sink_.emit({"EventOfUnknownHub",
              clock_.system_now(),
              {{"iothubname", std::string(hub)}},
              {{"events", static_cast<double>(events)}},
              {}});
}

void EventMaker::backlog(std::string_view lane, int64_t tasks, Millis oldest) {
  sink_.emit({"TaskBacklog",
              clock_.system_now(),
              {{"lane", std::string(lane)}},
              {{"tasks", static_cast<double>(tasks)}, {"oldestSeconds", static_cast<double>(oldest.count() / 1000)}},
              {}});
}

}  // namespace twinstep::app
