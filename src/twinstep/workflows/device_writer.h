#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "twinstep/workflows/apply.h"

namespace twinstep::workflows {

/// A create or delete as an entry of a bulk call or a line of an import file. Errors  those of plan::tags_to_write().
Result<azure::BulkEntry> bulk_entry(const plan::Change& change);

/// Makes changes of single devices or batches, keeps the report and the journal: the state file's, or what a durable
/// run keeps.
///
/// Threads   single() and bulk() from several threads; flush() when they are done.
/// Errors    only what makes going on pointless: kDenied, kCancelled, the state file. Everything else is the device's.
class DeviceWriter {
 public:
  /// `confirmed`: devices that a look-up found absent outside a moment ago; outlives the writer.
  DeviceWriter(LinkContext& context, PlanId plan, uint64_t total, const ConfirmedAbsent& confirmed, const Call& call);

  Status single(const plan::Change& change);
  /// Creates and deletes in one call. Deletes are left out once one was disproved, as with single().
  Status bulk(const std::vector<plan::Change>& changes);
  /// Looks a device up in the external system before it is deleted or disabled. False: it stays, and is settled.
  Result<bool> may_delete(const plan::Change& change);

  Status done(const plan::Change& change);
  Status failed(const plan::Change& change, std::string reason);
  Status skipped(const plan::Change& change, std::string reason);

  /// After an unsure or refused create or delete: is the hub as the change wants it?
  Result<bool> already_so(const plan::Change& change);
  Status flush();  ///< writes the rest of the journal
  ApplyReport& report() { return report_; }

 private:
  Status settle(const plan::Change& change, Result<std::string> outcome);
  bool disproved();
  Result<std::string> why_not_delete(const plan::Change& change);
  Result<std::string> make(const plan::Change& change);
  Result<std::string> create(const plan::Change& change);
  Result<std::string> remove(const plan::Change& change);
  Result<std::string> write_tags(const plan::Change& change);
  Result<std::string> set_enabled(const plan::Change& change, bool enabled);
  Status record(const plan::Change& change, const char* outcome, const std::string& reason);
  Status write_journal();

  LinkContext& context_;
  const PlanId plan_;
  const uint64_t total_;
  const ConfirmedAbsent& confirmed_;
  const Call call_;
  std::mutex mutex_;  // guards all below
  ApplyReport report_;
  std::vector<store::JournalEntry> journal_;
  uint64_t settled_ = 0;
};

}  // namespace twinstep::workflows
