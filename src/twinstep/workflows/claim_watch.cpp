#include "twinstep/workflows/claim_watch.h"

namespace twinstep::workflows {
namespace {

constexpr Millis kAskTime{2'000};  // whether a person stopped it

/// As Microsoft's JobStatus of .NET has it, which the sample sends.
const char* status_text(azure::JobState state) {
  if (state == azure::JobState::kEnqueued) return "Enqueued";
  return state == azure::JobState::kRunning ? "Running" : "Unknown";
}

}  // namespace

bool ClaimWatch::leaving() const {
  if (!holds()) return true;
  if (!call_.stop.stop_requested()) return false;
  if (!left_) left_ = !attempt_.cancel_asked({clock_.steady_now() + kAskTime, {}});
  return *left_;
}

void ClaimWatch::job_not_complete(const azure::Job& job) {
  int& looks = looks_[job.id.value];
  not_complete_[job.id.value] = fmt::format("{} job {}: looked at {} times, {} % done",
                                            job.is_import ? "import" : "export", job.id.value, ++looks, job.progress);
  obs::Event event = about("IoTHubJobCheckNotComplete");
  event.properties.emplace_back("iotHubJobId", job.id.value);
  event.properties.emplace_back("job", job.is_import ? "import" : "export");
  event.properties.emplace_back("jobId", job.id.value);
  event.properties.emplace_back("jobStatus", status_text(job.state));
  event.measurements.emplace_back("progress", job.progress);
  emit(event);
}

obs::Event ClaimWatch::about(std::string name) const {
  const std::string& id = attempt_.workflow().id.value;
  return {std::move(name), clock_.system_now(), {{"iothubname", hub_}, {"link", link_}, {"run", id}}, {}, id};
}

store::Finish ClaimWatch::job_trouble(const Error& error) {
  attempt_.note("IoTHubJobFailed", error.what);
  obs::Event event = about("IoTHubJobFailed");
  if (failed_job_) event.properties.emplace_back("iotHubJobId", failed_job_->value);
  event.properties.emplace_back("reason", error.what);
  emit(event);
  return attempt_.failed(error.what, "IoTHubJobFailed");
}

void ClaimWatch::tell(store::Finish& finish) const {
  for (const auto& [job, text] : not_complete_)
    finish.history.insert(finish.history.begin(), {{}, "IoTHubJobCheckNotComplete", text});
}

}  // namespace twinstep::workflows
