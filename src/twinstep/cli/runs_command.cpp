// runs: the daemon's synchronizations, and one of them.
#include "twinstep/base/encoding.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/daemon_client.h"
#include "twinstep/cli/session.h"
#include "twinstep/cli/table.h"
#include "twinstep/cli/workflow_text.h"
#include "twinstep/plan/plan_text.h"

namespace twinstep::cli {
namespace {

constexpr const char* kFailedShown = "20";

std::string devices_text(const json::value& page) {
  const json::array& items = page.as_object().at("items").as_array();
  if (items.empty()) return {};
  std::string out = "\nfailed:\n";
  for (const json::value& item : items) {
    const json::object& one = item.as_object();
    out += fmt::format("  {} {}: {}\n", plan::printable(text_at(one, "op")), plan::printable(text_at(one, "device")),
                       plan::printable(text_at(one, "reason")));
  }
  if (!page.as_object().at("next").is_null()) out += "  ... and more (--all names every one)\n";
  return out;
}

Result<std::string> list_runs(DaemonClient& daemon, const CommandLine& line) {
  const std::string limit = line.limit ? fmt::to_string(line.limit) : "";
  TRY_ASSIGN(
      const json::value page,
      daemon.list("/api/v1/runs" + query_of({{"link", line.link}, {"state", line.state}, {"limit", limit}}), line.all));
  if (line.json) return json::write(page) + "\n";
  return runs_table(page, real_clock().system_now()) + more_text(page);
}

Result<std::string> show_run(DaemonClient& daemon, const CommandLine& line) {
  const std::string path = "/api/v1/runs/" + percent_encode(line.id);
  TRY_ASSIGN(const json::value run, daemon.get(path));
  if (line.json) return json::write(run) + "\n";
  TRY_ASSIGN(
      const json::value failed,
      daemon.list(path + "/devices" + query_of({{"outcome", "failed"}, {"limit", line.all ? "1000" : kFailedShown}}),
                  line.all));
  const json::object& one = run.as_object();
  return fmt::format("Run {}\n", plan::printable(text_at(one, "id"))) + workflow_text(one, real_clock().system_now()) +
         plan_step_text(one) + report_text(one) + devices_text(failed) + history_text(one);
}

}  // namespace

int run_runs(const CommandLine& line, std::stop_token stop) {
  auto daemon = DaemonClient::open(line, stop);
  if (!daemon) return fail_with(daemon.error(), line, stop);
  const auto text = line.id.empty() ? list_runs(*daemon, line) : show_run(*daemon, line);
  if (!text) return fail_with(text.error(), line, stop);
  print(*text);
  return kDone;
}

}  // namespace twinstep::cli
