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
  ClaimWatch(engine::Attempt& attempt, const LinkContext& context)
      : attempt_(attempt),
        call_{attempt.call().deadline, attempt.call().stop, this},
        clock_(context.clock),
        link_(context.link.name),
        hub_(hub_label(context.hub_config)),
        events_(context.events) {}
  ClaimWatch(const ClaimWatch&) = delete;
  ClaimWatch& operator=(const ClaimWatch&) = delete;

  /// The lock of the link, which has to hold as well from now on.
  void set_lock(std::unique_ptr<store::LinkLock> lock) { lock_ = std::move(lock); }
  bool locked() const { return lock_ != nullptr; }

  /// Not over with a stop: what was begun is put in order.
  bool holds() const override { return attempt_.owns() && (!lock_ || lock_->holds()); }
  bool leaving() const override;
  void job_not_complete(const azure::Job& job) override;
  void job_failed(const JobId& job) override { failed_job_ = job; }
  /// A history line for each job that was not complete when it was looked at.
  void tell(store::Finish& finish) const;

 protected:
  /// An event of this run or sweep.
  obs::Event about(std::string name) const;
  void emit(const obs::Event& event) const {
    if (events_) events_->emit(event);
  }
  bool tells() const { return events_ != nullptr; }
  /// The end of a claim whose job failed or was not done in time.
  store::Finish job_trouble(const Error& error);

  engine::Attempt& attempt_;
  const Call call_;  ///< the attempt's, guarded by this

 private:
  Clock& clock_;
  const std::string link_, hub_;
  obs::EventSink* const events_;  // null: nobody wants to know
  std::optional<JobId> failed_job_;
  std::unique_ptr<store::LinkLock> lock_;
  mutable std::optional<bool> left_;  // what leaving() found out
  std::map<std::string, int> looks_;
  std::map<std::string, std::string> not_complete_;  // a line for each job, not for each look
};

}  // namespace twinstep::workflows
