#pragma once

#include <optional>
#include <string>

#include "twinstep/workflows/job_runner.h"

namespace twinstep::workflows {

/// A blob container made for one job. Written down before it is made, removed at the end whatever happened; what a
/// crash leaves behind is removed by the next run.
class JobContainer {
 public:
  /// `plan` is empty for an export.
  static Result<JobContainer> create(LinkContext& context, const PlanId& plan, bool import, const Call& call);
  /// The container of an earlier claim of this link's run.
  static JobContainer take_over(LinkContext& context, store::JobRecord record, const Call& call) {
    return JobContainer(&context, std::move(record), call.guard);
  }
  JobContainer(JobContainer&& other) noexcept;
  JobContainer& operator=(JobContainer&&) = delete;
  ~JobContainer();  ///< remove(), unless keep(), or the link is left to another process

  const std::string& name() const { return record_.container; }
  const std::string& blob() const { return record_.blob; }
  const JobId& job() const { return record_.job; }  ///< empty while not known
  /// The container's address for the hub: with a SAS for two days, or without for identity-based jobs.
  Result<Secret> address() const;
  Status remember_job(const JobId& id);
  /// The job goes on after this process: leave the container to the next run.
  void keep() { context_ = nullptr; }
  /// Does nothing once the call's guard does not hold any more: whoever works on the link now may be using it.
  Status remove();

 private:
  JobContainer(LinkContext* context, store::JobRecord record, const WriteGuard* guard)
      : context_(context), guard_(guard), record_(std::move(record)) {}
  LinkContext* context_;  // null = nothing to remove
  const WriteGuard* guard_;
  store::JobRecord record_;
};

/// What a crashed run left behind.
struct LeftOver {
  int removed = 0;  ///< containers
  std::optional<JobContainer>
      export_asked;  ///< an export that goes on, or has ended a short while ago; its job is known
};

/// Ends what a crashed run left of this link: waits for its running import job, cancels its export job, removes the
/// containers. A durable run gets its export job back instead, to go on with.
/// Errors  kTimeout "hub.job-timeout": the import job did not end in time and was cancelled.
Result<LeftOver> clean_up_after_crash(LinkContext& context, const JobTiming& timing, const Call& call);

/// Cancels the jobs that an earlier claim of a run asked for and removes their containers: nobody will go on.
Status abandon_jobs(LinkContext& context, const Call& call);

}  // namespace twinstep::workflows
