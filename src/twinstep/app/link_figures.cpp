#include "twinstep/app/link_figures.h"

#include <algorithm>

#include "twinstep/json/json.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::app {
namespace {

constexpr int kRunsLookedAt = 20;  // the newest of a link: among them one that ended, unless all of a day were skipped
constexpr size_t kMostKnown = 2'000;

uint64_t count_at(const json::object& o, std::string_view name) {
  return static_cast<uint64_t>(std::max<int64_t>(0, json::int_or(o, name, 0)));
}

json::object step_of(const std::map<std::string, std::string>& steps, const std::string& name) {
  const auto found = steps.find(name);
  if (found == steps.end()) return {};
  auto value = json::parse(found->second, "a step");
  return value && value->is_object() ? std::move(value->get_object()) : json::object{};
}

}  // namespace

RunFacts facts_of(const std::map<std::string, std::string>& steps) {
  RunFacts out;
  const json::object plan = step_of(steps, "plan"), report = step_of(steps, "report");
  uint64_t removed = 0;
  if (const json::object* rows = json::object_at(report, "rows")) {  // a run
    for (const auto& [kind, row] : *rows) {
      const json::object* results = row.if_object();
      if (!results) continue;
      for (const auto& entry : *results)
        if (const uint64_t count = count_at(*results, entry.key()); count > 0)
          out.changes[{std::string(kind), std::string(entry.key())}] = count;
      if (kind == "delete" || kind == "disable") removed += count_at(*results, "done");
    }
  }
  if (const json::object* tasks = json::object_at(report, "tasks")) {  // a sweep
    for (const char* kind : {"create", "delete"})
      if (const uint64_t count = count_at(*tasks, kind); count > 0) out.changes[{kind, "task"}] = count;
  }
  const json::object* counts = json::object_at(report, "counts");
  if (!counts) counts = json::object_at(plan, "counts");
  if (!counts) return out;
  if (counts->contains("missing_outside")) {
    out.orphans = count_at(*counts, "orphans");
    out.nothing_to_do = !report.empty() && count_at(*counts, "missing_outside") == 0 &&
                        count_at(*counts, "orphans_owned") == 0 && count_at(*counts, "differing") == 0;
  } else {
    out.owned = count_at(*counts, "owned");
    const uint64_t planned = count_at(*counts, "delete") + count_at(*counts, "disable");
    out.orphans = count_at(*counts, "kept") + count_at(*counts, "withheld") + planned - std::min(planned, removed);
  }
  return out;
}

Result<const RunFacts*> LinkReader::facts(const store::Workflow& run, const Call& call) {
  if (const auto found = known_.find(run.id.value); found != known_.end()) return &found->second;
  TRY_ASSIGN(const auto steps, store_.steps(run.id, call));
  if (known_.size() >= kMostKnown) known_.clear();
  return &(known_[run.id.value] = facts_of(steps));
}

Result<obs::LinkFigures> LinkReader::read(const config::Link& link, const Call& call) {
  obs::LinkFigures out;
  out.link = link.name;
  const bool sweeps = link.master == config::Master::kHub;
  TRY_ASSIGN(const auto good, state_.last_run(sweeps ? "sweep/" + link.name : link.name, call));
  if (good) {
    out.last_good_run = good->finished;
    out.owned = good->owned_count;
    if (!sweeps) out.in_step = good->finished;
  }
  store::WorkflowFilter filter;
  filter.key = workflows::run_key(link.name);
  filter.limit = kRunsLookedAt;
  TRY_ASSIGN(const auto runs, store_.list(filter, call));
  bool newest = true;
  for (const store::Workflow& run : runs) {
    if (run.state == store::State::kBlocked) {
      ++out.blocked;
      // Not ended, but it has a plan: what it left in place is known.
      TRY_ASSIGN(const auto steps, store_.steps(run.id, call));
      if (newest) out.orphans = facts_of(steps).orphans;
      newest = newest && !out.orphans;
    }
    if (!run.ended) continue;
    if (!out.last_run) {
      out.last_run = run.ended;
      out.last_outcome = store::to_string(run.state);
    }
    if (run.state == store::State::kCancelled) continue;
    TRY_ASSIGN(const RunFacts* facts, this->facts(run, call));
    if (newest && facts->orphans) {
      out.orphans = facts->orphans;
      if (!out.owned) out.owned = facts->owned;
      newest = false;
    }
    if (out.last_changes.empty() && out.last_run == run.ended) out.last_changes = facts->changes;
    if (sweeps && !out.in_step && run.state == store::State::kDone && facts->nothing_to_do) out.in_step = run.ended;
  }
  return out;
}

}  // namespace twinstep::app
