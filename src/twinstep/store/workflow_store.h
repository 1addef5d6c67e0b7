#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/ids.h"
#include "twinstep/obs/trace.h"
#include "twinstep/store/database.h"

/// The durable side of the engine: workflows as rows. What the words mean and what is promised at every crash point is
/// in docs/durability.md.
namespace twinstep::store {

using WorkflowId = Id<struct WorkflowIdTag>;  ///< 32 lower-case hex digits

enum class State { kQueued, kWaiting, kRunning, kBlocked, kDone, kFailed, kCancelled };
std::string_view to_string(State state);
std::optional<State> state_of(std::string_view text);

/// What becomes of a new workflow while another one of its key is active. Of a key one at most is queued; while there
/// is one, kQueue is kSkip.
enum class OnBusy { kMerge, kSkip, kQueue };

struct HistoryLine {
  SystemTime at;
  std::string what;  ///< "created", "ExternalDeviceCreated", ...
  std::string detail;
};

struct NewWorkflow {
  WorkflowId id;
  std::string kind;  ///< "run", "sweep", "device"
  std::string lane;
  std::string key;
  Millis due_in{0};
  std::string input;  ///< JSON, no secrets
  std::string status;
  std::string error_code;
  State state = State::kWaiting;  ///< kFailed records what can never work, kDone what was done already
  OnBusy on_busy = OnBusy::kMerge;
  /// For kMerge: the active one's input and ours to what it goes on with; empty = ours replaces it.
  std::function<std::string(std::string_view active)> merge;
  std::string seen_id;  ///< event id or idempotency key; known already = nothing is started; empty = none
  std::vector<HistoryLine> history{};  ///< of one that is started at once; `at` is set by the store
  /// The traceparent of who asks for it, so that what is done later, elsewhere, belongs to the same trace.
  std::string trace = obs::current_traceparent();
};

struct Started {
  enum What { kStarted, kMerged, kSkipped, kQueued, kKnown } what = kStarted;
  WorkflowId id;  ///< of the workflow started, joined, or answered for
};

struct Workflow {
  WorkflowId id;
  std::string kind, lane, key;
  State state = State::kWaiting;
  SystemTime due;
  int64_t generation = 0;
  int attempt = 0;
  Millis waited{0};
  int64_t epoch = 0;
  bool cancel_asked = false;
  std::string input, status, error_code;
  SystemTime created, updated;
  std::optional<SystemTime> ended;
  std::string trace;  ///< as NewWorkflow::trace, of the newest hint; empty = none
};

struct Claimed {
  Workflow workflow;
  std::map<std::string, std::string> steps;
};

struct LedgerEntry {
  std::string link, key;
  DeviceId device;
  bool present = false;
  std::string tags;  ///< JSON
};

/// How one claim ends.
struct Finish {
  State state = State::kDone;  ///< kWaiting: again after due_in; kBlocked: expires after due_in
  Millis due_in{0};
  int attempt = 0;
  Millis waited{0};
  std::string status, error_code;
  std::vector<HistoryLine> history;  ///< `at` is set by the store
  std::optional<LedgerEntry> ledger;
};

struct WorkflowFilter {
  std::string kind, lane, key, key_prefix;  ///< empty = any
  std::optional<State> state;
  std::string error_code;
  int limit = 100;    ///< 1..1000
  WorkflowId before;  ///< newest first; continue after this one
};

/// What one page of a change of many did.
struct Bulk {
  int64_t changed = 0;
  int64_t skipped = 0;  ///< could not be changed: ended meanwhile, or another one of its key is at work
  WorkflowId last;      ///< the filter's `before` for the next page; empty = this was the last one
};

struct Pause {
  std::string lane, reason;
  SystemTime since, until;
  int tries = 0;
  bool holds = true;  ///< by the store's clock; else it has ended, and the next one goes on counting its tries
};

/// Threads   any method, any thread.
/// Blocking  until the commit is on disk.
/// Errors    as Database; kConflict "store.lease-lost" from what a claim writes when the claim is not ours any more;
///           kNotFound "store.unknown" for an id that does not exist.
class WorkflowStore {
 public:
  explicit WorkflowStore(Database& database) : database_(database) {}

  /// To be called once by the daemon before it claims: on SQLite every running workflow is a dead process's and becomes
  /// due; due times move back with a clock that was set back. Gives how many were taken over.
  Result<int64_t> begin(const Call& call);

  /// All or nothing; those of one key in order. Gives what became of each, in the order given.
  Result<std::vector<Started>> start(const std::vector<NewWorkflow>& workflows, const Call& call);
  Result<std::vector<Started>> start(const std::vector<const NewWorkflow*>& workflows, const Call& call);

