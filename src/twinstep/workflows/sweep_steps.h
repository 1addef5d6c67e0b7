#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "twinstep/engine/attempt.h"
#include "twinstep/json/json.h"

/// What a sweep keeps between its claims.
namespace twinstep::workflows {

/// Deletes that were not started with the creates.
struct HeldDeletes {
  std::string from;  ///< orphans beyond this canonical id
  uint64_t count = 0;
  std::string orphans;  ///< digest of their canonical ids
  std::string code;     ///< "guard.deletes"
  std::string status;   ///< for people
  bool approvable = false;
};

struct SweepCursor {
  std::string after;  ///< canonical id of the last difference that was dealt with
  uint64_t creates = 0, deletes = 0, reported = 0;
  bool approved = false;  ///< on the way through the approved deletes
  std::string rest;       ///< then: digest of those still to be started
};

/// The saved steps. An empty plan id = nothing was decided yet.
struct SweepSteps {
  std::string plan;
  std::optional<HeldDeletes> held;
  SweepCursor cursor;
  std::optional<std::string> approved_plan;  ///< what a person approved
  std::optional<std::string> status;         ///< of a finished sweep's report
};

/// Errors  kCorrupt.
Result<SweepSteps> read_sweep_steps(const engine::Attempt& attempt);
json::value to_json(const std::optional<HeldDeletes>& held);
json::object to_json(const SweepCursor& cursor);

}  // namespace twinstep::workflows
