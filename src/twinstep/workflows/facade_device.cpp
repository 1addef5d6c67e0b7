#include "twinstep/workflows/facade_device.h"

#include <algorithm>

#include "twinstep/base/crash_point.h"
#include "twinstep/base/units.h"
#include "twinstep/json/canonical.h"
#include "twinstep/plan/rules.h"
#include "twinstep/plan/tag_text.h"
#include "twinstep/workflows/device_task.h"
#include "twinstep/workflows/secret_tags.h"

namespace twinstep::workflows {
namespace {

constexpr std::string_view kMark = "twinstep";
constexpr std::string_view kLane = "facade";
constexpr Millis kRecordTime{10'000};
constexpr int kLooks = 4;            // at a device that somebody else changes meanwhile
constexpr Millis kLookAfter{5'000};  // kept back from the time for a create, to look when its answer is lost
constexpr std::string_view kMade = "created";
constexpr std::string_view kGone = "deleted";
constexpr std::string_view kTouched = "changed";

/// What a twin says about who owns the device.
struct Owner {
  bool marked = false;
  std::string link;  // empty: none, or a mark that names none
};

Owner owner_of(const json::object& tags) {
  const json::value* mark = tags.if_contains(kMark);
  if (!mark) return {};
  const json::object* o = mark->if_object();
  return {true, o ? std::string(json::string_or(*o, "link")) : std::string()};
}

bool is_ours(const config::Link& link, const json::object& tags) {
  const Owner owner = owner_of(tags);
  if (owner.marked) return owner.link == link.name || link.scope == config::Scope::kWholeHub;
  return tags.contains("ref") || link.scope == config::Scope::kWholeHub;
}

json::object without_mark(json::object tags) {
  tags.erase(kMark);
  return tags;
}

json::object marked(const config::Link& link, json::object tags) {
  tags[kMark] = json::object{{"link", link.name}};
  return tags;
}

/// The merge patch that makes `have` equal to `want`.
json::object merge_patch(const json::object& have, const json::object& want) {
  json::object out;
  for (const auto& member : have)
    if (!want.contains(member.key())) out[member.key()] = nullptr;
  for (const auto& member : want) {
    const json::value* there = have.if_contains(member.key());
    if (there && json::canonical(*there) == json::canonical(member.value())) continue;
    if (there && there->is_object() && member.value().is_object())
      out[member.key()] = merge_patch(there->get_object(), member.value().get_object());
    else
      out[member.key()] = member.value();
  }
  return out;
}

bool holds_null(const json::value& value) {
  if (value.is_null()) return true;
  if (const json::array* items = value.if_array()) return std::any_of(items->begin(), items->end(), holds_null);
  const json::object* members = value.if_object();
  return members &&
         std::any_of(members->begin(), members->end(), [](const auto& member) { return holds_null(member.value()); });
}

FacadeDevice seen(const FacadeTarget& at, const azure::Twin& twin) {
  return {twin.enabled, twin.status_reason, owner_of(twin.tags).link,
          shown_tags(without_mark(twin.tags), at.external.known_tags())};
}

FacadeDevice asked(const FacadeTarget& at, const json::object& tags) {
  return {true, {}, at.link.name, shown_tags(tags, at.external.known_tags())};
}

bool same_tags(const azure::Twin& twin, const json::object& tags) {
  return json::canonical(without_mark(twin.tags)) == json::canonical(tags);
}

/// Of the devices that the link leaves alone; empty = it is none of them.
std::string why_excluded(const FacadeTarget& at, const azure::Twin& twin) {
  if (twin.edge && !at.link.include_edge) return "it is an Edge device, which the link leaves alone";
  const bool certificate =
      twin.auth == azure::AuthKind::kSelfSigned || twin.auth == azure::AuthKind::kCertificateAuthority;
  if (certificate && !at.link.include_certificates) return "it has a certificate, so the link leaves it alone";
  return {};
}

std::string why_not_ours(const FacadeTarget& at, const json::object& tags) {
  const Owner owner = owner_of(tags);
  if (!owner.marked) return fmt::format("no link owns it, so {} may not delete it", at.link.name);
  if (owner.link.empty()) return "its mark (tags.twinstep) names no link";
  return fmt::format("it belongs to the link {}", owner.link);
}

/// Disabled by a DELETE, or by a run because the external system lacked it: to be had back.
bool went_softly(const azure::Twin& twin) {
  return !twin.enabled && (twin.status_reason == kSoftDeleted || twin.status_reason.starts_with(plan::kAbsentReason));
}

/// The hub may have done it all the same.
bool is_unsure(const Error& error) {
  return (error.kind == ErrorKind::kTimeout || error.kind == ErrorKind::kUnavailable ||
          error.kind == ErrorKind::kCorrupt) &&
         error.code != "http.no-connection";
}

Error changing(const DeviceId& id) {
  return {.kind = ErrorKind::kConflict,
          .what = fmt::format("device '{}' is changed by somebody else at the same time; ask again", id.value),
          .code = "facade.changing"};
}

bool is_dev_eui(std::string_view canonical) {
  return canonical.size() == 16 && canonical.find_first_not_of("0123456789ABCDEF") == std::string_view::npos;
}

/// What the façade recorded last of a device.
struct Newest {
  DeviceId device;  // as it was spelled
  DeviceHint::What what;
  Millis age;
};

Result<std::optional<Newest>> newest_record(store::WorkflowStore& store, const config::Link& link, const DeviceId& id,
                                            Clock& clock, const Call& call) {
  store::WorkflowFilter filter;
  filter.key = device_key(link.name, id);
  filter.lane = kLane;
  filter.limit = 1;
  TRY_ASSIGN(const auto tasks, store.list(filter, call));
  if (tasks.empty()) return std::optional<Newest>();
  TRY_ASSIGN(const DeviceTaskInput input, device_task_input(tasks.front().input));
  const auto age = std::chrono::duration_cast<Millis>(clock.system_now() - tasks.front().created);
  return Newest{input.device, input.what, std::max(Millis{0}, age)};
}

}  // namespace

std::string why_tags_unfit(const json::object& tags, std::string_view link) {
  if (tags.contains(kMark)) return "the tag 'twinstep' is reserved: it says which link owns the device";
  if (std::any_of(tags.begin(), tags.end(), [](const auto& member) { return holds_null(member.value()); }))
    return "the tags hold null, which IoT Hub takes for \"remove this tag\" and cannot keep; leave the tag out";
  return plan::why_tags_refused(json::canonical(tags), link);
}

Result<std::string> why_spared(store::WorkflowStore& store, const config::Link& link, const DeviceId& id, Millis grace,
                               Clock& clock, const Call& call) {
  TRY_ASSIGN(const auto newest, newest_record(store, link, id, clock, call));
  if (!newest || newest->what != DeviceHint::What::kCreated || newest->age >= grace) return std::string();
  return fmt::format("a caller of the facade asked for it {} ago, and the list may be older; it is spared for {}",
                     format_duration(newest->age), format_duration(grace));
}

Result<KeyedLocks::Held> FacadeDevices::hold(const FacadeTarget& at, const std::vector<DeviceId>& ids,
                                             const Call& call) {
  std::vector<std::string> keys;
  keys.reserve(ids.size());
  for (const DeviceId& id : ids) keys.push_back(at.hub.host() + "/" + canonical_device_id(id.value));
  return locks_.take(std::move(keys), call);
}

Status FacadeDevices::ready(const FacadeCall& call) {
  if (!store_failed_) return {};
  TRY(store_.can_write(call.call));
  store_failed_ = false;
  return {};
}

Status FacadeDevices::record(const FacadeTarget& at, const std::vector<Record>& records, const FacadeCall& call) {
  if (records.empty()) return {};
  std::vector<store::NewWorkflow> rows;
  rows.reserve(records.size());
  for (const Record& one : records) {
    store::NewWorkflow& row = rows.emplace_back();
    row.id = store::WorkflowId(rng_.hex_id());
    row.kind = "device";
    row.lane = kLane;
    row.key = device_key(at.link.name, one.id);
    json::object input{{"link", at.link.name}, {"device", one.id.value}, {"what", one.what}, {"source", call.by}};
    if (json::object tags = kept_tags(at.external, one.tags); !tags.empty()) input["tags"] = std::move(tags);
    row.input = json::write(input);
    row.state = store::State::kDone;
    row.status = fmt::format("{} {}", one.event, call.by);
    row.history = {{{}, std::string(one.event), one.note.empty() ? call.by : call.by + "; " + one.note}};
  }
  // What was done must be recorded, however little of the call's time is left.
  const auto started = queue_.start(rows, {clock_.steady_now() + kRecordTime, {}});
  store_failed_ = !started;
  if (!started)
    return fail(
        ErrorKind::kUnavailable, "store.away",
        fmt::format("the hub did what was asked, but it could not be recorded: {}; ask again", started.error().what));
  if (on_recorded_)
    for (const store::NewWorkflow& row : rows) on_recorded_(row);
  return {};
}

Result<FacadeOutcome> FacadeDevices::settle(const FacadeTarget& at, Result<Done> done, const FacadeCall& call) {
  if (!done) return fail(std::move(done).error());
  TRY(record(at, done->records, call));
  return std::move(done->outcome);
}

Result<FacadeOutcome> FacadeDevices::create(const FacadeTarget& at, const DeviceId& id, const json::object& tags,
                                            const FacadeCall& call) {
  TRY_ASSIGN(const auto held, hold(at, {id}, call.call));
  if (!call.dry_run) TRY(ready(call));
  TRY_ASSIGN(auto other, meet_other_spelling(at, id, tags, call));
  if (other) return std::move(other->outcome);
  if (call.dry_run) return settle(at, meet_existing(at, id, tags, call), call);
  return settle(at, create_new(at, id, tags, call), call);
}

Result<std::optional<FacadeDevices::Done>> FacadeDevices::meet_other_spelling(const FacadeTarget& at,
                                                                              const DeviceId& id,
                                                                              const json::object& tags,
                                                                              const FacadeCall& call) {
  const std::optional<Done> none;
  if (!is_dev_eui(canonical_device_id(id.value))) return none;
  TRY_ASSIGN(const auto newest, newest_record(store_, at.link, id, clock_, call.call));
  if (!newest || newest->what != DeviceHint::What::kCreated || newest->device == id) return none;
  const auto twin = at.hub.get_twin(newest->device, call.call);
  if (!twin && twin.error().kind == ErrorKind::kNotFound) return none;
  if (!twin) return fail(twin.error());
  return Done{{FacadeOutcome::kDiffers, fmt::format("the hub has this DevEUI as '{}'", newest->device.value),
               asked(at, tags), seen(at, *twin)}};
}

Result<FacadeDevices::Done> FacadeDevices::create_new(const FacadeTarget& at, const DeviceId& id,
                                                      const json::object& tags, const FacadeCall& call) {
  const Call first =
      call.call.deadline == SteadyTime::max() ? call.call : call.call.sooner(call.call.deadline - kLookAfter);
  auto made = at.hub.create_with_tags(id, marked(at.link, tags), first);
  crash_point("facade.after-remote");
  if (!made) return after_failed_create(at, id, tags, std::move(made).error(), call);
  return Done{{FacadeOutcome::kCreated, {}, asked(at, tags), {}}, {{id, kMade, "IoTHubDeviceCreated", tags, {}}}};
}

Result<FacadeDevices::Done> FacadeDevices::after_failed_create(const FacadeTarget& at, const DeviceId& id,
                                                               const json::object& tags, Error error,
                                                               const FacadeCall& call) {
  if (error.kind == ErrorKind::kConflict) return meet_existing(at, id, tags, call);
  if (!is_unsure(error)) return fail(std::move(error));
  // No answer, or a broken one: the device tells whether it was made.
  const auto twin = at.hub.get_twin(id, call.call);
  if (twin && twin->enabled && owner_of(twin->tags).link == at.link.name && same_tags(*twin, tags))
    return Done{{FacadeOutcome::kCreated, {}, asked(at, tags), {}},
                {{id, kMade, "IoTHubDeviceCreated", tags, "the hub's answer was lost; the device was found as asked"}}};
  return fail(std::move(error));
}

Result<FacadeDevices::Done> FacadeDevices::meet_existing(const FacadeTarget& at, const DeviceId& id,
                                                         const json::object& tags, const FacadeCall& call) {
  for (int look = 0; look < kLooks; ++look) {
    const auto twin = at.hub.get_twin(id, call.call);
    if (!twin && twin.error().kind != ErrorKind::kNotFound) return fail(twin.error());
    if (twin) {
      auto taken = take_existing(at, id, tags, *twin, call);
      if (taken || (taken.error().kind != ErrorKind::kConflict && taken.error().kind != ErrorKind::kNotFound))
        return taken;
      continue;  // it changed, or went, between the look and the write
    }
    if (call.dry_run) return Done{{FacadeOutcome::kCreated, {}, asked(at, tags), {}}};
    const auto made = at.hub.create_with_tags(id, marked(at.link, tags), call.call);
    if (made)
      return Done{{FacadeOutcome::kCreated, {}, asked(at, tags), {}}, {{id, kMade, "IoTHubDeviceCreated", tags, {}}}};
    if (made.error().kind != ErrorKind::kConflict) return fail(made.error());
  }
  return fail(changing(id));
}

Result<FacadeDevices::Done> FacadeDevices::take_existing(const FacadeTarget& at, const DeviceId& id,
                                                         const json::object& tags, const azure::Twin& twin,
                                                         const FacadeCall& call) {
  const auto outcome = [&](FacadeOutcome::What what, std::string why = {}) {
    return FacadeOutcome{what, std::move(why), asked(at, tags), seen(at, twin)};
  };
  if (std::string why = why_excluded(at, twin); !why.empty())
    return Done{outcome(FacadeOutcome::kExcluded, std::move(why))};
  const Owner owner = owner_of(twin.tags);
  const bool ours = is_ours(at.link, twin.tags);
  if (owner.marked && !ours) return Done{outcome(FacadeOutcome::kNotOwned, why_not_ours(at, twin.tags))};
  const bool equal = same_tags(twin, tags);

  if (went_softly(twin)) {
    if (call.dry_run) return Done{outcome(FacadeOutcome::kEnabled)};
    // Tags first: nobody finds it enabled with the tags that it had in its former life.
    const json::object patch = merge_patch(twin.tags, marked(at.link, tags));
    if (!patch.empty()) TRY(at.hub.patch_tags(id, patch, twin.etag, call.call));
    TRY(set_enabled(at, id, true, call.call));
    crash_point("facade.after-remote");
    return Done{outcome(FacadeOutcome::kEnabled),
                {{id, kMade, "IoTHubDeviceEnabled", tags, "its keys are those that it had"}}};
  }
  if (!twin.enabled || !equal)
    return Done{outcome(FacadeOutcome::kDiffers,
                        twin.enabled ? "the device is there with other tags"
                                     : fmt::format("the device is there and disabled{}{}",
                                                   twin.status_reason.empty() ? "" : ": ", twin.status_reason))};
  if (ours) {
    Done done{outcome(FacadeOutcome::kUnchanged)};
    if (call.dry_run) return done;
    // An earlier call may have made it and not have come to record it. And a run may be about to delete it, with a list
    // from before the external system had it: what was asked for is spared anew.
    TRY_ASSIGN(const auto newest, newest_record(store_, at.link, id, clock_, call.call));
    if (!newest || newest->what != DeviceHint::What::kCreated || newest->age >= call.grace / 2)
      done.records.push_back({id, kMade, "IoTHubDeviceFound", tags, "it was as asked"});
    return done;
  }
  if (call.dry_run) return Done{outcome(FacadeOutcome::kAdopted)};
  // As a run adopts what both sides have and no link owns: who lists it says that it is theirs.
  TRY(at.hub.patch_tags(id, {{kMark, json::object{{"link", at.link.name}}}}, twin.etag, call.call));
  crash_point("facade.after-remote");
  return Done{outcome(FacadeOutcome::kAdopted), {{id, kMade, "IoTHubDeviceAdopted", tags, "no link owned it"}}};
}

/// kNotFound when it went meanwhile, kConflict when it changed meanwhile.
Status FacadeDevices::set_enabled(const FacadeTarget& at, const DeviceId& id, bool enabled, const Call& call) {
  TRY_ASSIGN(azure::Identity identity, at.hub.get_device(id, call));
  json::object document = std::move(identity.document);  // with the keys, so that they stay
  document["status"] = enabled ? "enabled" : "disabled";
  if (enabled)
    document["statusReason"] = nullptr;
  else
    document["statusReason"] = kSoftDeleted;
  TRY(at.hub.update_device(document, identity.etag, call));
  return {};
}

Result<FacadeOutcome> FacadeDevices::read(const FacadeTarget& at, const DeviceId& id, const FacadeCall& call) {
  const auto twin = at.hub.get_twin(id, call.call);
  if (twin) return FacadeOutcome{FacadeOutcome::kFound, {}, {}, seen(at, *twin)};
  if (twin.error().kind == ErrorKind::kNotFound) return FacadeOutcome{FacadeOutcome::kAbsent};
  return fail(twin.error());
}

Result<FacadeOutcome> FacadeDevices::remove(const FacadeTarget& at, const DeviceId& id, const FacadeCall& call) {
  TRY_ASSIGN(const auto held, hold(at, {id}, call.call));
  if (!call.dry_run) TRY(ready(call));
  return settle(at, remove_one(at, id, call), call);
}

Result<FacadeDevices::Done> FacadeDevices::remove_one(const FacadeTarget& at, const DeviceId& id,
                                                      const FacadeCall& call) {
  for (int look = 0; look < kLooks; ++look) {
    const auto twin = at.hub.get_twin(id, call.call);
    if (!twin && twin.error().kind != ErrorKind::kNotFound) return fail(twin.error());
    if (!twin) {
      Done done{{FacadeOutcome::kAbsent}};
      if (call.dry_run) return done;
      TRY_ASSIGN(const auto newest, newest_record(store_, at.link, id, clock_, call.call));
      if (newest && newest->what != DeviceHint::What::kDeleted)
        done.records.push_back({id, kGone, "IoTHubDeviceAbsent", {}, "it was gone before"});
      return done;
    }
    auto removed = remove_existing(at, id, *twin, call);
    if (removed || (removed.error().kind != ErrorKind::kConflict && removed.error().kind != ErrorKind::kNotFound))
      return removed;  // otherwise it changed, or went, between the look and the write
  }
  return fail(changing(id));
}

Result<FacadeDevices::Done> FacadeDevices::remove_existing(const FacadeTarget& at, const DeviceId& id,
                                                           const azure::Twin& twin, const FacadeCall& call) {
  const auto outcome = [&](FacadeOutcome::What what, std::string why = {}) {
    return FacadeOutcome{what, std::move(why), {}, seen(at, twin)};
  };
  std::string why = why_excluded(at, twin);
  if (!why.empty()) return Done{outcome(FacadeOutcome::kExcluded, std::move(why))};
  if (!is_ours(at.link, twin.tags)) return Done{outcome(FacadeOutcome::kNotOwned, why_not_ours(at, twin.tags))};

  if (call.soft_delete) {
    if (!twin.enabled && twin.status_reason == kSoftDeleted) return Done{outcome(FacadeOutcome::kDisabled)};
    if (call.dry_run) return Done{outcome(FacadeOutcome::kDisabled)};
    TRY(set_enabled(at, id, false, call.call));
    crash_point("facade.after-remote");
    return Done{outcome(FacadeOutcome::kDisabled),
                {{id, kTouched, "IoTHubDeviceDisabled", {}, std::string(kSoftDeleted)}}};
  }
  if (!at.link.include_modules) {
    const auto modules = at.hub.modules_of(id, call.call);
    if (!modules && modules.error().kind != ErrorKind::kNotFound) return fail(modules.error());
    if (modules && !modules->empty())
      return Done{outcome(FacadeOutcome::kExcluded, "it has modules, so the link leaves it alone")};
  }
  if (call.dry_run) return Done{outcome(FacadeOutcome::kDeleted)};
  auto gone = at.hub.delete_device(id, twin.device_etag, call.call);
  crash_point("facade.after-remote");
  // Absent is what was asked for: a repetition inside, or another one who deletes.
  if (!gone && gone.error().kind != ErrorKind::kNotFound) return fail(std::move(gone).error());
  return Done{outcome(FacadeOutcome::kDeleted), {{id, kGone, "IoTHubDeviceDeleted", {}, {}}}};
}

Status FacadeDevices::create_many(const FacadeTarget& at, const std::vector<Item>& items,
                                  const std::vector<size_t>& creates, std::vector<Result<Done>>& out,
                                  const FacadeCall& call) {
  const size_t most = std::clamp<size_t>(at.most_at_once(), 1, 100);
  for (size_t from = 0; from < creates.size(); from += most) {
    const size_t to = std::min(creates.size(), from + most);
    std::vector<azure::BulkEntry> entries;
    for (size_t i = from; i < to; ++i) {
      azure::BulkEntry& entry = entries.emplace_back();
      entry.id = items[creates[i]].id;
      entry.tags = marked(at.link, items[creates[i]].tags);
    }
    const auto answer = at.hub.bulk(entries, call.call);
    crash_point("facade.after-remote");
    if (!answer && !is_unsure(answer.error())) {
      if (from == 0) return fail(answer.error());
      for (size_t i = from; i < creates.size(); ++i) out[creates[i]] = fail(answer.error());
      return {};
    }
    for (size_t i = from; i < to; ++i) {
      const Item& item = items[creates[i]];
      const auto named = [&](const azure::EntryProblem& one) { return one.id == item.id; };
      if (!answer) {
        out[creates[i]] = after_failed_create(at, item.id, item.tags, answer.error(), call);
        continue;
      }
      const auto problem = std::find_if(answer->errors.begin(), answer->errors.end(), named);
      if (problem != answer->errors.end()) {
        Error error{.kind = problem->kind,
                    .what = fmt::format("{} ({})", problem->code, problem->text),
                    .code = "hub." + problem->code};
        out[creates[i]] = after_failed_create(at, item.id, item.tags, std::move(error), call);
        continue;
      }
      if (answer->made_without_twin(item.id)) {
        auto written = at.hub.patch_tags(item.id, marked(at.link, item.tags), Etag(), call.call);
        if (!written) {
          out[creates[i]] = fail_within(std::move(written),
                                        "the hub made it without its tags, and they could not be written afterwards; "
                                        "give it its tags, or remove it");
          continue;
        }
      }
      out[creates[i]] = Done{{FacadeOutcome::kCreated, {}, asked(at, item.tags), {}},
                             {{item.id, kMade, "IoTHubDeviceCreated", item.tags, {}}}};
    }
  }
  return {};
}

Result<std::vector<Result<FacadeOutcome>>> FacadeDevices::batch(const FacadeTarget& at, const std::vector<Item>& items,
                                                                const FacadeCall& call) {
  std::vector<DeviceId> ids;
  for (const Item& item : items) ids.push_back(item.id);
  TRY_ASSIGN(const auto held, hold(at, ids, call.call));
  if (!call.dry_run) TRY(ready(call));

  std::vector<Result<Done>> done(items.size());
  std::vector<size_t> creates;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].create) continue;
    TRY_ASSIGN(auto other, meet_other_spelling(at, items[i].id, items[i].tags, call));
    if (other)
      done[i] = std::move(*other);
    else if (call.dry_run)
      done[i] = meet_existing(at, items[i].id, items[i].tags, call);
    else
      creates.push_back(i);
  }
  TRY(create_many(at, items, creates, done, call));
  std::vector<Record> records;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].create) done[i] = remove_one(at, items[i].id, call);
    if (done[i]) records.insert(records.end(), done[i]->records.begin(), done[i]->records.end());
  }
  TRY(record(at, records, call));
  std::vector<Result<FacadeOutcome>> out;
  for (Result<Done>& one : done) {
    if (one)
      out.emplace_back(std::move(one->outcome));
    else
      out.emplace_back(fail(std::move(one).error()));
  }
  return out;
}

}  // namespace twinstep::workflows
