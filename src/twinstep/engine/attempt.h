#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "twinstep/base/clock.h"
#include "twinstep/base/rng.h"
#include "twinstep/config/config.h"
#include "twinstep/store/workflow_store.h"

/// Who works on the workflows of the store: lanes of threads, leases, retry policies. docs/durability.md says what is
/// promised; the business rules are in workflows/.
namespace twinstep::engine {

/// A remote's Retry-After is obeyed up to here: a senseless one must neither use up a policy nor rest a lane for days.
constexpr Millis kLongestTold{3'600'000};

/// One claim of a workflow, as the business rules see it. The rules run from the top on every claim, skip what saved()
/// shows to be done, and return how the claim ends.
///
/// Threads  one at a time, that of the lane.
class Attempt final : public WriteGuard {
 public:
  /// `holds` says whether the claim surely is ours; empty = always.
  Attempt(store::WorkflowStore& store, store::Claimed claimed, Call call, Rng& rng, std::function<bool()> holds = {})
      : store_(store), claimed_(std::move(claimed)), call_(std::move(call)), rng_(rng), holds_(std::move(holds)) {
    call_.guard = this;
  }
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  const store::Workflow& workflow() const { return claimed_.workflow; }
  /// Its stop token fires when the daemon stops and when the lease is lost: whatever is returned then is not recorded,
  /// another claim begins from the saved steps. Its guard is holds().
  const Call& call() const { return call_; }
  /// True while nobody else can be at work on it. To be asked right before something is changed outside: a process that
  /// was paused past its lease goes on where it was, before anything can stop it.
  bool holds() const override { return !call_.stop.stop_requested() && owns(); }
  /// The same for what is put in order after a stop.
  bool owns() const { return !holds_ || holds_(); }
  Rng& rng() { return rng_; }
  /// Does a person want the workflow to end, as the store knows it now? The stop token fires then too. False when the
  /// store does not answer.
  bool cancel_asked(const Call& call) const;

  /// The output of a step that was saved, by this claim or an earlier one. Null = not yet. Good until the next save().
  const std::string* saved(std::string_view step) const;
  /// Saves a step, also over its earlier output (a cursor). `what` makes a history line as well.
  /// Errors  kConflict "store.lease-lost": stop working at once; those of Database.
  Status save(std::string_view step, std::string output, std::string_view what = {});

  /// Has another workflow of the lane got through since this one was refused (rest_lane with an alarm)? Then it is not
  /// the lane that is refused. Known to the lane, of its own process.
  bool others_got_through() const { return others_got_through_; }
  void others_got_through(bool so) { others_got_through_ = so; }

  /// A history line, written together with the end of the claim.
  void note(std::string what, std::string detail = {});
  /// A ledger entry, likewise.
  void remember(store::LedgerEntry entry) { ledger_ = std::move(entry); }
  /// The lane rests after this claim, because every workflow of it would meet the same refusal: for `span`, doubling
  /// while the first one after each rest meets it again. `alarm`: a person has to do something about it.
  void rest_lane(Millis span, std::string reason, bool alarm) { rest_ = Rest{span, std::move(reason), alarm}; }

  // How the claim ends. The rules return what one of these gives.
  store::Finish done(std::string status);
  store::Finish failed(std::string status, std::string code);
  store::Finish cancelled(std::string status);
  /// Until a person lets it go on (WorkflowStore::unblock), or for `expires`.
  store::Finish blocked(std::string status, std::string code, Millis expires);
  /// Again after `wait`, not counted as a try.
  store::Finish again(Millis wait, std::string status);
  /// A failed try that counts: again after the policy's wait (doubling from `first` to `cap`, 10 % jitter) or the
  /// remote's Retry-After. Empty when the policy is used up: count, or sum of the waits asked for. Wall time plays no
  /// part, so a jump of the clock or a night with the daemon off is nobody's failure. `anew`: the tries so far were
  /// those of another policy, count from the beginning.
  std::optional<store::Finish> retry(const config::RetrySettings& policy, const Error& error, std::string status,
                                     bool anew = false);

  struct Rest {
    Millis span{0};
    std::string reason;
    bool alarm = true;
  };
  const std::optional<Rest>& rest() const { return rest_; }

 private:
  store::Finish end(store::State state, std::string status, std::string code = {});

  store::WorkflowStore& store_;
  store::Claimed claimed_;
  Call call_;
  Rng& rng_;
  const std::function<bool()> holds_;
  std::vector<store::HistoryLine> history_;
  std::optional<store::LedgerEntry> ledger_;
  std::optional<Rest> rest_;
  bool others_got_through_ = false;
};

/// What is done for the workflows of a lane. A thrown exception counts as an attempt that failed for a bug: the
/// workflow is tried again an hour later and the exception's text is its status.
using Work = std::function<store::Finish(Attempt&)>;

}  // namespace twinstep::engine
