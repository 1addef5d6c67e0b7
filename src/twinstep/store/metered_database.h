#pragma once

#include <memory>

#include "twinstep/obs/metrics.h"
#include "twinstep/store/database.h"

namespace twinstep::store {

/// The same database, with the time of every transaction and its failures measured: `read`, `write` (as the caller
/// waits for it), and `commit`: from the body's end until it is on disk, which is what a slow disk shows in.
/// Errors of the body's own choice (a conflict, an unknown id) are none of the store.
/// `metrics` and `clock` outlive it.
std::unique_ptr<Database> with_metrics(std::unique_ptr<Database> inner, obs::Metrics& metrics, Clock& clock);

}  // namespace twinstep::store
