#include "twinstep/workflows/link_context.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::workflows {

std::string hub_label(const config::Hub& hub) {
  return hub.host.find(".azure-devices") == std::string::npos ? hub.name : hub.host.substr(0, hub.host.find('.'));
}

std::string run_lane(std::string_view hub) { return fmt::format("run/{}", hub); }

std::string run_key(std::string_view link) { return fmt::format("run/{}", link); }

store::NewWorkflow link_workflow(const config::Link& link, std::string_view trigger, Rng& rng) {
  store::NewWorkflow out;
  out.id = store::WorkflowId(rng.hex_id());
  out.kind = link.master == config::Master::kHub ? "sweep" : "run";
  out.lane = run_lane(link.hub);
  out.key = run_key(link.name);
  out.input = json::write(json::object{{"link", link.name}, {"trigger", trigger}});
  out.on_busy = link.overlap == config::Overlap::kQueue ? store::OnBusy::kQueue : store::OnBusy::kSkip;
  return out;
}

}  // namespace twinstep::workflows
