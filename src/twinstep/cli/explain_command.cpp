// explain: one device in both registries.
#include "twinstep/base/encoding.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/daemon_client.h"
#include "twinstep/cli/session.h"
#include "twinstep/cli/table.h"
#include "twinstep/cli/workflow_text.h"
#include "twinstep/config/load.h"
#include "twinstep/plan/plan_text.h"

namespace twinstep::cli {
namespace {

const json::object& object_or_empty(const json::object& o, std::string_view key) {
  static const json::object none;
  const json::object* found = json::object_at(o, key);
  return found ? *found : none;
}

std::string hub_text(const json::object& hub) {
  std::string out = text_at(hub, "state");
  if (out == "present") {
    out += json::bool_or(hub, "enabled", true) ? ", enabled" : ", disabled";
    if (json::bool_or(hub, "edge", false)) out += ", Edge";
    if (const std::string owner = text_at(hub, "owner"); !owner.empty()) out += ", owned by link " + owner;
  }
  if (const std::string error = text_at(hub, "error"); !error.empty()) out += ": " + error;
  return out;
}

std::string external_text(const json::object& external) {
  std::string out = text_at(external, "state");
  if (const std::string id = text_at(external, "id"); !id.empty()) out += " as " + id;
  if (const std::string error = text_at(external, "error"); !error.empty()) out += ": " + error;
  return out;
}

std::string ledger_text(const json::object& link) {
  const json::object* ledger = json::object_at(link, "ledger");
  if (!ledger) return "nothing";
  return fmt::format("{} {}", json::bool_or(*ledger, "present", false) ? "made there by twinstep:" : "deleted there:",
                     text_at(*ledger, "tags"));
}

std::string task_text(const json::object& task, SystemTime now) {
  return fmt::format("{} {}, {}: {}", text_at(task, "id"), text_at(task, "state"),
                     time_text(text_at(task, "updated"), now), text_at(task, "status"));
}

std::string link_text(const json::object& link, SystemTime now) {
  std::string out =
      fmt::format("\nlink {}: {}\n", plan::printable(text_at(link, "link")), plan::printable(text_at(link, "why")));
  const json::object& hub = object_or_empty(link, "hub");
  out += field("hub", hub_text(hub));
  out += field("tags", text_at(hub, "tags"));
  out += field("external", external_text(object_or_empty(link, "external")));
  out += field("remembers", ledger_text(link));
  const json::object* active = json::object_at(link, "activeTask");
  if (active) out += field("task", task_text(*active, now));
  const json::array* last = json::array_at(link, "lastTasks");
  for (size_t i = 0; last && i < last->size(); ++i) out += field("before", task_text(last->at(i).as_object(), now));
  if (active) return out + history_text(*active);
  return last && !last->empty() ? out + history_text(last->at(0).as_object()) : out;
}

std::string explanation_text(const json::object& answer, SystemTime now) {
  std::string out = fmt::format("{}\n", plan::printable(text_at(answer, "device")));
  if (const json::array* links = json::array_at(answer, "links"))
    for (const json::value& link : *links) out += link_text(link.as_object(), now);
  const json::array* runs = json::array_at(answer, "runs");
  if (!runs || runs->empty()) return out;
  std::vector<std::vector<std::string>> rows;
  for (const json::value& run : *runs) {
    const json::object& one = run.as_object();
    rows.push_back({text_at(one, "run"), age_text(text_at(one, "at"), now), text_at(one, "op"), text_at(one, "outcome"),
                    text_at(one, "reason")});
  }
  return out + "\n" +
         table_text({"RUN", "AGE", "OP", "OUTCOME", "REASON"}, rows, table_columns(config::process_environment()));
}

}  // namespace

int run_explain(const CommandLine& line, std::stop_token stop) {
  auto daemon = DaemonClient::open(line, stop);
  if (!daemon) return fail_with(daemon.error(), line, stop);
  const auto answer =
      daemon->get(fmt::format("/api/v1/explain/{}{}", percent_encode(line.device), query_of({{"link", line.link}})));
  if (!answer) return fail_with(answer.error(), line, stop);
  print(line.json ? json::write(*answer) + "\n" : explanation_text(answer->as_object(), real_clock().system_now()));
  return kDone;
}

}  // namespace twinstep::cli
