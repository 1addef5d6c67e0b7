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
  JobContainer(JobContainer&& other) noexcept;
  JobContainer& operator=(JobContainer&&) = delete;
  ~JobContainer();  ///< remove(), unless keep()

  const std::string& name() const { return record_.container; }
  const std::string& blob() const { return record_.blob; }
  /// The container's address for the hub: with a SAS for two days, or without for identity-based jobs.
  Result<Secret> address() const;
  Status remember_job(const JobId& id);
  /// The job goes on after this process: leave the container to the next run.
  void keep() { context_ = nullptr; }
  Status remove();

 private:
  JobContainer(LinkContext* context, store::JobRecord record) : context_(context), record_(std::move(record)) {}
  LinkContext* context_;  // null = nothing to remove
  store::JobRecord record_;
};

/// Ends what a crashed run left of this link: waits for its running import job, cancels its export job, removes the
/// containers. Returns how many containers were removed.
Result<int> clean_up_after_crash(LinkContext& context, const JobTiming& timing, const Call& call);

}  // namespace twinstep::workflows
