#include "twinstep/workflows/job_runner.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "twinstep/base/crash_point.h"
#include "twinstep/base/units.h"
#include "twinstep/workflows/hub_rate.h"

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

constexpr Millis kAskSize{10'000};         // the statistics, for a message
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
  azure::Job seen;
  for (;;) {
    auto job = context_.hub.get_job(id, call);
    if (job) {
      seen = *job;
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
      return not_in_time(seen, import, call);
    }
    if (!clock.sleep_for(pause, call.stop)) {
      // An import goes on and is found again. So does a durable run's export; otherwise nobody would use it.
      const bool left = import || (context_.watch && context_.watch->leaving());
      if (!left) (void)context_.hub.cancel_job(id, {clock.steady_now() + Millis{700}, {}, call.guard});
      return fail(ErrorKind::kCancelled, "cancelled", fmt::format("stopped while waiting for the {}", what));
    }
    pause = std::min(pause * 2, timing_.polling.interval);
  }
}

/// Of whatever is known about the hub's size the largest: the statistics lag, runs remember only what they own.
uint64_t JobRunner::about_devices(const Call& call) {
  uint64_t most = context_.hub.about_devices(call.sooner(context_.clock.steady_now() + kAskSize)).value_or(0);
  if (const auto run = context_.state.last_run(context_.link.name); run && *run)
    most = std::max(most, (*run)->owned_count);
  const auto sweep = context_.state.last_run("sweep/" + context_.link.name);
  if (sweep && *sweep) most = std::max(most, (*sweep)->external_count);  // a sweep's master is the hub
  return most;
}

/// What a job needs is told by its progress, else by its size: jobs have been seen to work off devices at the rate of
/// registry operations (azure.md 1.10), which an export at least reaches.
tl::unexpected<Error> JobRunner::not_in_time(const azure::Job& seen, bool import, const Call& call) {
  const config::JobPolling& polling = timing_.polling;
  const Millis limit = polling.interval * polling.attempts + timing_.extra;
  const uint64_t devices = import ? timing_.lines : about_devices(call);
  const double rate = hub_rate(context_.hub_config, azure::HubOperation::kRegistry) * context_.hub_config.time_factor;
  const Millis by_size{static_cast<Millis::rep>(static_cast<double>(devices) / rate * 1000)};
  const std::string size = import ? fmt::format("its {} lines", format_count(devices))
                                  : fmt::format("an export of about {} devices", format_count(devices));
  const std::string at_rate = fmt::format("at the {} a minute of this hub's tier and units",
                                          format_count(static_cast<uint64_t>(std::llround(rate * 60))));
  Millis needs = limit * 2;  // when nothing else is known
  std::string why = "how long it needs cannot be told, because the hub gives no progress";
  if (seen.progress > 0 && seen.progress < 100) {
    // One that an earlier process began has run for longer than it was waited for here.
    const Millis ran =
        seen.started ? std::chrono::duration_cast<Millis>(context_.clock.system_now() - *seen.started) : limit;
    needs = std::max(limit, std::min(ran, limit * 100)) * 100 / seen.progress;
    why = fmt::format("it had done {} % by then, so it needs about {}", seen.progress, format_duration(needs));
  } else if (by_size > limit) {
    needs = by_size;
    why = fmt::format("{} need{} {}{} {}", size, import ? "" : "s", import ? "about " : "up to ",
                      format_duration(needs), at_rate);
  } else if (devices > 0) {
    why = fmt::format("{} should take no more than {} {}, so something else takes up the hub, or the job hangs", size,
                      format_duration(by_size), at_rate);
  }
  // A fifth in reserve.
  const Millis::rep wanted = (needs * 6 / 5 - timing_.extra + polling.interval - Millis{1}) / polling.interval;
  return fail(
      ErrorKind::kTimeout, "hub.job-timeout",
      fmt::format(
          "hub {}: the {} job was not done after {} and was cancelled; {}. Set {} (in a file {}_polling.attempts) "
          "to {}; it is {}, {} apart",
          context_.link.hub, kind_of(import), format_duration(limit), why,
          import ? "retryAttemptsForIoTHubImportJob" : "retryAttemptsForIoTHubExportJob", kind_of(import),
          std::max<Millis::rep>(wanted, polling.attempts + 1), polling.attempts, format_duration(polling.interval)));
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
