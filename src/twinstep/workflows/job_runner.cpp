#include "twinstep/workflows/job_runner.h"

#include <algorithm>
#include <set>

#include "twinstep/base/crash_point.h"
#include "twinstep/base/units.h"

namespace twinstep::workflows {
namespace {

const char* kind_of(bool import) { return import ? "import" : "export"; }

bool same_kind(const azure::Job& job, bool import) { return import ? job.is_import : job.is_export; }

/// A job may be ours when the hub echoes our blob name, or no name at all.
bool may_be_ours(const azure::Job& job, bool import, std::string_view blob) {
  if (!same_kind(job, import)) return false;
  const std::string& name = import ? job.input_blob : job.output_blob;
  return name.empty() || name == blob;
}

bool unsure(const Error& error) {
  return error.code == "hub.job-unsure" || error.kind == ErrorKind::kTimeout ||
         (error.kind == ErrorKind::kUnavailable && error.remote_status >= 500 && error.remote_status != 503);
}

/// For a job that was not done in time: how long to allow for it.
std::string time_needed(const JobTiming& timing, Millis limit, int progress) {
  if (timing.needs > Millis{0})
    return fmt::format("; a hub of this tier and so many units needs about {} for it", format_duration(timing.needs));
  if (progress > 0 && progress < 100)
    return fmt::format("; it had done {} % by then, so it needs about {}", progress,
                       format_duration(limit * 100 / progress));
  return "";
}

constexpr Millis kRoleSpread{5 * 60'000};  // azure.md 1.10: a fresh role assignment shows a false refusal for a while

}  // namespace

Result<azure::Job> JobRunner::run_export(const azure::ExportJob& job, const Created& created, const Call& call) {
  TRY_ASSIGN(const azure::Job made, create(
                                        false, job.blob_name, job.identity_based,
                                        [&] { return context_.hub.create_export_job(job, call); }, call));
  crash_point("run.job-asked");
  TRY(created(made.id));
  crash_point("run.job-known");
  return wait(made.id, false, call);
}

Result<azure::Job> JobRunner::run_import(const azure::ImportJob& job, const Created& created, const Call& call) {
  TRY_ASSIGN(const azure::Job made, create(
                                        true, job.blob_name, job.identity_based,
                                        [&] { return context_.hub.create_import_job(job, call); }, call));
  crash_point("run.job-asked");
  TRY(created(made.id));
  crash_point("run.job-known");
  return wait(made.id, true, call);
}

Result<azure::Job> JobRunner::create(bool import, std::string_view blob, bool identity_based, const Create& ask,
                                     const Call& call) {
  Clock& clock = context_.clock;
  TRY_ASSIGN(const auto before, context_.hub.list_jobs(call));
  std::set<std::string> known;
  for (const azure::Job& job : before) known.insert(job.id.value);

  const SteadyTime start = clock.steady_now();
  Millis pause{2'000};
  bool lost_answer = false;
  bool told = false;
  for (;;) {
    if (lost_answer || told) {
      // Our job may exist: look before asking again. A job that keeps the hub busy is ours only when it bears our name.
      TRY_ASSIGN(const auto jobs, context_.hub.list_jobs(call));
      for (const azure::Job& job : jobs) {
        const bool named = (import ? job.input_blob : job.output_blob) == blob;
        if (!known.contains(job.id.value) && may_be_ours(job, import, blob) && (lost_answer || named)) return job;
      }
    }
    auto made = ask();
    if (made) return made;
    const Error& error = made.error();
    const auto waited = std::chrono::duration_cast<Millis>(clock.steady_now() - start);
    if (unsure(error)) {
      if (waited > kRoleSpread) return made;
      lost_answer = true;
    } else if (error.remote_code == "JobQuotaExceeded") {
      if (waited > timing_.busy_limit)
        return fail(
            ErrorKind::kUnavailable, "hub.job-busy",
            fmt::format("hub {}: another job has kept the hub busy for {}; a hub runs one import or export job at "
                        "a time, whatever its tier. Wait for it or cancel it",
                        context_.link.hub, format_duration(waited)));
      if (!told && !lost_answer)
        context_.progress.note("another import or export job is running on the hub; waiting for it to end");
      told = true;
    } else if (error.remote_code == "BlobContainerValidationError" && identity_based && waited < kRoleSpread) {
      if (!told) context_.progress.note("the hub's identity cannot reach the storage yet; trying for five minutes");
      told = true;
    } else {
      return made;
    }
    if (!clock.sleep_for(pause, call.stop))
      return fail(ErrorKind::kCancelled, "cancelled",
                  fmt::format("stopped while asking for an {} job", kind_of(import)));
    pause = std::min(pause * 2, Millis{60'000});
  }
}

Result<azure::Job> JobRunner::wait(const JobId& id, bool import, const Call& call) {
  Clock& clock = context_.clock;
  const Millis limit = timing_.polling.interval * timing_.polling.attempts + timing_.extra;
  const SteadyTime start = clock.steady_now();
  Millis pause = std::min(timing_.first_look, timing_.polling.interval);
  const std::string what = fmt::format("{} job", kind_of(import));
  int progress = 0;
  for (;;) {
    auto job = context_.hub.get_job(id, call);
    if (job) {
      progress = job->progress;
      context_.progress.counted(what, static_cast<uint64_t>(std::clamp(job->progress, 0, 100)), 100);
      if (job->state == azure::JobState::kCompleted) return job;
      if (azure::is_final(job->state)) {
        if (context_.watch) context_.watch->job_failed(id);
        return fail(ErrorKind::kUnavailable, "hub.job-failed",
                    fmt::format("hub {}: the {} ended as {}: {}", context_.link.hub, what,
                                job->state == azure::JobState::kCancelled ? "cancelled" : "failed",
                                job->failure_reason.empty() ? "the hub gives no reason" : job->failure_reason));
      }
      if (context_.watch) context_.watch->job_not_complete(*job);
    } else if (!job.error().transient()) {
      return job;
    }
    if (clock.steady_now() - start > limit) {
      (void)context_.hub.cancel_job(id, call.sooner(clock.steady_now() + std::chrono::seconds{60}));
      if (context_.watch) context_.watch->job_failed(id);
      return fail(
          ErrorKind::kTimeout, "hub.job-timeout",
          fmt::format("hub {}: the {} was not done after {} and was cancelled{}; raise {}_polling (or {})",
                      context_.link.hub, what, format_duration(limit), time_needed(timing_, limit, progress),
                      kind_of(import), import ? "retryAttemptsForIoTHubImportJob" : "retryAttemptsForIoTHubExportJob"));
    }
    if (!clock.sleep_for(pause, call.stop)) {
      // An import goes on and is found again. So does a durable run's export; otherwise nobody would use it.
      const bool left = import || (context_.watch && context_.watch->leaving());
      if (!left) (void)context_.hub.cancel_job(id, {clock.steady_now() + Millis{700}, {}});
      return fail(ErrorKind::kCancelled, "cancelled", fmt::format("stopped while waiting for the {}", what));
    }
    pause = std::min(pause * 2, timing_.polling.interval);
  }
}

Result<std::optional<azure::Job>> JobRunner::find_left_over(const store::JobRecord& record, const Call& call) {
  if (!record.job.empty()) {
    auto job = context_.hub.get_job(record.job, call);
    if (job) return std::optional<azure::Job>{*job};
    if (job.error().kind == ErrorKind::kNotFound) return std::optional<azure::Job>{};
    return fail(std::move(job).error());
  }
  TRY_ASSIGN(const auto jobs, context_.hub.list_jobs(call));
  std::optional<azure::Job> found;
  for (const azure::Job& job : jobs) {
    const bool late_enough = !job.started || *job.started > record.created - std::chrono::minutes{10};
    if (!late_enough || !may_be_ours(job, record.import, record.blob)) continue;
    if (!azure::is_final(job.state)) return std::optional<azure::Job>{job};
    // One that has ended is ours only when it bears our name; anybody's ended jobs stay in the list for a month.
    const std::string& name = record.import ? job.input_blob : job.output_blob;
    if (name == record.blob) found = job;
  }
  return found;
}

}  // namespace twinstep::workflows
