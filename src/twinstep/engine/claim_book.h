#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

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
  std::stop_source add(const store::WorkflowId& id, SteadyTime sent);
  void remove(const store::WorkflowId& id);
  /// False when the claim was lost: nothing more may be written for it.
  bool holds(const store::WorkflowId& id) const;

  void start();
  /// Ends the thread. What is held stays held.
  void stop();
  /// Asks everything that is held to stop.
  void stop_all();

 private:
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
  mutable std::mutex mutex_;  // guards held_
  std::condition_variable_any changed_;
  std::map<std::string, Held, std::less<>> held_;
  std::jthread thread_;
};

}  // namespace twinstep::engine
