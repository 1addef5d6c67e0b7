#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "twinstep/api/api.h"

/// How workflows are shown.
namespace twinstep::api {

/// What a workflow is about, read from its key: "run/LINK" or "device/LINK/CANONICAL-ID".
struct Subject {
  std::string_view link, device;  ///< device is empty for runs
};
Subject subject_of(std::string_view key);
inline constexpr std::string_view kRunKeys = "run/";
inline constexpr std::string_view kTaskKeys = "device/";
std::string task_keys(std::string_view link);  ///< their beginning, for one link

bool is_run(const store::Workflow& workflow);  ///< a run or sweep
bool has_ended(const store::Workflow& workflow);

/// A moment, or null for none.
json::value time_json(const std::optional<SystemTime>& time);
/// JSON text of ours as a value; text that is none, as a string.
json::value stored_json(std::string_view text);

/// What lists show of a run or task.
json::object workflow_json(const store::Workflow& workflow);
json::array history_json(const std::vector<store::HistoryLine>& lines);
/// A task with its history and what it waits for.
Result<json::object> task_json(store::WorkflowStore& store, const store::Workflow& workflow, const Call& call);

/// "store.unknown" unless it is a run or sweep (`runs`), or a task.
Result<store::Workflow> find_workflow(store::WorkflowStore& store, const store::WorkflowId& id, bool runs,
                                      const Call& call);

/// One page of the filters' workflows, newest first. `filters` share nothing; each has the page's limit and `before`.
Result<std::vector<store::Workflow>> list_page(store::WorkflowStore& store, std::vector<store::WorkflowFilter> filters,
                                               const store::WorkflowId& before, int limit, const Call& call);

}  // namespace twinstep::api
