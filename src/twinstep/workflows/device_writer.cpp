#include "twinstep/workflows/device_writer.h"

#include <unordered_map>
#include <utility>

#include "twinstep/base/crash_point.h"

namespace twinstep::workflows {
namespace {

using plan::Op;

constexpr size_t kListed = 1000;       // failed and skipped devices that the report names
constexpr size_t kJournalBatch = 100;  // devices written to the journal in one transaction

/// True when every member of `wanted` stands in `have` with an equal value; null means absent.
bool contains_all(const json::object& have, const json::object& wanted) {
  for (const auto& member : wanted) {
    const json::value* there = have.if_contains(member.key());
    if (member.value().is_null()) {
      if (there && !there->is_null()) return false;
    } else if (const json::object* inner = member.value().if_object()) {
      if (!there || !there->is_object() || !contains_all(there->get_object(), *inner)) return false;
    } else if (!there || *there != member.value()) {
      return false;
    }
  }
  return true;
}

/// The link that a twin's tags name as owner; empty = none.
std::string owner_of(const json::object& tags) {
  const json::object* mark = json::object_at(tags, "twinstep");
  return mark ? std::string(json::string_or(*mark, "link")) : std::string();
}

bool ends_everything(const Error& error) {
  return error.kind == ErrorKind::kDenied || error.kind == ErrorKind::kCancelled;
}

constexpr const char* kDisproved = "the external list was not complete";
constexpr const char* kChanged = "the device changed since the plan was made; the next plan looks at it again";

}  // namespace

Result<azure::BulkEntry> bulk_entry(const plan::Change& change) {
  azure::BulkEntry entry;
  entry.id = change.id;
  if (change.op == Op::kDelete) {
    entry.mode = azure::BulkMode::kDeleteIfMatchEtag;
    entry.etag = change.etag;
  } else {
    TRY_ASSIGN(entry.tags, plan::tags_to_write(change));
  }
  return entry;
}

DeviceWriter::DeviceWriter(LinkContext& context, PlanId plan, uint64_t total, const ConfirmedAbsent& confirmed,
                           const Call& call)
    : context_(context), plan_(std::move(plan)), total_(total), confirmed_(confirmed), call_(call) {}

Status DeviceWriter::record(const plan::Change& change, const char* outcome, const std::string& reason) {
  crash_point("run.applying");
  std::scoped_lock lock(mutex_);
  context_.progress.counted("devices written", ++settled_, total_);
  journal_.push_back({change.id, std::string(plan::to_string(change.op)), outcome, reason});
  return journal_.size() < kJournalBatch ? Status{} : write_journal();
}

Status DeviceWriter::flush() {
  std::scoped_lock lock(mutex_);
  return journal_.empty() ? Status{} : write_journal();
}

Status DeviceWriter::write_journal() {
  const auto entries = std::exchange(journal_, {});
  return context_.watch ? context_.watch->record(entries) : context_.state.write_journal(plan_, entries);
}

Status DeviceWriter::done(const plan::Change& change) {
  {
    std::scoped_lock lock(mutex_);
    ++report_.rows[change.op].done;
  }
  return record(change, "done", "");
}

Status DeviceWriter::failed(const plan::Change& change, std::string reason) {
  {
    std::scoped_lock lock(mutex_);
    ++report_.rows[change.op].failed;
    if (report_.failed.size() < kListed) report_.failed.push_back({change.id, change.op, reason});
  }
  return record(change, "failed", reason);
}

Status DeviceWriter::skipped(const plan::Change& change, std::string reason) {
  {
    std::scoped_lock lock(mutex_);
    ++report_.rows[change.op].skipped;
    if (report_.skipped.size() < kListed) report_.skipped.push_back({change.id, change.op, reason});
  }
  return record(change, "skipped", reason);
}

/// An outcome is done (empty text) or skipped (the reason); an error is the device's failure or the end of all.
Status DeviceWriter::settle(const plan::Change& change, Result<std::string> outcome) {
  if (outcome) return outcome->empty() ? done(change) : skipped(change, std::move(*outcome));
  if (ends_everything(outcome.error())) return fail(std::move(outcome).error());
  return failed(change, std::move(outcome).error().what);
}

Status DeviceWriter::single(const plan::Change& change) {
  if (call_.stop.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
  return settle(change, make(change));
}

Result<std::string> DeviceWriter::make(const plan::Change& change) {
  switch (change.op) {
    case Op::kCreate:
      return create(change);
    case Op::kDelete:
      return remove(change);
    case Op::kAdopt:
      return write_tags(change);
    case Op::kDisable: {
      TRY_ASSIGN(std::string why_not, why_not_delete(change));
      if (!why_not.empty()) return why_not;
      return set_enabled(change, false);
    }
    case Op::kUpdate:
      break;
  }
  if (change.enable) {
    TRY_ASSIGN(std::string skipped, set_enabled(change, true));
    if (!skipped.empty() || change.tags == "{}") return skipped;
  }
  return write_tags(change);
}

Result<std::string> DeviceWriter::create(const plan::Change& change) {
  TRY_ASSIGN(const json::object tags, plan::tags_to_write(change));
  auto made = context_.hub.create_with_tags(change.id, tags, call_);
  if (made) return std::string();
  if (ends_everything(made.error())) return fail(std::move(made).error());
  // It may exist from before a crash or a lost answer: then it is as wanted. Somebody else's device is left alone.
  auto so = already_so(change);
  if (so && *so) return std::string();
  if (so && made.error().kind == ErrorKind::kConflict)
    return std::string("a device with this id appeared in the hub meanwhile; the next plan looks at it");
  return fail(std::move(made).error());
}

Result<std::string> DeviceWriter::remove(const plan::Change& change) {
  TRY_ASSIGN(std::string why_not, why_not_delete(change));
  if (!why_not.empty()) return why_not;
  auto gone = context_.hub.delete_device(change.id, change.etag, call_);
  if (gone || gone.error().kind == ErrorKind::kNotFound) return std::string();
  if (gone.error().kind == ErrorKind::kConflict) return std::string(kChanged);
  return fail(std::move(gone).error());
}

Result<std::string> DeviceWriter::write_tags(const plan::Change& change) {
  TRY_ASSIGN(const json::object tags, plan::tags_to_write(change));
  auto patched = context_.hub.patch_tags(change.id, tags, change.twin_etag, call_);
  if (patched) return std::string();
  if (patched.error().kind == ErrorKind::kNotFound) return std::string("the device is gone from the hub");
  if (patched.error().kind != ErrorKind::kConflict) return fail(std::move(patched).error());
  // The twin moved, perhaps by tags that are not ours. The patch touches mapped tags only, so it may be repeated on the
  // fresh twin while the owner is still the one that the plan saw.
  TRY_ASSIGN(const azure::Twin twin, context_.hub.get_twin(change.id, call_));
  if (contains_all(twin.tags, tags)) return std::string();
  const std::string owner = owner_of(twin.tags);
  if (!owner.empty() && owner != context_.link.name) return std::string(kChanged);
  auto again = context_.hub.patch_tags(change.id, tags, twin.etag, call_);
  if (again) return std::string();
  if (again.error().kind == ErrorKind::kConflict) return std::string(kChanged);
  return fail(std::move(again).error());
}

Result<std::string> DeviceWriter::set_enabled(const plan::Change& change, bool enabled) {
  auto identity = context_.hub.get_device(change.id, call_);
  if (!identity) {
    if (identity.error().kind == ErrorKind::kNotFound) return std::string("the device is gone from the hub");
    return fail(std::move(identity).error());
  }
  if (identity->enabled == enabled) return std::string();
  if (!change.etag.empty() && identity->etag != change.etag) return std::string(kChanged);
  json::object document = std::move(identity->document);  // with the keys, so that they stay
  document["status"] = enabled ? "enabled" : "disabled";
  if (enabled)
    document["statusReason"] = nullptr;
  else
    document["statusReason"] = change.status_reason;
  auto written = context_.hub.update_device(document, identity->etag, call_);
  if (written) return std::string();
  if (written.error().kind == ErrorKind::kConflict) return std::string(kChanged);
  if (written.error().kind == ErrorKind::kNotFound) return std::string("the device is gone from the hub");
  return fail(std::move(written).error());
}

bool DeviceWriter::disproved() {
  std::scoped_lock lock(mutex_);
  return !report_.deletes_stopped.empty();
}

/// Empty: it may be deleted. A device that is there after all disproves the whole list, and ends the deleting.
Result<std::string> DeviceWriter::why_not_delete(const plan::Change& change) {
  if (disproved()) return std::string(kDisproved);
  if (context_.spared) {
    TRY_ASSIGN(std::string why, context_.spared(change.id, call_));
    if (!why.empty()) return why;
  }
  if (confirmed_.contains(change.id.value)) return std::string();
  TRY_ASSIGN(const bool absent, confirmed_absent(context_, change, call_));
  if (absent) return std::string();
  std::scoped_lock lock(mutex_);
  report_.deletes_stopped =
      fmt::format("{} is in {} although its list lacked it: the list was not complete, so nothing more is deleted",
                  change.id.value, context_.link.external);
  return std::string(kDisproved);
}

Result<bool> DeviceWriter::may_delete(const plan::Change& change) {
  auto why_not = why_not_delete(change);
  if (why_not && why_not->empty()) return true;
  TRY(settle(change, std::move(why_not)));
  return false;
}

Result<bool> DeviceWriter::already_so(const plan::Change& change) {
  if (change.op == Op::kDelete) {
    auto identity = context_.hub.get_device(change.id, call_);
    if (identity) return false;
    if (identity.error().kind == ErrorKind::kNotFound) return true;
    return fail(std::move(identity).error());
  }
  TRY_ASSIGN(const json::object tags, plan::tags_to_write(change));
  auto twin = context_.hub.get_twin(change.id, call_);
  if (twin) return contains_all(twin->tags, tags);
  if (twin.error().kind == ErrorKind::kNotFound) return false;
  return fail(std::move(twin).error());
}

Status DeviceWriter::bulk(const std::vector<plan::Change>& changes) {
  if (call_.stop.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
  std::vector<plan::Change> batch;
  std::vector<azure::BulkEntry> entries;
  for (const plan::Change& change : changes) {
    // Each was looked up before it came here, but perhaps before another one disproved the list.
    if (change.op == Op::kDelete && disproved()) {
      TRY(skipped(change, kDisproved));
      continue;
    }
    TRY_ASSIGN(azure::BulkEntry entry, bulk_entry(change));
    entries.push_back(std::move(entry));
    batch.push_back(change);
  }
  if (batch.empty()) return {};
  auto answer = context_.hub.bulk(entries, call_);
  if (!answer && ends_everything(answer.error())) return fail(std::move(answer).error());
  if (answer && answer->errors.empty() && answer->warnings.empty()) {
    for (const plan::Change& change : batch) TRY(done(change));
    return {};
  }
  // Something failed, or the answer is lost. The call is no transaction: look at every device instead of assuming.
  std::unordered_map<std::string, const azure::EntryProblem*> problems;
  if (answer)
    for (const auto& problem : answer->errors) problems[problem.id.value] = &problem;
  for (const plan::Change& change : batch) {
    if (call_.stop.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
    auto so = already_so(change);
    if (!so && ends_everything(so.error())) return fail(std::move(so).error());
    const auto problem = problems.find(change.id.value);
    if (so && *so) {
      TRY(done(change));
    } else if (problem != problems.end()) {
      const azure::EntryProblem& why = *problem->second;
      if (why.kind == ErrorKind::kConflict)
        TRY(skipped(change, fmt::format("{}: {}", why.code, kChanged)));
      else
        TRY(failed(change, fmt::format("{}: {}", why.code, why.text)));
    } else {
      TRY(single(change));  // not applied and not refused: on its own, with its own answer
    }
  }
  return {};
}

}  // namespace twinstep::workflows
