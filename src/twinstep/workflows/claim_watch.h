#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "twinstep/engine/attempt.h"
#include "twinstep/workflows/link_context.h"

namespace twinstep::workflows {

/// What a claim of a run or sweep hears of the hub's jobs, and what keeps it from changing anything once it is not its
/// own any more. Jobs are left to the next claim of the same workflow, unless a person ends it.
class ClaimWatch : public RunWatch, public WriteGuard {
 public:
  /// All references outlive this.
  ClaimWatch(engine::Attempt& attempt, Clock& clock)
      : attempt_(attempt), call_{attempt.call().deadline, attempt.call().stop, this}, clock_(clock) {}
  ClaimWatch(const ClaimWatch&) = delete;
  ClaimWatch& operator=(const ClaimWatch&) = delete;

  /// The lock of the link, which has to hold as well from now on.
  void set_lock(std::unique_ptr<store::LinkLock> lock) { lock_ = std::move(lock); }
  bool locked() const { return lock_ != nullptr; }

  /// Not over with a stop: what was begun is put in order.
  bool holds() const override { return attempt_.owns() && (!lock_ || lock_->holds()); }
  bool leaving() const override;
  void job_not_complete(const azure::Job& job) override;
  /// A history line for each job that was not complete when it was looked at.
  void tell(store::Finish& finish) const;

 protected:
  engine::Attempt& attempt_;
  const Call call_;  ///< the attempt's, guarded by this

 private:
  Clock& clock_;
  std::unique_ptr<store::LinkLock> lock_;
  mutable std::optional<bool> left_;  // what leaving() found out
  std::map<std::string, int> looks_;
  std::map<std::string, std::string> not_complete_;  // a line for each job, not for each look
};

}  // namespace twinstep::workflows
