#include "twinstep/workflows/claim_watch.h"

namespace twinstep::workflows {
namespace {

constexpr Millis kAskTime{2'000};  // whether a person stopped it

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
}

void ClaimWatch::tell(store::Finish& finish) const {
  for (const auto& [job, text] : not_complete_)
    finish.history.insert(finish.history.begin(), {{}, "IoTHubJobCheckNotComplete", text});
}

}  // namespace twinstep::workflows
