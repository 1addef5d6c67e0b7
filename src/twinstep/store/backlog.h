#pragma once

#include "twinstep/store/workflow_store.h"

namespace twinstep::store {

/// What of one lane has not ended, and what failed.
struct LaneCount {
  std::string lane;
  State state = State::kWaiting;
  int64_t count = 0;
  Millis overdue{0};  ///< kWaiting: how long the one that was due first has been due
};

/// Counts by lane for the states queued, waiting, running, blocked and failed, each from an index that holds no other
/// rows. A million waiting ones take a tenth of a second: not for the way of a request.
/// Errors  as Database.
Result<std::vector<LaneCount>> count_lanes(Database& database, const Call& call);

}  // namespace twinstep::store
