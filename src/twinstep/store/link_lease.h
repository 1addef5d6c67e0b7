#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "twinstep/base/rng.h"
#include "twinstep/store/database.h"

namespace twinstep::store {

/// Who wants to work on a link.
struct LinkHolder {
  std::string owner;  ///< for what; a later taking for the same thing takes over at once
  std::string who;    ///< for people: "twinstep apply (process 17 on alpha)"
};

/// The right to work on a link, as a row of a store that processes share. It ends by the store's clock unless it is
/// renewed. Its holder trusts itself until *sent + lease - a fifth* by its own steady clock: a process that was paused
/// cannot know how late it is, but it can know the latest moment at which it was surely right.
///
/// Threads   any method, any thread.
/// Blocking, Errors  as Database.
class LinkLease final : public WriteGuard {
 public:
  /// All references outlive the lease. Errors  kConflict "link.busy": who has it and until when.
  static Result<std::unique_ptr<LinkLease>> take(Database& database, std::string_view link, const LinkHolder& holder,
                                                 Millis lease, Clock& clock, Rng& rng, const Call& call);

  bool holds() const override;
  /// Errors  kConflict "link.lost": somebody else took it when it had ended.
  Status renew(const Call& call);
  /// Lets the next one take it at once. Does nothing when it was lost.
  Status give_back(const Call& call);

 private:
  LinkLease(Database& database, std::string link, std::string token, Millis lease, Clock& clock, SteadyTime sent);
  void trust_from(SteadyTime sent);

  Database& database_;
  const std::string link_;
  const std::string token_;
  const Millis lease_;
  Clock& clock_;
  mutable std::mutex mutex_;  // guards the two below
  SteadyTime trusted_until_;
  bool lost_ = false;
};

}  // namespace twinstep::store
