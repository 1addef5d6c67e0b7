// approve: what the guard blocked goes on, or ends.
#include "twinstep/base/encoding.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/confirm.h"
#include "twinstep/cli/daemon_client.h"
#include "twinstep/cli/session.h"
#include "twinstep/cli/table.h"
#include "twinstep/cli/workflow_text.h"
#include "twinstep/config/load.h"
#include "twinstep/plan/plan_text.h"

namespace twinstep::cli {
namespace {

std::string user() {
  const auto environment = config::process_environment();
  const auto found = environment.find("USER");
  return found == environment.end() ? "twinstep approve" : found->second;
}

}  // namespace

int run_approve(const CommandLine& line, std::stop_token stop) {
  auto daemon = DaemonClient::open(line, stop);
  if (!daemon) return fail_with(daemon.error(), line, stop);
  const std::string path = "/api/v1/runs/" + percent_encode(line.id);
  const auto run = daemon->get(path);
  if (!run) return fail_with(run.error(), line, stop);
  const json::object& shown = run->as_object();
  if (text_at(shown, "state") != "blocked")
    return fail_with({.kind = ErrorKind::kConflict,
                      .what = fmt::format("run {} is {}, not blocked; there is nothing to approve", line.id,
                                          text_at(shown, "state")),
                      .code = "store.not-blocked"},
                     line, stop);
  const json::object* step = json::object_at(shown, "plan");
  const std::string blocked = step ? text_at(*step, "plan") : "";
  // What is approved is what is shown here, or what the person looked at before.
  const std::string plan = line.plan_id.empty() ? blocked : line.plan_id;
  if (!line.json)
    print(fmt::format("Run {}\n", plan::printable(line.id)) + workflow_text(shown, real_clock().system_now()) +
          plan_step_text(shown));
  const std::string question =
      line.reject ? std::string("End this run?") : fmt::format("Let it go on with plan {}?", plan::printable(plan));
  if (!line.yes && !confirmed(question)) return not_confirmed(line);
  json::object body{{"by", user()}};
  if (!line.reject) body["plan"] = plan;
  const auto after = daemon->post(path + (line.reject ? "/reject" : "/approve"), body);
  if (!after) return fail_with(after.error(), line, stop);
  if (line.json)
    print(json::write(*after) + "\n");
  else
    print(line.reject ? std::string("rejected; the run has ended\n")
                      : fmt::format("approved; the run goes on with plan {}\n", plan::printable(plan)));
  return kDone;
}

}  // namespace twinstep::cli
