#pragma once

#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "twinstep/store/workflow_store.h"

namespace twinstep::engine {

/// The claims that this process holds: renews their leases, and stops the work of those that it cannot be sure of any
/// more or that a person wants to end.
///
/// In a shared store a holder trusts itself until *sent + lease - margin* by its own steady clock, the margin being a
/// fifth: what it does not know to be renewed by then is stopped before it can end for the others.
///
/// Threads  any method, any thread; one of its own.
class ClaimBook {
 public:
  ClaimBook(store::WorkflowStore& store, bool shared, std::string owner, Millis lease, Clock& clock);
  ~ClaimBook();  ///< stop()

  /// Takes note of a claim that was asked for at `sent`; gives what stops its work.
  std::stop_source add(const store::Workflow& claim, SteadyTime sent);
  void remove(const store::Workflow& claim);
  /// False when the claim was lost: nothing more may be written for it, here or outside.
  bool holds(const store::Workflow& claim) const;

  void start();
  /// Ends the thread. What is held stays held.
  void stop();
  /// Asks everything that is held to stop, and what is still added too.
  void stop_all();

 private:
  /// A workflow that was lost and claimed anew here is another claim: the worker that still has the old one must not
  /// speak for it.
  using Key = std::pair<std::string, int64_t>;  // id, epoch
  static Key key_of(const store::Workflow& claim) { return {claim.id.value, claim.epoch}; }
  struct Held {
    std::stop_source stop;
    SteadyTime trusted_until;
    bool lost = false;
  };
  void work(std::stop_token stop);
  void renew(const std::stop_token& stop);
  void look_for_cancels(const std::stop_token& stop);
  void give_up_untrusted();

  store::WorkflowStore& store_;
  const bool shared_;
  const std::string owner_;
  const Millis lease_;
  Clock& clock_;
  mutable std::mutex mutex_;  // guards the two below
  std::map<Key, Held> held_;
  bool stopping_ = false;
  std::jthread thread_;
};

}  // namespace twinstep::engine
