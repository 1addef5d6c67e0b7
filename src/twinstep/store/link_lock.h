#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "twinstep/store/file_lock.h"
#include "twinstep/store/link_lease.h"

namespace twinstep::store {

/// Held while a link is planned, applied or synchronized, by a command or by a run. Where the store is one machine's,
/// a FileLock; where processes share it, a LinkLease that a thread of its own renews.
///
/// Threads   any method, any thread.
/// Blocking  the destructor: until it is given back, two seconds at most.
class LinkLock final : public WriteGuard {
 public:
  ~LinkLock() override;
  /// Of a FileLock always true.
  bool holds() const override;

 private:
  friend class LinkLocks;
  explicit LinkLock(FileLock file) : file_(std::move(file)) {}
  LinkLock(std::unique_ptr<LinkLease> lease, std::string link, Millis span, Clock& clock);
  void keep(const std::stop_token& stop, Millis every);

  std::optional<FileLock> file_;
  std::unique_ptr<LinkLease> lease_;
  const std::string link_;
  Clock* clock_ = nullptr;
  std::jthread keeper_;
};

/// Takes the locks of a process's links.
///
/// Threads  any.
class LinkLocks {
 public:
  /// `store` as in open_database(), of which `database` was made; `lease` counts where that is shared. All references
  /// outlive this and the locks.
  LinkLocks(Database& database, std::string store, Millis lease, Clock& clock, Rng& rng)
      : database_(database), store_(std::move(store)), lease_(lease), clock_(clock), rng_(rng) {}

  /// Errors  kConflict "link.busy", saying who has it where that is known; those of the store.
  Result<std::unique_ptr<LinkLock>> take(std::string_view link, const LinkHolder& holder, const Call& call);

 private:
  Database& database_;
  const std::string store_;
  const Millis lease_;
  Clock& clock_;
  Rng& rng_;
};

/// "WHAT (process 17 on alpha)", for LinkHolder::who.
std::string who_in_this_process(std::string_view what);

}  // namespace twinstep::store
