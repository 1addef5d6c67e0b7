#include "twinstep/api/workflow_json.h"

#include <algorithm>
#include <tuple>

#include "twinstep/base/time_format.h"

namespace twinstep::api {
namespace {

std::string waits_for(const store::Workflow& workflow) {
  switch (workflow.state) {
    case store::State::kQueued:
      return "the one before it";
    case store::State::kWaiting:
      return fmt::format("{}; due {}", workflow.status.empty() ? std::string("a free worker") : workflow.status,
                         format_iso_seconds(workflow.due));
    case store::State::kBlocked:
      return "a person: " + workflow.status;
    default:
      return {};
  }
}

}  // namespace

Subject subject_of(std::string_view key) {
  if (key.starts_with(kRunKeys)) return {key.substr(kRunKeys.size()), {}};
  if (!key.starts_with(kTaskKeys)) return {};
  const size_t last = key.rfind('/');  // no device id has one
  if (last < kTaskKeys.size()) return {};
  return {key.substr(kTaskKeys.size(), last - kTaskKeys.size()), key.substr(last + 1)};
}

std::string task_keys(std::string_view link) { return fmt::format("{}{}/", kTaskKeys, link); }

bool is_run(const store::Workflow& workflow) { return workflow.kind == "run" || workflow.kind == "sweep"; }

bool has_ended(const store::Workflow& workflow) {
  return workflow.state == store::State::kDone || workflow.state == store::State::kFailed ||
         workflow.state == store::State::kCancelled;
}

json::value time_json(const std::optional<SystemTime>& time) {
  return time ? json::value(format_iso_millis(*time)) : json::value();
}

json::value stored_json(std::string_view text) {
  auto parsed = json::parse(text, "stored");
  return parsed ? std::move(*parsed) : json::value(text);
}

json::object workflow_json(const store::Workflow& workflow) {
  const Subject subject = subject_of(workflow.key);
  const bool due = workflow.state == store::State::kWaiting;
  return {{"id", workflow.id.value},
          {"kind", workflow.kind},
          {"link", subject.link},
          {"device", subject.device.empty() ? json::value() : json::value(subject.device)},
          {"lane", workflow.lane},
          {"state", to_string(workflow.state)},
          {"status", workflow.status},
          {"code", workflow.error_code},
          {"attempt", workflow.attempt},
          {"cancelAsked", workflow.cancel_asked},
          {"due", due ? time_json(workflow.due) : json::value()},
          {"created", time_json(workflow.created)},
          {"updated", time_json(workflow.updated)},
          {"ended", time_json(workflow.ended)}};
}

json::array history_json(const std::vector<store::HistoryLine>& lines) {
  json::array out;
  for (const store::HistoryLine& line : lines)
    out.push_back(json::object{{"at", time_json(line.at)}, {"what", line.what}, {"detail", line.detail}});
  return out;
}

Result<json::object> task_json(store::WorkflowStore& store, const store::Workflow& workflow, const Call& call) {
  TRY_ASSIGN(const auto history, store.history(workflow.id, call));
  json::object out = workflow_json(workflow);
  const std::string waits = waits_for(workflow);
  out["waitsFor"] = waits.empty() ? json::value() : json::value(waits);
  out["input"] = stored_json(workflow.input);
  out["history"] = history_json(history);
  return out;
}

Result<store::Workflow> find_workflow(store::WorkflowStore& store, const store::WorkflowId& id, bool runs,
                                      const Call& call) {
  TRY_ASSIGN(store::Workflow found, store.find(id, call));
  if (is_run(found) != runs)
    return fail(ErrorKind::kNotFound, "store.unknown",
                fmt::format("{} is a {}", id.value,
                            runs ? "task, not a run: look at /api/v1/tasks/" + id.value
                                 : "run, not a task: look at /api/v1/runs/" + id.value));
  return found;
}

Result<std::vector<store::Workflow>> list_page(store::WorkflowStore& store, std::vector<store::WorkflowFilter> filters,
                                               const store::WorkflowId& before, int limit, const Call& call) {
  const auto cursor = before.empty() ? Result<store::Workflow>{} : store.find(before, call);
  if (!cursor && cursor.error().kind != ErrorKind::kNotFound) return fail(cursor.error());
  if (!cursor)
    return fail(ErrorKind::kInvalid, "api.bad-parameter",
                fmt::format("before: there is no {} any more; begin again without it", before.value));
  std::vector<store::Workflow> out;
  for (store::WorkflowFilter& filter : filters) {
    filter.before = before;
    filter.limit = limit;
    TRY_ASSIGN(auto some, store.list(filter, call));
    std::move(some.begin(), some.end(), std::back_inserter(out));
  }
  if (filters.size() == 1) return out;
  std::sort(out.begin(), out.end(), [](const store::Workflow& a, const store::Workflow& b) {
    return std::tie(a.created, a.id) > std::tie(b.created, b.id);
  });
  if (out.size() > static_cast<size_t>(limit)) out.resize(static_cast<size_t>(limit));
  return out;
}

}  // namespace twinstep::api
