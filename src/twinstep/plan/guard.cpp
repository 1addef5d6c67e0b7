#include "twinstep/plan/guard.h"

#include <algorithm>
#include <cmath>

#include "twinstep/base/units.h"

namespace twinstep::plan {
namespace {

/// The most changes a limit allows; empty = no limit applies. With both forms given the stricter one counts.
std::optional<uint64_t> most(const config::Limit& limit, uint64_t owned) {
  std::optional<uint64_t> allowed = limit.count;
  if (limit.percent && owned >= kPercentFrom) {
    // The small addend keeps 10 % of 30 at 3, whatever the binary form of the product.
    const auto share = static_cast<uint64_t>(std::floor(static_cast<double>(owned) * *limit.percent / 100.0 + 1e-9));
    allowed = allowed ? std::min(*allowed, share) : share;
  }
  return allowed;
}

std::string listed(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : "; ") + text;
  return out;
}

/// How far the master's list may shrink; empty = it did not shrink further.
std::optional<Tripped> shrunk(uint64_t devices, const config::Limits& limits, const std::optional<LastRun>& last,
                              std::string_view list, std::string_view check) {
  if (!last || devices >= last->external_count) return std::nullopt;
  const auto limit = most(limits.shrink, last->external_count);
  if (!limit || last->external_count - devices <= *limit) return std::nullopt;
  return Tripped{
      "shrink", devices, last->external_count - std::min(*limit, last->external_count),
      fmt::format("{} has {} devices, {} at the last good run; it may lose {} at a time; check {}, then "
                  "approve the plan or raise limits.shrink",
                  list, format_count(devices), format_count(last->external_count), format_count(*limit), check)};
}

}  // namespace

Verdict check_limits(const Counts& counts, const config::Limits& limits, const std::optional<LastRun>& last,
                     const std::vector<std::string>& why_withheld, bool external_empty) {
  Verdict verdict;
  if (external_empty) {
    verdict.permit = {false, false};
    const std::string doubts = why_withheld.empty() ? "" : fmt::format(" ({})", listed(why_withheld));
    verdict.tripped.push_back(
        {"empty", 0, 1,
         fmt::format("the external list is empty{}, so nothing is changed; check the account, its "
                     "rights and the filter of the list",
                     doubts)});
  } else if (!why_withheld.empty()) {
    verdict.permit.deletes = false;
    verdict.tripped.push_back(
        {"withheld", counts.withheld, 0,
         fmt::format("deletes are withheld: {}; mend the list and run again", listed(why_withheld))});
  }

  const uint64_t removed = counts.deletes + counts.disables;
  if (const auto limit = most(limits.deletes, counts.owned); limit && removed > *limit) {
    verdict.permit.deletes = false;
    verdict.tripped.push_back(
        {"deletes", removed, *limit,
         fmt::format(
             "{} deletes or disables of {} owned devices, the limit is {}; look at the plan, then approve it or "
             "raise limits.deletes",
             format_count(removed), format_count(counts.owned), format_count(*limit))});
  }
  if (const auto limit = most(limits.updates, counts.owned); limit && counts.updates > *limit) {
    verdict.permit.updates = false;
    verdict.tripped.push_back(
        {"updates", counts.updates, *limit,
         fmt::format("{} updates of {} owned devices, the limit is {}; look at the plan, then approve it or raise "
                     "limits.updates",
                     format_count(counts.updates), format_count(counts.owned), format_count(*limit))});
  }
  if (external_empty) return verdict;
  if (auto tripped = shrunk(counts.external_devices, limits, last, "the external list", "the external system")) {
    verdict.permit.deletes = false;
    verdict.tripped.push_back(std::move(*tripped));
  }
  return verdict;
}

Verdict check_sweep_limits(const SweepLoad& load, const config::Limits& limits, const std::optional<LastRun>& last,
                           const std::vector<std::string>& why_withheld) {
  Verdict verdict;
  if (load.hub_devices == 0) {
    verdict.permit = {false, false};
    verdict.tripped.push_back(
        {"empty", 0, 1,
         "the hub's list is empty, so nothing is changed; check that the link names the right hub "
         "and that its policy may read the registry"});
    return verdict;
  }
  if (load.deletes == 0) return verdict;
  if (!why_withheld.empty()) {
    verdict.tripped.push_back(
        {"withheld", load.deletes, 0,
         fmt::format("{} deletes of orphans are withheld: {}; mend the list, the next sweep looks again",
                     format_count(load.deletes), listed(why_withheld))});
  }
  if (const auto limit = most(limits.deletes, load.owned); limit && load.deletes > *limit) {
    verdict.tripped.push_back(
        {"deletes", load.deletes, *limit,
         fmt::format("{} orphans to delete of {} devices that twinstep made outside, the limit is {}; look at them, "
                     "then approve the plan or raise limits.deletes",
                     format_count(load.deletes), format_count(load.owned), format_count(*limit))});
  }
  if (auto tripped = shrunk(load.hub_devices, limits, last, "the hub's list", "the hub"))
    verdict.tripped.push_back(std::move(*tripped));
  verdict.permit.deletes = verdict.tripped.empty();
  return verdict;
}

}  // namespace twinstep::plan
