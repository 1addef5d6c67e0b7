// tasks, retry and cancel.
#include "twinstep/base/encoding.h"
#include "twinstep/base/units.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/confirm.h"
#include "twinstep/cli/daemon_client.h"
#include "twinstep/cli/session.h"
#include "twinstep/cli/table.h"
#include "twinstep/cli/workflow_text.h"
#include "twinstep/plan/plan_text.h"

namespace twinstep::cli {
namespace {

Result<std::string> list_tasks(DaemonClient& daemon, const CommandLine& line) {
  const std::string limit = line.limit ? fmt::to_string(line.limit) : "";
  TRY_ASSIGN(const json::value page, daemon.list("/api/v1/tasks" + query_of({{"link", line.link},
                                                                             {"state", line.state},
                                                                             {"device", line.device},
                                                                             {"code", line.code},
                                                                             {"limit", limit}}),
                                                 line.all));
  if (line.json) return json::write(page) + "\n";
  return tasks_table(page, real_clock().system_now()) + more_text(page);
}

Result<std::string> show_task(DaemonClient& daemon, const CommandLine& line) {
  TRY_ASSIGN(const json::value task, daemon.get("/api/v1/tasks/" + percent_encode(line.id)));
  if (line.json) return json::write(task) + "\n";
  const json::object& one = task.as_object();
  return fmt::format("Task {}\n", plan::printable(text_at(one, "id"))) + workflow_text(one, real_clock().system_now()) +
         history_text(one);
}

/// "retry" or "cancel" for one run or task, whichever has that id.
Result<std::string> change_one(DaemonClient& daemon, const CommandLine& line) {
  const std::string end = fmt::format("/{}/{}", percent_encode(line.id), line.command);
  auto changed = daemon.post("/api/v1/tasks" + end, {});
  if (!changed && changed.error().code == "store.unknown") changed = daemon.post("/api/v1/runs" + end, {});
  if (!changed) return fail(std::move(changed).error());
  if (line.json) return json::write(*changed) + "\n";
  const json::object& one = changed->as_object();
  const bool later = line.command == "cancel" && text_at(one, "state") == "running";
  return fmt::format("{} is {}{}\n", plan::printable(line.id), plan::printable(text_at(one, "state")),
                     later ? "; it ends at its next safe point" : "");
}

int64_t count_of(const json::value& answer, const char* name) {
  return answer.is_object() ? json::int_or(answer.get_object(), name, 0) : 0;
}

/// All tasks of the filter, in as many requests as it takes.
int change_many(DaemonClient& daemon, const CommandLine& line, std::stop_token stop) {
  const std::string path = "/api/v1/tasks:" + line.command;
  json::object filter;
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"link", line.link},
                                    {"state", line.state},
                                    {"device", line.device},
                                    {"code", line.code}})
    if (!value.empty()) filter[name] = value;
  if (filter.empty() && !line.all)
    return fail_with(
        {.kind = ErrorKind::kInvalid,
         .what = fmt::format("say which: twinstep {} ID, or a filter (--link, --state, --device, --code), or "
                             "--all tasks",
                             line.command),
         .code = "usage.which"},
        line, stop);
  json::object body{{"filter", filter}, {"limit", 10'000}, {"dryRun", true}};
  if (filter.empty()) body["all"] = true;
  const auto dry = daemon.post(path, body);
  if (!dry) return fail_with(dry.error(), line, stop);
  const auto matched = static_cast<uint64_t>(count_of(*dry, "matched"));
  if (line.dry_run || matched == 0) {
    print(line.json ? json::write(*dry) + "\n" : fmt::format("{} tasks\n", format_count(matched)));
    return kDone;
  }
  if (line.command == "cancel" && !line.yes && !confirmed(fmt::format("Cancel {} tasks?", format_count(matched))))
    return not_confirmed(line);

  body["dryRun"] = false;
  int64_t changed = 0, skipped = 0;
  for (;;) {
    const auto answer = daemon.post(path, body);
    if (!answer) return fail_with(answer.error(), line, stop);
    changed += count_of(*answer, "changed");
    skipped += count_of(*answer, "skipped");
    const std::string next = answer->is_object() ? text_at(answer->get_object(), "next") : "";
    if (next.empty()) break;
    body["before"] = next;
  }
  if (line.json)
    print(json::write(json::object{{"matched", matched}, {"changed", changed}, {"skipped", skipped}}) + "\n");
  else
    print(fmt::format(
        "{} tasks {}{}\n", format_count(static_cast<uint64_t>(changed)),
        line.command == "retry" ? "are tried again" : "are cancelled",
        skipped ? fmt::format(", {} could not be changed", format_count(static_cast<uint64_t>(skipped))) : ""));
  return kDone;
}

int change(const CommandLine& line, std::stop_token stop) {
  auto daemon = DaemonClient::open(line, stop);
  if (!daemon) return fail_with(daemon.error(), line, stop);
  if (line.id.empty()) return change_many(*daemon, line, stop);
  const auto text = change_one(*daemon, line);
  if (!text) return fail_with(text.error(), line, stop);
  print(*text);
  return kDone;
}

}  // namespace

int run_tasks(const CommandLine& line, std::stop_token stop) {
  auto daemon = DaemonClient::open(line, stop);
  if (!daemon) return fail_with(daemon.error(), line, stop);
  const auto text = line.id.empty() ? list_tasks(*daemon, line) : show_task(*daemon, line);
  if (!text) return fail_with(text.error(), line, stop);
  print(*text);
  return kDone;
}

int run_retry(const CommandLine& line, std::stop_token stop) { return change(line, std::move(stop)); }

int run_cancel(const CommandLine& line, std::stop_token stop) { return change(line, std::move(stop)); }

}  // namespace twinstep::cli
