#include "twinstep/workflows/scheduler.h"

#include <spdlog/spdlog.h>

#include "twinstep/base/backoff.h"
#include "twinstep/base/crash_point.h"
#include "twinstep/base/time_format.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::workflows {
namespace {

constexpr std::chrono::hours kAhead{2};  // replicas and corrected clocks differ by less
constexpr Millis kStoreTime{15'000};     // one call of the store
constexpr Backoff kStoreAway{.first = Millis{1'000}, .cap = Millis{60'000}};

std::string_view what_came(store::Started::What what) {
  switch (what) {
    case store::Started::kSkipped:
      return "skipped";
    case store::Started::kQueued:
      return "queued";
    default:
      return "started";
  }
}

}  // namespace

Schedules::Schedules(const std::vector<config::Link>& links, store::WorkflowStore& store, Clock& clock, Rng& rng)
    : store_(store), clock_(clock), rng_(rng) {
  for (const config::Link& link : links) {
    if (link.schedule.empty()) continue;
    auto cron = Cron::parse(link.schedule, link.zone);
    if (cron)
      entries_.push_back({link, std::move(*cron), fmt::format("{} {}", link.schedule, link.zone)});
    else
      spdlog::error("schedule.bad link={} reason=\"{}\"", link.name, cron.error().what);
  }
}

Result<Millis> Schedules::look(const Call& call) {
  const auto apart = std::chrono::duration_cast<Millis>(clock_.system_now().time_since_epoch()) -
                     std::chrono::duration_cast<Millis>(clock_.steady_now().time_since_epoch());
  if (apart < apart_ - kAhead) doubt_ = true;
  apart_ = apart;
  if (!kept_) {
    std::vector<std::string> links;
    for (const Entry& entry : entries_) links.push_back(entry.link.name);
    TRY(store_.keep_schedules(links, call));
    kept_ = true;
  }
  Millis quiet = kSlice;
  std::optional<Error> failed;
  for (const Entry& entry : entries_) {
    auto one = look_at(entry, call);
    if (one)
      quiet = std::min(quiet, *one);
    else
      failed = std::move(one).error();
  }
  if (failed) return fail(std::move(*failed));
  doubt_ = false;
  return quiet;
}

Result<Millis> Schedules::look_at(const Entry& entry, const Call& call) {
  const SystemTime now = clock_.system_now();
  const auto next = entry.cron.next_after(now);
  const auto far = entry.cron.next_after(now + kAhead);
  if (!next || !far) return kSlice;  // the calendar ends
  TRY_ASSIGN(SystemTime due,
             store_.plan_schedule(entry.link.name, entry.text, *next, doubt_ ? *far : SystemTime::max(), call));
  if (due <= now) {
    TRY_ASSIGN(const auto fired,
               store_.fire_schedule(entry.link.name, due, *next, link_workflow(entry.link, "schedule", rng_), call));
    if (fired) {
      crash_point("schedule.after-commit");
      spdlog::info("schedule.fired link={} due={} run={} became={}", entry.link.name, format_iso_seconds(due),
                   fired->id.value, what_came(fired->what));
    }
    due = *next;
  }
  return std::clamp(std::chrono::ceil<Millis>(due - now), Millis{0}, kSlice);
}

void Scheduler::start(const std::vector<config::Link>& links) {
  thread_ = std::jthread([this, schedules = Schedules(links, store_, clock_, rng_)](std::stop_token stop) mutable {
    work(std::move(schedules), std::move(stop));
  });
}

void Scheduler::stop() { thread_ = {}; }

void Scheduler::work(Schedules schedules, std::stop_token stop) {
  int failures = 0;
  while (!stop.stop_requested()) {
    const auto quiet = schedules.look({clock_.steady_now() + kStoreTime, stop});
    if (!quiet && stop.stop_requested()) return;
    if (!quiet && failures++ == 0) spdlog::warn("schedule.blind reason=\"{}\"", quiet.error().what);
    if (quiet && failures > 0) {
      spdlog::info("schedule.sees_again");
      failures = 0;
    }
    if (!clock_.sleep_for(quiet ? *quiet : kStoreAway.after(failures, rng_), stop)) return;
  }
}

}  // namespace twinstep::workflows
