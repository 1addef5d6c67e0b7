#include "twinstep/workflows/planning.h"

#include <thread>

#include "twinstep/obs/log_context.h"
#include "twinstep/workflows/job_container.h"

namespace twinstep::workflows {
namespace {

constexpr int kQueryPage = 1000;
constexpr uint64_t kLookUps = 100;  // deletes confirmed one by one while planning; the others when they are applied

plan::SnapshotOptions snapshot_options(const LinkContext& context) {
  plan::SnapshotOptions options;
  options.folder = context.temporary_folder;
  options.keep_hub_tags = true;
  return options;
}

Result<plan::Snapshot> read_export(LinkContext& context, const plan::Rules& rules, JobContainer& container,
                                   const Call& call) {
  plan::HubSnapshotBuilder builder(rules, snapshot_options(context));
  uint64_t bytes = 0;
  auto read = context.blobs->read_blob(
      container.name(), container.blob(),
      [&](std::string_view piece) -> Status {
        bytes += piece.size();
        context.progress.counted("bytes of the hub's export read", bytes, {});
        return builder.feed(piece);
      },
      call);
  if (!read) return fail_within(std::move(read), fmt::format("hub {}: reading the export", context.link.hub));
  TRY(container.remove());
  return builder.finish();
}

/// `asked` is the container of an export that an earlier claim of this run asked for.
Result<plan::Snapshot> hub_by_export(LinkContext& context, const plan::Rules& rules, std::optional<JobContainer> asked,
                                     const Call& call) {
  JobRunner runner(context, {.polling = context.config.export_polling});
  if (asked) {
    context.progress.note("an export that this run asked for before is used");
    auto ended = runner.wait(asked->job(), false, call);
    if (!ended && ended.error().kind != ErrorKind::kNotFound) return fail(std::move(ended).error());
    auto snapshot = read_export(context, rules, *asked, call);
    if (snapshot || snapshot.error().kind != ErrorKind::kNotFound) return snapshot;
    asked.reset();  // the container is gone, or the job was somebody else's
  }
  TRY_ASSIGN(JobContainer container, JobContainer::create(context, PlanId(), false, call));
  azure::ExportJob job;
  TRY_ASSIGN(job.container_uri, container.address());
  job.blob_name = container.blob();
  job.identity_based = context.config.storage && context.config.storage->identity_based_jobs;
  if (job.identity_based) job.user_assigned_identity = context.config.storage->user_assigned_identity;
  context.progress.note("asked the hub for an export of all devices");
  TRY(runner.run_export(
      job, [&](const JobId& id) { return container.remember_job(id); }, call));
  return read_export(context, rules, container, call);
}

Status query_all(LinkContext& context, plan::HubSnapshotBuilder& builder, std::string_view text, std::string_view what,
                 const Call& call) {
  std::string continuation;
  int page = 0;
  do {
    TRY_ASSIGN(const auto answer, context.hub.query(text, kQueryPage, continuation, call));
    TRY(builder.add_page(answer.body, ++page));
    context.progress.counted(what, static_cast<uint64_t>(page), {});
    if (!answer.continuation.empty() && answer.continuation == continuation)
      return fail(ErrorKind::kCorrupt, "hub.query-loop",
                  fmt::format("hub {}: the query gives the same page again", context.link.hub));
    continuation = answer.continuation;
  } while (!continuation.empty());
  return {};
}

Result<plan::Snapshot> hub_by_query(LinkContext& context, const plan::Rules& rules, const Call& call) {
  plan::HubSnapshotBuilder builder(rules, snapshot_options(context));
  TRY(query_all(context, builder, "SELECT * FROM devices", "pages of hub devices read", call));
  // Devices with modules are left alone, so the modules have to be known before anything is deleted.
  auto modules = query_all(context, builder, "SELECT * FROM devices.modules", "pages of hub modules read", call);
  if (!modules) {
    if (modules.error().kind != ErrorKind::kInvalid) return fail(std::move(modules).error());
    builder.incomplete("the hub does not list its modules, so devices with modules cannot be told from others");
  }
  return builder.finish();
}

Result<plan::Snapshot> list_hub(LinkContext& context, const plan::Rules& rules, LeftOver left, const Call& call) {
  return context.blobs && context.config.use_export_jobs
             ? hub_by_export(context, rules, std::move(left.export_asked), call)
             : hub_by_query(context, rules, call);
}

Result<plan::Snapshot> list_external(LinkContext& context, const plan::Rules& rules, const Call& call) {
  const auto mapper = context.external.mapper();
  plan::ExternalSnapshotBuilder builder(rules, *mapper, snapshot_options(context));
  uint64_t items = 0;
  auto proof = context.external.list(
      [&](std::string_view item, const providers::ItemPlace& place) {
        context.progress.counted("external devices read", ++items, {});
        return builder.add(item, place);
      },
      [&](std::string_view text, const providers::ItemPlace& place, std::string_view why) {
        return builder.broken(text, place, why);
      },
      call);
  if (!proof) return fail_within(std::move(proof), fmt::format("external system {}", context.link.external));
  return builder.finish(*proof);
}

bool is_delete(const plan::Change& change) { return change.op == plan::Op::kDelete || change.op == plan::Op::kDisable; }

Status stop_iteration() { return fail(ErrorKind::kCancelled, "planning.enough", "enough"); }

/// Looks some of the devices to be deleted up in the external system. The reason when one of them is there.
Result<std::string> disprove(LinkContext& context, const plan::Comparison& comparison, ConfirmedAbsent& confirmed,
                             const Call& call) {
  std::string found;
  auto all = comparison.changes(
      {},
      [&](const plan::Change& change) -> Status {
        if (!is_delete(change)) return {};
        TRY_ASSIGN(const bool absent, confirmed_absent(context, change, call));
        if (!absent) {
          found = change.id.value;
          return stop_iteration();
        }
        confirmed.insert(change.id.value);
        context.progress.counted("deletes confirmed by look-up", confirmed.size(), {});
        return confirmed.size() >= kLookUps ? stop_iteration() : Status{};
      },
      call);
  if (!all && all.error().code != "planning.enough") return fail(std::move(all).error());
  if (found.empty()) return std::string();
  return fmt::format("{} was not in {}'s list, but a look-up finds it there: the list is not complete", found,
                     context.link.external);
}

/// What answers "not found" in the external system's place ends a list as its last page does, and tells of every device
/// that it is absent. So after the look-ups it is asked for its first page once more, which surely has devices. The
/// reason when it has none now.
Result<std::string> no_answer_any_more(LinkContext& context, const Call& call) {
  uint64_t items = 0;
  const auto page = context.external.first_page(
      [&](std::string_view, const providers::ItemPlace&) -> Status {
        ++items;
        return {};
      },
      [&](std::string_view, const providers::ItemPlace&, std::string_view) -> Status {
        ++items;
        return {};
      },
      call);
  if (items > 0) return std::string();
  if (!page && page.error().kind == ErrorKind::kCancelled) return fail(page.error());
  return fmt::format(
      "{}'s first page was asked for once more and has no devices now: what answers may not be {}, and "
      "its list not complete ({})",
      context.link.external, context.link.external, page ? page->why_incomplete : page.error().what);
}

}  // namespace

plan::Rules rules_for(const LinkContext& context) { return plan::rules_of(context.link, context.external.tags()); }

Result<bool> confirmed_absent(LinkContext& context, const plan::Change& change, const Call& call) {
  providers::DeviceInput input{change.id, {}, {}};
  if (!change.hub_tags.empty()) {
    auto tags = json::parse(change.hub_tags.reveal(), "the device's tags");
    if (tags && tags->is_object()) input.tags = tags->as_object();
  }
  if (!context.external.can_look_up(input)) return true;
  auto found = context.external.look_up(input, call);
  if (found) return false;
  if (found.error().kind == ErrorKind::kNotFound) return true;
  return fail_within(std::move(found), fmt::format("looking {} up in {}", change.id.value, context.link.external));
}

plan::Permit PlannedLink::permit(bool approved) const {
  if (!approved) return verdict.permit;
  const bool proven = why_withheld.empty() && !comparison->external_empty();
  return {proven, !comparison->external_empty()};
}

plan::PlanHead PlannedLink::head(const LinkContext& context) const {
  plan::PlanHead head;
  head.id = PlanId(context.rng.hex_id());
  head.link = context.link.name;
  head.hub = context.hub.host();
  head.external = context.link.external;
  head.created = context.clock.system_now();
  head.expires = head.created + context.link.plan_lifetime;
  head.hub_fingerprint = hub.fingerprint();
  head.external_fingerprint = external.fingerprint();
  head.counts = counts;
  head.why_withheld = why_withheld;
  head.verdict = verdict;
  head.problems = comparison->problems();
  return head;
}

Status PlannedLink::write(const plan::PlanHead& head, const plan::Permit& permitted, const plan::PlanWriter::Sink& sink,
                          const Call& call) const {
  plan::PlanWriter writer(head, sink);
  TRY(comparison->changes(
      permitted, [&](const plan::Change& change) { return writer.write(change); }, call));
  return writer.finish();
}

Result<Listings> list_both(LinkContext& context, const plan::Rules& rules, const Call& call) {
  const JobTiming timing{.polling = context.config.import_polling};
  TRY_ASSIGN(LeftOver left, clean_up_after_crash(context, timing, call));

  // Both sides at once; when one fails the other is stopped.
  std::stop_source stop_both;
  const std::stop_callback pass_on(call.stop, [&] { stop_both.request_stop(); });
  const Call both{call.deadline, stop_both.get_token(), call.guard};
  std::optional<Result<plan::Snapshot>> external;
  const obs::Handover work;
  std::jthread external_thread([&] {
    const obs::Handover::Scope scope(work);
    external = list_external(context, rules, both);
    if (!*external) stop_both.request_stop();
  });
  auto hub = list_hub(context, rules, std::move(left), both);
  if (!hub) stop_both.request_stop();
  external_thread.join();
  // The side that failed first stopped the other one: report the cause, not the stop.
  if (!*external && (hub || external->error().kind != ErrorKind::kCancelled)) return fail(std::move(*external).error());
  if (!hub) return fail(std::move(hub).error());

  return Listings{std::move(*hub), std::move(**external)};
}

Result<std::unique_ptr<PlannedLink>> plan_link(LinkContext& context, const Call& call) {
  const plan::Rules rules = rules_for(context);
  TRY_ASSIGN(Listings listed, list_both(context, rules, call));
  auto planned = std::make_unique<PlannedLink>(std::move(listed.hub), std::move(listed.external));
  TRY_ASSIGN(plan::Comparison comparison,
             plan::compare(planned->hub, planned->external, rules, snapshot_options(context), call));
  planned->comparison.emplace(std::move(comparison));
  planned->counts = planned->comparison->counts();
  planned->why_withheld = planned->comparison->why_withheld();
  if (planned->counts.deletes + planned->counts.disables > 0) {
    TRY_ASSIGN(std::string reason, disprove(context, *planned->comparison, planned->confirmed, call));
    if (reason.empty() && planned->why_withheld.empty() && !planned->comparison->external_empty()) {
      TRY_ASSIGN(reason, no_answer_any_more(context, call));
    }
    if (!reason.empty()) {
      planned->why_withheld.push_back(std::move(reason));
      planned->counts.withheld += planned->counts.deletes + planned->counts.disables;
      planned->counts.deletes = planned->counts.disables = 0;
    }
  }
  TRY_ASSIGN(const auto last, context.state.last_run(context.link.name));
  planned->verdict = plan::check_limits(planned->counts, context.link.limits, last, planned->why_withheld,
                                        planned->comparison->external_empty());
  if (!planned->why_withheld.empty()) planned->verdict.permit.deletes = false;
  return planned;
}

}  // namespace twinstep::workflows
