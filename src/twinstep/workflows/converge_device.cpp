#include <algorithm>

#include "twinstep/base/crash_point.h"
#include "twinstep/base/units.h"
#include "twinstep/workflows/device_task.h"

namespace twinstep::workflows {
namespace {

using providers::DeviceInput;
using store::Finish;

/// Of a try that failed because the tags are not there yet. The counters of the two policies are told apart by it.
constexpr std::string_view kTagsMissing = "device.tags-missing";
constexpr Millis kDeniedRest{60'000};
constexpr Millis kThrottledRest{5'000};
constexpr Millis kCallTime{120'000};  // one try: a hanging server must not keep the lane's hands for ever

/// How the history names what happens to a create or a delete.
struct Names {
  const char* done;
  const char* error;
  const char* failed;
};
constexpr Names kCreate{"ExternalDeviceCreated", "ExternalDeviceCreationError", "ExternalDeviceCreationFailed"};
constexpr Names kDelete{"ExternalDeviceDeleted", "ExternalDeviceDeletedError", "ExternalDeviceDeleteFailed"};

std::string list_of(const std::vector<providers::TagFault>& faults) {
  std::string out;
  for (const auto& fault : faults) out += (out.empty() ? "" : ", ") + fault.text;
  return out;
}

class Convergence {
 public:
  Convergence(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store, DeviceTaskInput input)
      : context_(context),
        attempt_(attempt),
        store_(store),
        input_(std::move(input)),
        key_(canonical_device_id(input_.device.value)),
        call_(attempt.call().sooner(context.clock.steady_now() + kCallTime)) {}

  Finish run(HintMemory& hints) {
    auto ledger = store_.ledger(context_.link.name, key_, call_);
    if (!ledger) return store_trouble(ledger.error());
    ledger_ = std::move(*ledger);
    // The one short cut: nobody has seen this device before, and the event carries all that a create needs.
    auto carried = hints.take(attempt_.workflow().id);
    if (carried && input_.what == DeviceHint::What::kCreated && first_hint_ever()) {
      const DeviceInput device{input_.device, std::move(carried->first), std::move(carried->second)};
      if (came_from_outside(device.tags)) return left_to_runs();
      if (context_.external.missing_for_create(device).empty()) return create(device);
    }
    auto twin = context_.hub.get_twin(input_.device, call_);
    if (twin) return present(*twin);
    const Names& names = input_.what == DeviceHint::What::kDeleted ? kDelete : kCreate;
    if (twin.error().kind != ErrorKind::kNotFound) return trouble(std::move(twin).error(), names);
    auto other = under_another_spelling();
    if (!other) return trouble(std::move(other).error(), names);
    return *other ? present(**other) : absent();
  }

 private:
  bool first_hint_ever() const {
    const store::Workflow& workflow = attempt_.workflow();
    return !ledger_ && workflow.epoch == 1 && workflow.generation == 0;
  }

  /// A device that this link's own runs made in the hub is outside by definition; a first synchronization makes so many
  /// events of them that looking each one up would keep the network server busy for hours.
  bool came_from_outside(const json::object& tags) const {
    const json::object* mark = json::object_at(tags, "twinstep");
    return context_.link.master == config::Master::kExternal && mark &&
           json::string_or(*mark, "link") == context_.link.name;
  }
  Finish left_to_runs() {
    return attempt_.done(fmt::format("came from {}: runs of the link keep it in step", context_.link.external));
  }

  /// The hub tells case apart and may hold one DevEUI in two spellings, above all while somebody changes from one to
  /// the other: outside both are one device, which stays as long as one of them does.
  Result<std::optional<azure::Twin>> under_another_spelling() {
    const auto changed = [](std::string text, char first, int by) {
      for (char& c : text)
        if (c >= first && c < first + 26) c = static_cast<char>(c + by);
      return text;
    };
    const std::string& asked = input_.device.value;
    std::vector<std::string> tried{asked};
    for (std::string spelling : {ledger_ ? ledger_->device.value : asked, key_, changed(key_, 'A', 'a' - 'A'),
                                 changed(asked, 'A', 'a' - 'A'), changed(asked, 'a', 'A' - 'a')}) {
      if (canonical_device_id(spelling) != key_ || std::find(tried.begin(), tried.end(), spelling) != tried.end())
        continue;
      auto twin = context_.hub.get_twin(DeviceId(spelling), call_);
      if (twin) return std::optional(std::move(*twin));
      if (twin.error().kind != ErrorKind::kNotFound) return fail(std::move(twin).error());
      tried.push_back(std::move(spelling));
    }
    return std::optional<azure::Twin>();
  }

  Finish present(const azure::Twin& twin) {
    if (twin.edge && !context_.link.include_edge) return attempt_.done("left alone: an Edge device");
    if (twin.auth != azure::AuthKind::kSas && !context_.link.include_certificates)
      return attempt_.done("left alone: a device with a certificate");
    if (came_from_outside(twin.tags)) return left_to_runs();
    const DeviceInput device{twin.id, twin.tags, twin.desired};
    const auto faults = context_.external.missing_for_create(device);
    if (faults.empty()) return create(device);
    if (input_.deleted)
      if (auto removed = remove_deleted_one(); !removed) return trouble(removed.error(), kDelete);
    if (std::none_of(faults.begin(), faults.end(), [](const auto& fault) { return fault.missing; })) {
      attempt_.note(kCreate.failed, list_of(faults));
      return attempt_.failed(fmt::format("cannot be created in {}: {}", context_.link.external, list_of(faults)),
                             "device.bad-tags");
    }
    return wait_for_tags(device, list_of(faults));
  }

  Finish wait_for_tags(const DeviceInput& device, const std::string& missing) {
    // A device that came from outside has no secret tags in the hub, and needs none: it is there already.
    const bool first = attempt_.workflow().error_code != kTagsMissing;
    if (first && context_.external.can_look_up(device)) {
      const auto found = context_.external.look_up(device, call_);
      if (found && canonical_device_id(found->id) == key_) {
        remember(device.id, device.tags, true);
        return attempt_.done(fmt::format("is in {} already", context_.link.external));
      }
    }
    attempt_.note("DeviceTwinCheckFail", missing);
    Error error{.kind = ErrorKind::kNotFound, .what = missing, .code = std::string(kTagsMissing)};
    auto again = attempt_.retry(context_.config.twin_check, error, fmt::format("waits for tags: {}", missing), first);
    if (again) return std::move(*again);
    attempt_.note("DeviceTwinCheckFailed", missing);
    return attempt_.failed(
        fmt::format("the twin's tags never became complete: {}. Complete them and retry this task", missing),
        std::string(kTagsMissing));
  }

  Finish create(const DeviceInput& device) {
    if (!attempt_.holds()) return uncounted(Millis{0}, "stopped");
    crash_point("task.before-remote");
    const auto made = context_.external.create(device, call_);
    crash_point("task.after-remote");
    if (!made) return trouble(made.error(), kCreate);
    if (auto removed = remove_earlier_one(device); !removed) return trouble(removed.error(), kCreate);
    remember(device.id, device.tags, true);
    const bool there = *made == providers::WriteOutcome::kAlreadyThere;
    attempt_.note(kCreate.done, there ? "was there already" : "");
    return attempt_.done(fmt::format("{} {}", there ? "is already in" : "created in", context_.link.external));
  }

  /// A device that was deleted and made again with another identity (EUI): what twinstep made for the first one would
  /// stay outside for ever. It is removed only when a look-up shows that it is a device of its own and bears our id.
  Status remove_earlier_one(const DeviceInput& now) {
    if (!ledger_ || !ledger_->present) return {};
    const auto tags = json::parse(ledger_->tags, "the ledger");
    if (!tags || !tags->is_object() || tags->get_object() == kept_tags(context_.external, now.tags)) return {};
    const DeviceInput before{input_.device, tags->get_object(), {}};
    if (!context_.external.can_look_up(before) || !context_.external.can_look_up(now)) return {};
    const auto old_one = context_.external.look_up(before, call_);
    if (!old_one) return old_one.error().kind == ErrorKind::kNotFound ? Status{} : Status(fail(old_one.error()));
    if (canonical_device_id(old_one->id) != key_) return {};
    TRY_ASSIGN(const auto new_one, context_.external.look_up(now, call_));
    if (new_one.item == old_one->item) return {};
    if (!attempt_.holds()) return fail(ErrorKind::kCancelled, "task.stopped", "stopped");
    TRY(context_.external.remove(before, call_));
    attempt_.note(kDelete.done, "the one made for an earlier device of this id");
    return {};
  }

  /// A device that was deleted, and made again with tags that do not suffice: what twinstep made for the first one is
  /// not that of the second one. Without this, the end would depend on when the events came.
  Status remove_deleted_one() {
    if (!ledger_ || !ledger_->present) return {};
    const auto tags = json::parse(ledger_->tags, "the ledger");
    if (!tags || !tags->is_object()) return {};
    const DeviceInput before{input_.device, tags->get_object(), {}};
    if (!context_.external.can_look_up(before)) return {};
    const auto found = context_.external.look_up(before, call_);
    if (!found && found.error().kind != ErrorKind::kNotFound) return fail(found.error());
    if (found && canonical_device_id(found->id) != key_) return {};
    if (found) {
      if (!attempt_.holds()) return fail(ErrorKind::kCancelled, "task.stopped", "stopped");
      TRY(context_.external.remove(before, call_));
      attempt_.note(kDelete.done, "the one made for an earlier device of this id");
    }
    remember(before.id, before.tags, false);
    return {};
  }

  Finish absent() {
    bool removed = false;
    std::string other;
    for (const json::object& tags : ways_to_find()) {
      const DeviceInput device{input_.device, tags, {}};
      if (context_.external.can_look_up(device)) {
        const auto found = context_.external.look_up(device, call_);
        if (!found && found.error().kind == ErrorKind::kNotFound) continue;
        if (!found && found.error().kind == ErrorKind::kConflict) {
          other = found.error().what;
          continue;
        }
        if (!found) return trouble(found.error(), kDelete);
        // Whoever bears these tags now under another id is not the device that was deleted.
        if (canonical_device_id(found->id) != key_) {
          other = fmt::format("{} has its tags there now", found->id);
          continue;
        }
      } else if (tags.empty()) {
        continue;  // nothing to find it by
      }
      if (!attempt_.holds()) return uncounted(Millis{0}, "stopped");
      crash_point("task.before-remote");
      const auto gone = context_.external.remove(device, call_);
      crash_point("task.after-remote");
      if (!gone) return trouble(gone.error(), kDelete);
      removed = removed || *gone == providers::WriteOutcome::kDone;
    }
    remember(input_.device, ways_to_find().front(), false);
    if (removed) {
      attempt_.note(kDelete.done, "");
      return attempt_.done(fmt::format("deleted from {}", context_.link.external));
    }
    if (!other.empty())
      return attempt_.done(fmt::format("not in the hub; left alone in {}: {}", context_.link.external, other));
    if (ledger_ && ledger_->present) attempt_.note(kDelete.done, "was gone already");
    return attempt_.done(fmt::format("neither in the hub nor in {}", context_.link.external));
  }

  /// The tags by which the device may be found outside: what twinstep remembers, then what the newest event said.
  std::vector<json::object> ways_to_find() const {
    std::vector<json::object> out;
    if (ledger_) {
      auto known = json::parse(ledger_->tags, "the ledger");
      if (known && known->is_object() && !known->get_object().empty()) out.push_back(known->get_object());
    }
    if (!input_.tags.empty() && (out.empty() || out.front() != input_.tags)) out.push_back(input_.tags);
    if (out.empty()) out.emplace_back();
    return out;
  }

  void remember(const DeviceId& device, const json::object& tags, bool present) {
    attempt_.remember({context_.link.name, key_, device, present, json::write(kept_tags(context_.external, tags))});
  }

  Finish store_trouble(const Error& error) {
    // The claim ends as soon as the store can be written again, which is when this is recorded at all.
    return uncounted(Millis{1'000}, error.what);
  }

  /// Again, without a try of a policy. Which policy the tries so far belong to is kept.
  Finish uncounted(Millis wait, std::string status) {
    Finish out = attempt_.again(wait, std::move(status));
    out.error_code = attempt_.workflow().error_code;
    return out;
  }

  /// What a failed call means for this task and for its lane.
  Finish trouble(Error error, const Names& names) {
    if (!attempt_.holds()) return uncounted(Millis{0}, "stopped");
    switch (error.kind) {
      case ErrorKind::kDenied: {
        const bool forbidden = error.remote_status == 403;
        if (forbidden && attempt_.others_got_through()) break;  // this device alone is refused
        attempt_.rest_lane(kDeniedRest, error.what, true);
        // What is forbidden may be this device's own affair: after the rest another one finds out first.
        return uncounted(forbidden ? kDeniedRest : Millis{0},
                         fmt::format("waits until credentials are accepted again: {}", error.what));
      }
      case ErrorKind::kThrottled: {
        const Millis rest = std::clamp(error.retry_after.value_or(kThrottledRest), Millis{1'000}, engine::kLongestTold);
        attempt_.rest_lane(rest, error.what, false);
        return uncounted(Millis{0}, fmt::format("waits because the remote asks to slow down: {}", error.what));
      }
      case ErrorKind::kInvalid:
      case ErrorKind::kConflict:
        attempt_.note(names.error, error.what);
        attempt_.note(names.failed, error.what);
        return attempt_.failed(error.what, error.code);
      case ErrorKind::kNotFound:
      case ErrorKind::kUnavailable:
      case ErrorKind::kTimeout:
      case ErrorKind::kCancelled:
      case ErrorKind::kCorrupt:
        break;
    }
    attempt_.note(names.error, error.what);
    const bool anew = attempt_.workflow().error_code == kTagsMissing;
    if (auto again = attempt_.retry(context_.config.external_calls, error, error.what, anew)) return std::move(*again);
    attempt_.note(names.failed, error.what);
    return attempt_.failed(fmt::format("given up after {} tries: {}", attempt_.workflow().attempt + 1, error.what),
                           error.code);
  }

  LinkContext& context_;
  engine::Attempt& attempt_;
  store::WorkflowStore& store_;
  const DeviceTaskInput input_;
  const std::string key_;
  const Call call_;
  std::optional<store::LedgerEntry> ledger_;
};

}  // namespace

Finish converge_device(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store, HintMemory& hints) {
  auto input = device_task_input(attempt.workflow().input);
  if (!input) return attempt.failed(input.error().what, input.error().code);
  return Convergence(context, attempt, store, std::move(*input)).run(hints);
}

}  // namespace twinstep::workflows
