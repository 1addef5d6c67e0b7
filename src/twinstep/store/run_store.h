#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/store/workflow_store.h"

namespace twinstep::store {

/// What became of one device in a run.
struct DeviceOutcome {
  DeviceId device;
  std::string op;       ///< "create", "update", "delete", "disable", "adopt"; of a sweep also "orphan"
  std::string outcome;  ///< "done", "failed", "skipped"; of a sweep also "task" (a device task does it), "reported"
  std::string reason;   ///< for people
};

/// What a run keeps beside its workflow, gone with it: its plan, so that any replica goes on with it and a person can
/// look at it before approving, and what became of each device.
///
/// Threads, Blocking, Errors  as WorkflowStore.
class RunStore {
 public:
  explicit RunStore(Database& database) : database_(database) {}

  /// Replaces the run's plan by the text (UTF-8) that `pieces` gives to its sink, a bounded piece at a time. The old
  /// plan stays until all of the new one is kept.
  using TextSink = std::function<Status(std::string_view piece)>;
  Status put_plan(const WorkflowId& run, const std::function<Status(const TextSink&)>& pieces, const Call& call);
  /// Gives the plan's text in order. Errors  kNotFound "store.no-plan"; kUnavailable "store.plan-replaced" when a newer
  /// plan took its place meanwhile.
  Status read_plan(const WorkflowId& run, const TextSink& sink, const Call& call);

  /// Adds or replaces outcomes, one for each device.
  Status record(const WorkflowId& run, const std::vector<DeviceOutcome>& outcomes, const Call& call);
  /// In the order of device ids, after `after`; at most `limit` (1..1000). `outcome` empty = any.
  Result<std::vector<DeviceOutcome>> outcomes(const WorkflowId& run, std::string_view outcome, const DeviceId& after,
                                              int limit, const Call& call);
  /// How many devices of the run came to which outcome.
  struct Count {
    std::string op, outcome;
    uint64_t devices = 0;
  };
  Result<std::vector<Count>> counts(const WorkflowId& run, const Call& call);
  /// The runs that dealt with a device, in whatever spelling, newest first, for `explain`.
  struct Mention {
    WorkflowId run;
    DeviceOutcome outcome;
    SystemTime at;
  };
  Result<std::vector<Mention>> mentions(const DeviceId& device, int limit, const Call& call);

 private:
  Database& database_;
};

}  // namespace twinstep::store
