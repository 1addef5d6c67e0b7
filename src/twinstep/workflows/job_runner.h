#pragma once

#include <functional>

#include "twinstep/workflows/link_context.h"

namespace twinstep::workflows {

/// How long a job is waited for.
struct JobTiming {
  config::JobPolling polling;
  Millis first_look{1000};          ///< polls begin here and double up to polling.interval
  Millis extra{30'000};             ///< on top of interval x attempts
  Millis busy_limit{6 * 3600'000};  ///< how long another job of the hub is waited for
  uint64_t lines = 0;               ///< of an import's file, for the message; 0 = not known
};

/// Runs export and import jobs of a hub, one at a time, never twice for one wish.
///
/// A hub has no idempotency key for jobs. So the jobs are listed before the first try; when an answer is lost, a job of
/// the same kind that was not there before, with our blob name or none echoed, is taken as ours.
///
/// Blocking  until the job has ended, the timing is used up (the job is then cancelled: kTimeout
///           "hub.job-timeout", saying how long it needs, as far as that can be known, and which setting to raise to
///           what), or call.stop: an export is then cancelled, unless a durable run leaves it to the next claim.
/// Errors    kUnavailable "hub.job-failed" with the hub's reason; "hub.job-busy"; those of the hub client.
class JobRunner {
 public:
  JobRunner(LinkContext& context, JobTiming timing) : context_(context), timing_(timing) {}

  /// `created` is called with the job's id as soon as it is known, so that a crash can find it again.
  using Created = std::function<Status(const JobId&)>;
  Result<azure::Job> run_export(const azure::ExportJob& job, const Created& created, const Call& call);
  Result<azure::Job> run_import(const azure::ImportJob& job, const Created& created, const Call& call);

  /// Waits for a job that exists.
  Result<azure::Job> wait(const JobId& id, bool import, const Call& call);
  /// The import or export job that an earlier, crashed run asked for, in whatever state; empty when there is none. A
  /// job whose id was not written down is told by its kind, its time and its blob's name, where the hub echoes that.
  Result<std::optional<azure::Job>> find_left_over(const store::JobRecord& record, const Call& call);

 private:
  using Create = std::function<Result<azure::Job>()>;
  Result<azure::Job> create(bool import, std::string_view blob, bool identity_based, const Create& ask,
                            const Call& call);

  tl::unexpected<Error> not_in_time(const azure::Job& seen, bool import, const Call& call);
  uint64_t about_devices(const Call& call);

  LinkContext& context_;
  JobTiming timing_;
};

}  // namespace twinstep::workflows
