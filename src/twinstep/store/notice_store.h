#pragma once

#include <string>
#include <vector>

#include "twinstep/store/workflow_store.h"

namespace twinstep::store {

/// Something to be said in one channel.
struct NoticeDue {
  std::string key, channel;
  bool resolved = false;
  std::string body;
  int64_t tries = 0;  ///< this one included
  Millis age{0};      ///< of the condition
};

/// A condition that lasts, as far as the notices know.
struct NoticeOpen {
  std::string key;
  Millis age{0};
};

/// Tasks of one lane that are due and not begun.
struct Backlog {
  int64_t tasks = 0;
  Millis oldest{0};
};

/// The notices that are to be said, and the look at the store that finds their reasons.
///
/// Threads, Blocking, Errors  as WorkflowStore.
class NoticeStore {
 public:
  explicit NoticeStore(Database& database) : database_(database) {}

  /// The condition is there, for these channels. Known already: nothing, so that it is said once; over, but back before
  /// the next word: said anew.
  Status raise(std::string_view key, const std::vector<std::string>& channels, std::string_view body, const Call& call);
  /// It is over: to be said where it was said, or tried to be; forgotten elsewhere.
  Status resolve(std::string_view key, std::string_view body, const Call& call);
  /// What is due; it is ours for `lease`, of all replicas.
  Result<std::vector<NoticeDue>> claim(int max, Millis lease, const Call& call);
  /// Said: a condition that lasts is said again after `remind`, one that is over is forgotten.
  Status said(const NoticeDue& notice, Millis remind, const Call& call);
  /// Not said: again after `wait`.
  Status again(const NoticeDue& notice, Millis wait, const Call& call);
  /// Never to be said.
  Status drop(const NoticeDue& notice, const Call& call);
  Result<std::vector<NoticeOpen>> open(const Call& call);

  /// Blocked runs, the oldest first.
  Result<std::vector<Workflow>> blocked(int max, const Call& call);
  /// Costs as much as there are due tasks, however many wait for later.
  Result<Backlog> backlog(std::string_view lane, const Call& call);

 private:
  Database& database_;
};

}  // namespace twinstep::store
