#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "twinstep/engine/attempt.h"

namespace twinstep::engine {

/// One remote in one direction: its workflows, its threads. A slow remote fills its own lane only.
struct LaneOptions {
  std::string name;  ///< as in store::NewWorkflow::lane: "external/thingpark", "run/contoso"
  int threads = 2;
  Work work;
};

/// A lane begins to rest, or works again.
struct LaneRest {
  std::string lane;
  bool rests = true;   ///< false: it works again
  bool alarm = false;  ///< a person has to do something about it
  std::string reason;
  Millis span{0};
};

struct EngineOptions {
  std::string owner;     ///< of the claims; another one in every process and every start
  Millis lease{60'000};  ///< how long a claim holds without being renewed; only in a store that is shared
  Millis poll{30'000};   ///< a lane looks for due work at least so often; hints make it look at once
  /// Told how many processes share the store, before anything is claimed and whenever that changes; from the engine's
  /// own threads. Where the store is not shared it is told 1.
  std::function<void(int replicas)> on_replicas{};
  /// Told how each claim ended, once that is on disk, from the lanes' own threads; `state` is what became of the
  /// workflow: Finish::state, unless a hint or a person came between. Told too of a blocked one that nobody approved in
  /// time. Feeds events and figures, so it must not block.
  std::function<void(const store::Workflow& claim, const store::Finish& finish, store::State state)> on_recorded{};
  /// Likewise, when a lane begins to rest and when it works again.
  std::function<void(const LaneRest&)> on_rest{};
  /// Told how long a claim was worked on and how that ended, before it is recorded; likewise.
  std::function<void(const store::Workflow& claim, const store::Finish& finish, std::chrono::nanoseconds took)>
      on_worked{};
  obs::Tracer* tracer = nullptr;          ///< each claim becomes a span of the trace that its workflow was started in
  Millis history{30ll * 24 * 3'600'000};  ///< ended workflows are removed after that
};

/// How a lane stands, for readiness and for people.
struct LaneState {
  std::string name;
  int threads = 0;
  int busy = 0;
  std::string trouble;  ///< why it cannot look for work (the store is away); empty = nothing
};

/// Claims due workflows and has them worked on; renews their leases, takes over those of the dead, expires what was not
/// approved in time and removes old history.
///
/// Threads   any method, any thread. For each lane one that claims and `threads` that work; one that renews leases; one
///           that keeps house.
/// Blocking  start() and stop() only.
class Engine {
 public:
  /// All references outlive the engine. The database's listener belongs to it from now on.
  Engine(store::Database& database, EngineOptions options, Clock& clock, Rng& rng);
  ~Engine();  ///< stop()
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Before start() only.
  void add_lane(LaneOptions lane);
  /// Takes over what a dead process of this machine left and begins to work. Errors  those of the store.
  Status start(const Call& call);
  /// Stops claiming, asks every attempt to stop, waits for them and gives back what is not ended. Safe to call twice.
  void stop();

  store::WorkflowStore& store();
  std::vector<LaneState> lanes() const;
  /// How many attempts have ended since start(), of all lanes.
  uint64_t attempts() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::engine
