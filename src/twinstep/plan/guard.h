#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/config/config.h"
#include "twinstep/plan/change.h"
#include "twinstep/plan/compare.h"

namespace twinstep::plan {

/// What is remembered of a link's last good run.
struct LastRun {
  uint64_t external_count = 0;  ///< devices in the master's list
  uint64_t owned_count = 0;
  SystemTime finished;
};

/// One limit that a plan exceeds.
struct Tripped {
  std::string rule;  ///< "deletes", "updates", "shrink", "empty", "withheld"
  uint64_t found = 0;
  uint64_t limit = 0;  ///< the most that is allowed; for shrink the fewest devices the list may have
  std::string text;    ///< for people: numbers, the limit, what to do
};

struct Verdict {
  std::vector<Tripped> tripped;
  Permit permit;  ///< what may be done without approval
  bool ok() const { return tripped.empty(); }
};

/// Percentages count from this many owned devices up.
inline constexpr uint64_t kPercentFrom = 10;

/// Applies the limits. Tripped deletes or shrink: no delete at all; tripped updates: no update at all; creates go on.
/// An empty external list and withheld deletes are also named, so that the run is blocked with the reason.
Verdict check_limits(const Counts& counts, const config::Limits& limits, const std::optional<LastRun>& last,
                     const std::vector<std::string>& why_withheld = {}, bool external_empty = false);
inline Verdict check_limits(const Comparison& comparison, const config::Limits& limits,
                            const std::optional<LastRun>& last) {
  return check_limits(comparison.counts(), limits, last, comparison.why_withheld(), comparison.external_empty());
}

/// What a sweep (plan/sweep.h) would delete outside, and what the limits measure it by.
struct SweepLoad {
  uint64_t deletes = 0;      ///< orphans that the link's `deletes` would remove
  uint64_t owned = 0;        ///< devices that twinstep made outside and that are still there
  uint64_t hub_devices = 0;  ///< as listed: the hub is the master
};

/// The same limits with the hub as master; `last` counts the hub's devices as the master's. Without deletes only the
/// empty hub is named: nothing else can do harm. permit.updates plays no part, a sweep makes none.
Verdict check_sweep_limits(const SweepLoad& load, const config::Limits& limits, const std::optional<LastRun>& last,
                           const std::vector<std::string>& why_withheld);

}  // namespace twinstep::plan
