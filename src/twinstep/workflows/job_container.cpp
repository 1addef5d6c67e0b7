#include "twinstep/workflows/job_container.h"

#include <spdlog/spdlog.h>

namespace twinstep::workflows {
namespace {

constexpr std::chrono::hours kSasLifetime{48};   // azure.md 1.10: must outlive the job, queueing included
constexpr std::chrono::seconds kRemoveTime{20};  // removing goes on after a stop request, but not for long
constexpr std::string_view kPrefix = "twinstep-";
constexpr std::chrono::hours kAbandoned{7 * 24};  // an unknown container of ours that old belongs to nobody
constexpr std::chrono::hours kRunningOfUse{24};   // a run that went on so much later lists the hub anew
constexpr std::chrono::hours kEndedOfUse{1};

Status remove_container(LinkContext& context, const std::string& name, const Call& call) {
  if (call.guard && !call.guard->holds())
    return fail(ErrorKind::kCancelled, "call.not-ours",
                fmt::format("container {}: left to whoever works on link {} now", name, context.link.name));
  auto removed = context.blobs->delete_container(name, call);
  if (!removed && removed.error().kind != ErrorKind::kNotFound) return removed;
  return context.state.remove_job(name);
}

/// Is the export one that a run may go on with, instead of asking for another one?
bool of_use(const LinkContext& context, const store::JobRecord& record, const azure::Job& job) {
  if (!context.watch || !context.config.use_export_jobs) return false;
  const SystemTime now = context.clock.system_now();
  if (!azure::is_final(job.state)) return record.created > now - kRunningOfUse;
  return job.state == azure::JobState::kCompleted && job.ended.value_or(record.created) > now - kEndedOfUse;
}

}  // namespace

Result<JobContainer> JobContainer::create(LinkContext& context, const PlanId& plan, bool import, const Call& call) {
  const std::string id = context.rng.hex_id();
  store::JobRecord record{fmt::format("{}{}", kPrefix, id.substr(0, 24)),
                          context.link.name,
                          plan,
                          import,
                          fmt::format("devices-{}.txt", id.substr(24)),
                          JobId(),
                          context.clock.system_now()};
  TRY(context.state.put_job(record));
  JobContainer container(&context, record, call.guard);
  TRY(context.blobs->create_container(record.container, call));
  return container;
}

JobContainer::JobContainer(JobContainer&& other) noexcept
    : context_(std::exchange(other.context_, nullptr)), guard_(other.guard_), record_(std::move(other.record_)) {}

JobContainer::~JobContainer() {
  if (context_ && context_->watch && context_->watch->leaving()) return;
  if (auto removed = remove(); !removed)
    spdlog::warn("container.left_behind container={} reason=\"{}\" next=\"the next run of link {} removes it\"",
                 record_.container, removed.error().what, record_.link);
}

Status JobContainer::remove() {
  if (!context_) return {};
  LinkContext& context = *std::exchange(context_, nullptr);
  if (guard_ && !guard_->holds()) return {};
  return remove_container(context, record_.container, {context.clock.steady_now() + kRemoveTime, {}});
}

Result<Secret> JobContainer::address() const {
  if (context_->config.storage && context_->config.storage->identity_based_jobs)
    return Secret(context_->blobs->container_uri(record_.container));
  return context_->blobs->container_sas_uri(record_.container, context_->clock.system_now() + kSasLifetime);
}

Status JobContainer::remember_job(const JobId& id) {
  record_.job = id;
  return context_->state.put_job(record_);
}

Result<LeftOver> clean_up_after_crash(LinkContext& context, const JobTiming& timing, const Call& call) {
  LeftOver out;
  if (!context.blobs) return out;
  TRY_ASSIGN(auto records, context.state.jobs(context.link.name));
  for (store::JobRecord& record : records) {
    JobRunner runner(context, timing);
    TRY_ASSIGN(const auto job, runner.find_left_over(record, call));
    const bool running = job && !azure::is_final(job->state);
    if (job && !record.import && !out.export_asked && of_use(context, record, *job)) {
      record.job = job->id;
      TRY(context.state.put_job(record));
      out.export_asked.emplace(JobContainer::take_over(context, std::move(record), call));
      continue;
    }
    if (running && record.import) {
      context.progress.note("an import job of an interrupted run is still working; waiting for it");
      auto ended = runner.wait(job->id, true, call);
      if (!ended && (ended.error().kind == ErrorKind::kCancelled || ended.error().code == "hub.job-timeout"))
        return fail(std::move(ended).error());
    } else if (running) {
      (void)context.hub.cancel_job(job->id, call);
    }
    TRY(remove_container(context, record.container, call));
    ++out.removed;
  }
  // Containers of ours that no state file knows, e.g. of a machine that is gone.
  auto listed = context.blobs->list_containers(kPrefix, call);
  if (!listed) return out;  // a SAS may not list containers; that is no reason to stop
  for (const azure::ContainerInfo& container : *listed)
    if (container.last_modified && *container.last_modified < context.clock.system_now() - kAbandoned) {
      TRY(remove_container(context, container.name, call));
      ++out.removed;
    }
  return out;
}

Status abandon_jobs(LinkContext& context, const Call& call) {
  if (!context.blobs) return {};
  TRY_ASSIGN(const auto records, context.state.jobs(context.link.name));
  for (const store::JobRecord& record : records) {
    TRY_ASSIGN(const auto job, JobRunner(context, {}).find_left_over(record, call));
    if (job && !azure::is_final(job->state)) TRY(context.hub.cancel_job(job->id, call));
    TRY(remove_container(context, record.container, call));
  }
  return {};
}

}  // namespace twinstep::workflows
