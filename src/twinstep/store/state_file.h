#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/ids.h"
#include "twinstep/plan/guard.h"
#include "twinstep/store/database.h"

namespace twinstep::store {

enum class PlanState { kMade, kApplying, kUsed };

struct PlanRecord {
  PlanId id;
  std::string link;
  std::string digest;
  PlanState state = PlanState::kMade;
  SystemTime created;
  SystemTime expires;
};

/// A device that an apply has dealt with.
struct JournalEntry {
  DeviceId device;
  std::string op;
  std::string outcome;  ///< "done", "failed", "skipped"
  std::string reason;
};

/// A blob container made for one job of a hub; it must be removed, also by the next run after a crash.
struct JobRecord {
  std::string container;
  std::string link;
  PlanId plan;  ///< empty for an export
  bool import = false;
  std::string blob;
  JobId job;  ///< empty while the hub's answer is not known
  SystemTime created;
};

/// What is remembered between runs: the last good run of each link, plans made and used, the journal of an
/// apply in progress, containers that still exist.
///
/// Threads   any method, any thread.
/// Blocking  every write is on disk when the call returns.
/// Errors    as Database.
class StateFile {
 public:
  /// `store` as in open_database(), or a bare path.
  static Result<std::unique_ptr<StateFile>> open(const std::string& store, Clock& clock);
  /// `database` outlives this.
  explicit StateFile(Database& database) : database_(database) {}
  Database& database() { return database_; }

  /// Where all this is kept, for store::LinkLocks.
  Database& database() const { return database_; }

  Result<std::optional<plan::LastRun>> last_run(std::string_view link, const Call& call = {});
  Status remember_run(std::string_view link, const plan::LastRun& run);

  Status add_plan(const PlanRecord& plan);
  Result<std::optional<PlanRecord>> find_plan(const PlanId& id);
  /// Records the state; a plan that is not known yet is added (it was made on another machine).
  Status set_plan_state(const PlanRecord& plan, PlanState state);

  Status write_journal(const PlanId& plan, const std::vector<JournalEntry>& entries);
  /// How many devices of the plan were recorded with that outcome.
  Result<uint64_t> count_journal(const PlanId& plan, std::string_view outcome);
  Status clear_journal(const PlanId& plan);

  Status put_job(const JobRecord& job);
  Status remove_job(std::string_view container);
  Result<std::vector<JobRecord>> jobs(std::string_view link);

 private:
  Status change(std::string_view sql, std::initializer_list<Value> values);

  std::unique_ptr<Database> owned_;  // when open() made it
  Database& database_;
};

}  // namespace twinstep::store
