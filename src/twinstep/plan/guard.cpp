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

}  // namespace

Verdict check_limits(const Counts& counts, const config::Limits& limits, const std::optional<LastRun>& last,
                     const std::vector<std::string>& why_withheld, bool external_empty) {
  Verdict verdict;
  if (external_empty) {
    verdict.permit = {false, false};
    std::string doubts;
    for (const std::string& why : why_withheld) doubts += (doubts.empty() ? " (" : "; ") + why;
    if (!doubts.empty()) doubts += ")";
    verdict.tripped.push_back(
        {"empty", 0, 1,
         fmt::format("the external list is empty{}, so nothing is changed; check the account, its "
                     "rights and the filter of the list",
                     doubts)});
  } else if (!why_withheld.empty()) {
    verdict.permit.deletes = false;
    std::string text = "deletes are withheld: ";
    for (size_t i = 0; i < why_withheld.size(); ++i) text += (i ? "; " : "") + why_withheld[i];
    verdict.tripped.push_back({"withheld", counts.withheld, 0, text + "; mend the list and run again"});
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
  if (last && !external_empty && counts.external_devices < last->external_count) {
    const uint64_t lost = last->external_count - counts.external_devices;
    if (const auto limit = most(limits.shrink, last->external_count); limit && lost > *limit) {
      verdict.permit.deletes = false;
      verdict.tripped.push_back(
          {"shrink", counts.external_devices, last->external_count - std::min(*limit, last->external_count),
           fmt::format("the external list has {} devices, {} at the last good run; it may lose {} at a time; check the "
                       "external system, then approve the plan or raise limits.shrink",
                       format_count(counts.external_devices), format_count(last->external_count),
                       format_count(*limit))});
    }
  }
  return verdict;
}

}  // namespace twinstep::plan