  /// Up to `max` due workflows of the lane, the longest due first, none while the lane is paused.
  Result<std::vector<Claimed>> claim(std::string_view lane, std::string_view owner, int max, Millis lease,
                                     const Call& call);
  /// Prolongs the leases of these workflows; gives those that are still ours.
  Result<std::vector<WorkflowId>> renew(std::string_view owner, const std::vector<WorkflowId>& ids, Millis lease,
                                        const Call& call);
  /// Saves a step's output, with a history line when `what` is not empty.
  Status save_step(const Workflow& claim, std::string_view name, std::string_view output, std::string_view what,
                   const Call& call);
  /// Saves a step and starts workflows, as start() does, together or not at all: a claim that hands work on in pages
  /// saves how far it is, and one that lost its lease hands on nothing.
  Result<std::vector<Started>> start_with_step(const Workflow& claim, std::string_view name, std::string_view output,
                                               const std::vector<NewWorkflow>& workflows, const Call& call);
  /// Gives the state that it has now: as asked, kWaiting when a newer hint was merged, kCancelled when a person asked.
  Result<State> finish(const Workflow& claim, const Finish& finish, const Call& call);
  /// Which of the owner's running workflows a person wants to end.
  Result<std::vector<WorkflowId>> asked_to_cancel(std::string_view owner, const Call& call);
  /// Says that this process is there, and counts those that said so within `ttl`, itself included; 1 where the store is
  /// not shared.
  Result<int> be_seen(std::string_view owner, Millis ttl, const Call& call);
  /// Says that it is there no more.
  Status leave(std::string_view owner, const Call& call);
  /// Makes workflows due whose leases ran out.
  Result<int64_t> rescue(const Call& call);
  /// Puts what has not ended of a key, or of all keys that begin with one that ends with a slash, into the lane: what
  /// was begun under another name of its hub or external system would be claimed by nobody. Gives how many.
  Result<int64_t> move_to_lane(std::string_view key, std::string_view lane, const Call& call);
  /// When the lane has something to do next, from now; empty = nothing waits.
  Result<std::optional<Millis>> next_due(std::string_view lane, const Call& call);

  Result<Workflow> find(const WorkflowId& id, const Call& call);
  Result<std::vector<Workflow>> list(const WorkflowFilter& filter, const Call& call);
  Result<std::vector<HistoryLine>> history(const WorkflowId& id, const Call& call);
  Result<std::map<std::string, std::string>> steps(const WorkflowId& id, const Call& call);
  /// Counts by state, of one kind, or of what the filter takes whatever its limit.
  Result<std::map<State, int64_t>> count(std::string_view kind, const Call& call);
  Result<std::map<State, int64_t>> count(const WorkflowFilter& filter, const Call& call);

  /// A waiting, queued or blocked one ends at once; a running one when its step returns. Ended ones: kConflict
  /// "store.ended".
  Status cancel(const WorkflowId& id, std::string_view why, const Call& call);
  /// Due now, counted tries forgotten: a waiting one, or one that failed or was cancelled unless another of its key is
  /// active (kConflict "store.busy-key").
  Status retry(const WorkflowId& id, const Call& call);
  /// Lets a blocked one go on; `step` is saved with its output first. kConflict "store.not-blocked", "store.expired".
  Status unblock(const WorkflowId& id, std::string_view step, std::string_view output, const Call& call);
  /// Cancels the blocked ones whose due time has passed: nobody approved them. Gives them as they ended.
  Result<std::vector<Workflow>> expire_blocked(const Call& call);

  /// cancel() and retry() of a page of what the filter takes, in one transaction. Without a state, the first takes what
  /// has not ended, the second what failed.
  Result<Bulk> cancel_all(WorkflowFilter filter, std::string_view why, const Call& call);
  Result<Bulk> retry_all(WorkflowFilter filter, const Call& call);
  /// Removes an ended one with its steps and history. kConflict "store.active".
  Status remove(const WorkflowId& id, const Call& call);
  /// Adds a history line: what somebody said about a workflow, without effect on it.
  Status note(const WorkflowId& id, std::string_view what, std::string_view detail, const Call& call);

  Result<std::optional<LedgerEntry>> ledger(std::string_view link, std::string_view key, const Call& call);
  /// For each key how the hub spelled the device, when the ledger says that it is outside; else an empty id.
  Result<std::vector<DeviceId>> made_outside(std::string_view link, const std::vector<std::string>& keys,
                                             const Call& call);
  /// How many devices of the link the ledger says to be outside.
  Result<int64_t> ledger_count(std::string_view link, const Call& call);

  /// Sets the link's next firing when there is none, the expression changed, or the one there is lies beyond `latest`
  /// (a clock was far ahead when it was set). Gives the one in force.
  Result<SystemTime> plan_schedule(std::string_view link, std::string_view cron, SystemTime next, SystemTime latest,
                                   const Call& call);
  /// The link's next firing, when there is one.
  Result<std::optional<SystemTime>> next_firing(std::string_view link, const Call& call);
  /// Forgets the schedules of all links but these.
  Status keep_schedules(const std::vector<std::string>& links, const Call& call);
  /// When `due` still is the next firing, sets `next` and starts the workflow: of many replicas one gets a value.
  Result<std::optional<Started>> fire_schedule(std::string_view link, SystemTime due, SystemTime next,
                                               const NewWorkflow& workflow, const Call& call);

  Status pause(std::string_view lane, Millis span, std::string_view reason, const Call& call);
  Status resume(std::string_view lane, const Call& call);
  Result<std::vector<Pause>> pauses(const Call& call);

  /// Writes something without meaning. Errors  what a write would meet now: a store that is full or read-only can take
  /// nothing, however well it reads.
  Status can_write(const Call& call);

  /// Removes ended workflows, known events and absent ledger entries that are older, and kept answers after their day.
  Result<int64_t> purge(Millis older_than, int most, const Call& call);

 private:
  Database& database_;
};

}  // namespace twinstep::store
