#pragma once

#include <map>
#include <string>
#include <vector>

#include "twinstep/workflows/planning.h"

namespace twinstep::workflows {

enum class Method { kSingle, kBulk, kImportJob };
std::string_view to_string(Method method);

/// How creates and deletes go out, and what it costs, told before anything is done.
struct Estimate {
  Method method = Method::kSingle;
  uint64_t devices = 0;  ///< all changes
  uint64_t calls = 0;    ///< HTTP calls of the hub
  Millis time{0};        ///< at this tier and these units
};
/// `counts` are those of the changes that will be made. An import job is chosen from job_threshold creates and deletes
/// on when there is storage; otherwise bulk calls of 100, or single calls for a few.
/// Source  azure.md 1.12 for the rates.
Estimate estimate(const LinkContext& context, const plan::Counts& counts);

struct DeviceProblem {
  DeviceId id;
  plan::Op op = plan::Op::kCreate;
  std::string reason;
};

/// What was done, per kind of change.
struct ApplyReport {
  struct Row {
    uint64_t done = 0;
    uint64_t failed = 0;
    uint64_t skipped = 0;  ///< left alone because the device changed meanwhile, or a delete could not be confirmed
  };
  std::map<plan::Op, Row> rows;
  uint64_t done_before = 0;            ///< by an interrupted apply of the same plan
  std::vector<DeviceProblem> failed;   ///< the first 1,000
  std::vector<DeviceProblem> skipped;  ///< the first 1,000
  std::string deletes_stopped;         ///< why deleting ended early; empty = it did not
  bool interrupted = false;            ///< stopped by the user; the next run goes on

  uint64_t done_count() const;
  uint64_t failed_count() const;
  uint64_t skipped_count() const;
};

/// Gives the changes to make, in canonical id order; may be called again.
using ChangeSource = std::function<Status(const plan::ChangeSink&)>;

/// Makes the changes. Every remote write is idempotent or carries an ETag, so that running it again after a crash is
/// safe; each device is written to the journal of `plan` after the hub has answered.
///
/// Updates and adopts are merge patches of the tags with the twin's ETag: nothing else of the twin can change. Disables
/// keep the keys (read, change, write back with ETag). Deletes carry the identity's ETag and are confirmed by a look-up
/// in the external system where it has one, unless they are in `confirmed`.
///
/// Blocking  until all is done; after call.stop at the next safe point, with `interrupted` set.
/// Errors    only what ends the whole apply: kDenied, an unreachable hub, a failed job, the state file. A device's own
///           failure is in the report.
Result<ApplyReport> apply_changes(LinkContext& context, const PlanId& plan, const plan::Counts& counts,
                                  const ChangeSource& changes, const ConfirmedAbsent& confirmed, const Call& call);

}  // namespace twinstep::workflows
