#include "twinstep/plan/compare.h"

#include <algorithm>
#include <cstring>

#include "twinstep/base/units.h"
#include "twinstep/plan/snapshot_data.h"
#include "twinstep/plan/tag_text.h"

namespace twinstep::plan {

namespace {

constexpr size_t kMaxProblems = 200;    // of each kind
constexpr size_t kRemembered = 64;      // devices of one id that are looked through for the very same text
constexpr uint64_t kLookAtStop = 1024;  // devices between two looks at the stop token

struct DetailRef {
  uint64_t offset = 0;
  uint32_t size = 0;
};

/// A change in its kept form; what it consists of is read from the details when it is asked for.
struct Kept {
  DetailRef hub, external;
  Op op = Op::kCreate;
  bool enable = false;
};
constexpr size_t kKeptBytes = 8 + 8 + 4 + 4 + 1 + 1;

void put(const Kept& kept, TempFile& file, Status& status) {
  char bytes[kKeptBytes];
  std::memcpy(bytes, &kept.hub.offset, 8);
  std::memcpy(bytes + 8, &kept.external.offset, 8);
  std::memcpy(bytes + 16, &kept.hub.size, 4);
  std::memcpy(bytes + 20, &kept.external.size, 4);
  bytes[24] = static_cast<char>(kept.op);
  bytes[25] = kept.enable ? 1 : 0;
  status = file.write({bytes, kKeptBytes});
}

Kept get(const char* bytes) {
  Kept kept;
  std::memcpy(&kept.hub.offset, bytes, 8);
  std::memcpy(&kept.external.offset, bytes + 8, 8);
  std::memcpy(&kept.hub.size, bytes + 16, 4);
  std::memcpy(&kept.external.size, bytes + 20, 4);
  kept.op = static_cast<Op>(bytes[24]);
  kept.enable = bytes[25] != 0;
  return kept;
}

/// All records of one canonical id on one side.
struct Group {
  std::string id;
  uint64_t devices = 0;
  bool modules = false;
  bool broken = false;
  bool repeated = false;  // two items have the very same text
  uint16_t flags = 0;     // of the first device, as the next two
  DetailRef detail;
  std::vector<std::byte> hashes;
  DetailRef second;
  std::vector<uint64_t> items;  // hashes of the items' texts, the first few

  bool is(RecordFlag flag) const { return (flags & flag) != 0; }
};

class Groups {
 public:
  explicit Groups(const Snapshot::Data& data) : merge_(data.records, data.tag_count) {}

  /// The next id, or null at the end. Good until the next call.
  Result<const Group*> next() {
    if (!started_) {
      started_ = true;
      TRY_ASSIGN(record_, merge_.next());
    }
    if (record_ == nullptr) return nullptr;
    group_.id.assign(record_->id);
    group_.devices = 0;
    group_.modules = group_.broken = group_.repeated = false;
    group_.flags = 0;
    group_.items.clear();
    do {
      take(*record_);
      TRY_ASSIGN(record_, merge_.next());
    } while (record_ != nullptr && record_->id == group_.id);
    return &group_;
  }

 private:
  void take(const Record& record) {
    if (record.is(kModule)) {
      group_.modules = true;
      return;
    }
    if (record.is(kBroken)) {
      group_.broken = true;
      return;
    }
    if (++group_.devices == 1) {
      group_.flags = record.flags;
      group_.detail = {record.detail_offset, record.detail_size};
      group_.hashes.assign(record.hashes.begin(), record.hashes.end());
    } else {
      if (group_.devices == 2) group_.second = {record.detail_offset, record.detail_size};
      const auto& items = group_.items;
      group_.repeated = group_.repeated || std::find(items.begin(), items.end(), record.item_hash) != items.end();
    }
    if (group_.items.size() < kRemembered) group_.items.push_back(record.item_hash);
  }

  RecordMerge merge_;
  const Record* record_ = nullptr;
  bool started_ = false;
  Group group_;
};

uint64_t hash_at(const std::vector<std::byte>& hashes, size_t i) {
  uint64_t hash = 0;
  std::memcpy(&hash, hashes.data() + i * sizeof hash, sizeof hash);
  return hash;
}

std::string name_of(const std::string& external) { return external.empty() ? "the external list" : external; }

}  // namespace

struct Comparison::Data {
  const Snapshot::Data& hub;
  const Snapshot::Data& external;
  Rules rules;
  Counts counts;
  std::vector<std::string> why_withheld;
  std::vector<Problem> problems;
  TempFile kept;
  bool external_empty = false;
  bool keeps_hub_tags = false;
  bool counts_only = false;
};

namespace {

/// Makes the decisions, one canonical id at a time.
class Judge {
 public:
  explicit Judge(Comparison::Data& data) : data_(data), hub_details_(data.hub), external_details_(data.external) {}

  Status external_only(const Group& external) {
    Counts& counts = data_.counts;
    if (external.devices > 1) return double_external(external);
    if (external.broken || external.is(kUnusable)) return unusable(external);
    if (external.is(kIllegalId)) {
      ++counts.invalid;
      return problem(
          Problem::Kind::kInvalid, "external", external, external_details_,
          "IoT Hub does not accept this id: 1 to 128 of A-Z a-z 0-9 and - : . + % _ # * ? ! ( ) , = @ ; $ '");
    }
    ++counts.creates;
    return keep({{}, external.detail, Op::kCreate, false});
  }

  Status hub_only(const Group& hub) {
    Counts& counts = data_.counts;
    TRY_ASSIGN(const bool settled, settle_hub(hub));
    if (settled) return {};
    if (!owned(hub)) {
      ++counts.foreign;
      return {};
    }
    switch (data_.rules.deletes) {
      case config::Deletes::kNever:
        ++counts.kept;
        return {};
      case config::Deletes::kDisable:
        if (hub.is(kDisabled)) {
          ++counts.unchanged;
          ++counts.already_disabled;
          return {};
        }
        ++counts.disables;
        return keep({hub.detail, {}, Op::kDisable, false});
      case config::Deletes::kDelete:
        break;
    }
    ++counts.deletes;
    return keep({hub.detail, {}, Op::kDelete, false});
  }

  Status both(const Group& hub, const Group& external) {
    Counts& counts = data_.counts;
    if (hub.devices == 0 && !hub.broken) {
      // Modules without their device: it must be there, but nothing is known of it.
      note_repeat(external, "external");
      ++counts.excluded;
      ++counts.excluded_modules;
      return {};
    }
    TRY_ASSIGN(const bool settled, settle_hub(hub));
    if (settled) {
      note_repeat(external, "external");
      return {};
    }
    if (external.devices > 1) return double_external(external);
    if (external.broken || external.is(kUnusable)) return unusable(external);
    if (!owned(hub)) {
      if (hub.is(kMarked)) return others(hub);
      ++counts.adopts;
      return keep({hub.detail, external.detail, Op::kAdopt, false});
    }
    const bool enable = hub.is(kDisabled) && hub.is(kAbsent);
    if (!enable && same_values(hub, external)) {
      ++counts.unchanged;
      return {};
    }
    ++counts.updates;
    if (enable) ++counts.enables;
    return keep({hub.detail, external.detail, Op::kUpdate, enable});
  }

  void finish() {
    Comparison::Data& data = data_;
    Counts& counts = data.counts;
    for (const auto& [proof, name] : {std::pair(&data.hub.proof, std::string("the hub")),
                                      std::pair(&data.external.proof, name_of(data.rules.external))}) {
      if (!proof->complete) {
        data.why_withheld.push_back(fmt::format("the list of {} is not complete: {}", name, proof->why_incomplete));
      }
      counts.invalid += proof->broken_without_id;  // those with an id were counted under it
      if (proof->broken_without_id > 0) {
        data.why_withheld.push_back(fmt::format(
            "{} of the list of {} could not be read and showed no id",
            proof->broken_without_id == 1 ? std::string("an item") : format_count(proof->broken_without_id) + " items",
            name));
      }
    }
    for (const std::string& why : repeats_) data.why_withheld.push_back(why);
    if (data.external_empty) {
      data.why_withheld.push_back(fmt::format("the list of {} is empty", name_of(data.rules.external)));
      counts.withheld_changes = counts.creates + counts.updates + counts.adopts;
      counts.creates = counts.updates = counts.adopts = counts.enables = 0;
    }
    if (!data.why_withheld.empty()) {
      counts.withheld = counts.deletes + counts.disables;
      counts.deletes = counts.disables = 0;
    }
  }

 private:
  bool owned(const Group& hub) const {
    return data_.rules.scope == config::Scope::kWholeHub || hub.is(kOurs) || (!hub.is(kMarked) && hub.is(kRef));
  }

  /// Counts a hub device that is left alone whatever the external side says, and the owned ones. True = settled.
  Result<bool> settle_hub(const Group& hub) {
    Counts& counts = data_.counts;
    if (hub.devices > 1) {
      note_repeat(hub, "hub");
      ++counts.conflicts;
      TRY_ASSIGN(const std::string places, places_of(hub, hub_details_));
      TRY(problem(Problem::Kind::kConflict, "hub", hub, hub_details_,
                  fmt::format("{} devices of the hub have this id when case and separators are left out: {}",
                              hub.devices, places)));
      return true;
    }
    if (hub.broken) {
      ++counts.invalid;  // named among the broken items of the proof
      return true;
    }
    if (hub.devices == 0) return true;
    const Rules& rules = data_.rules;
    uint64_t* const kind = hub.is(kEdge) && !rules.include_edge                  ? &counts.excluded_edge
                           : hub.modules && !rules.include_modules               ? &counts.excluded_modules
                           : hub.is(kCertificate) && !rules.include_certificates ? &counts.excluded_certificates
                                                                                 : nullptr;
    if (kind != nullptr) {
      ++*kind;
      ++counts.excluded;
      return true;
    }
    if (owned(hub)) ++counts.owned;
    return false;
  }

  Status double_external(const Group& external) {
    note_repeat(external, "external");
    ++data_.counts.conflicts;
    TRY_ASSIGN(const std::string places, places_of(external, external_details_));
    return problem(Problem::Kind::kConflict, "external", external, external_details_,
                   fmt::format("{} devices of {} have this id when case and separators are left out: {}",
                               external.devices, name_of(data_.rules.external), places));
  }

  Status unusable(const Group& external) {
    ++data_.counts.invalid;
    if (external.broken) return {};  // named among the broken items of the proof
    TRY_ASSIGN(const Detail* const detail, external_details_.read(external.detail.offset, external.detail.size));
    return problem(Problem::Kind::kInvalid, "external", external, external_details_, std::string(detail->problem));
  }

  Status others(const Group& hub) {
    ++data_.counts.conflicts;
    TRY_ASSIGN(const Detail* const detail, hub_details_.read(hub.detail.offset, hub.detail.size));
    return problem(Problem::Kind::kConflict, "hub", hub, hub_details_,
                   detail->owner.empty()
                       ? "the device carries a mark (tags.twinstep) that names no link"
                       : fmt::format("the device belongs to the link {} (tags.twinstep.link)", detail->owner));
  }

  Result<std::string> places_of(const Group& group, DetailReader& details) {
    std::string out;
    if (conflicts_ >= kMaxProblems) return out;
    for (const DetailRef& ref : {group.detail, group.second}) {
      TRY_ASSIGN(const Detail* const detail, details.read(ref.offset, ref.size));
      out.append(out.empty() ? "" : " and ").append(providers::to_string(detail->place));
    }
    return group.devices > 2 ? out + " and others" : out;
  }

  /// Two items with the very same text: most likely a page came twice, and another one not at all.
  void note_repeat(const Group& group, std::string_view side) {
    if (!group.repeated) return;
    bool& noted = side == "hub" ? hub_repeat_ : external_repeat_;
    if (noted) return;
    noted = true;
    repeats_.push_back(fmt::format("the list of {} holds the same item twice ({}), so a page may have been repeated",
                                   side == "hub" ? "the hub" : name_of(data_.rules.external), group.id));
  }

  bool same_values(const Group& hub, const Group& external) const {
    for (size_t i = 0; i < data_.rules.tags.size(); ++i) {
      const uint64_t wanted = hash_at(external.hashes, i);
      if (wanted != 0 && wanted != hash_at(hub.hashes, i)) return false;
    }
    return true;
  }

  Status problem(Problem::Kind kind, std::string_view side, const Group& group, DetailReader& details,
                 std::string text) {
    size_t& count = kind == Problem::Kind::kConflict ? conflicts_ : invalid_;
    if (count >= kMaxProblems) return {};
    ++count;
    TRY_ASSIGN(const Detail* const detail, details.read(group.detail.offset, group.detail.size));
    data_.problems.push_back(
        {kind, std::string(side), std::string(detail->id), providers::to_string(detail->place), std::move(text)});
    return {};
  }

  Status keep(const Kept& kept) {
    Status status;
    put(kept, data_.kept, status);
    return status;
  }

  Comparison::Data& data_;
  DetailReader hub_details_, external_details_;
  size_t conflicts_ = 0, invalid_ = 0;
  std::vector<std::string> repeats_;
  bool hub_repeat_ = false, external_repeat_ = false;
};

tl::unexpected<Error> cancelled() {
  return fail(ErrorKind::kCancelled, "plan.cancelled", "the comparison was stopped");
}

/// The change in full.
Change build(const Comparison::Data& data, const Kept& kept, const Detail* hub, const Detail* external) {
  const Rules& rules = data.rules;
  const std::string name = name_of(rules.external);
  Change change;
  change.op = kept.op;
  change.enable = kept.enable;
  change.tags = "{}";
  change.id = DeviceId(std::string(hub != nullptr ? hub->id : external->id));
  if (hub != nullptr) {
    change.etag = Etag(std::string(hub->etag));
    change.twin_etag = Etag(std::string(hub->twin_etag));
    // Also for deletes: a look-up outside finds a device by its tags.
    if (data.keeps_hub_tags) change.hub_tags = Secret(hub->tags.empty() ? std::string("{}") : std::string(hub->tags));
  }
  if (external == nullptr) {
    change.reason = "in the hub, not in " + name;
    if (kept.op == Op::kDisable) change.status_reason = std::string(kAbsentReason) + name;
    return change;
  }

  std::vector<std::string> reasons;
  if (kept.op == Op::kCreate) reasons.push_back(fmt::format("in {}, not in the hub", name));
  if (kept.op == Op::kAdopt) reasons.push_back(fmt::format("in {} and in the hub, where no link owns it", name));
  if (kept.enable) reasons.push_back(fmt::format("enabled: in {} again", name));
  std::vector<bool> written(rules.tags.size(), false);
  bool any_secret = false;
  for (size_t i = 0; i < rules.tags.size(); ++i) {
    const std::string_view now = hub != nullptr ? hub->values[i] : std::string_view{};
    const std::string_view wanted = external->values[i];
    if (wanted.empty() || wanted == now) continue;
    written[i] = true;
    const providers::TagSpec& spec = rules.tags[i];
    if (spec.secret) {
      any_secret = true;
      change.secret_tags.push_back(spec.name());
    }
    if (kept.op == Op::kCreate) continue;
    reasons.push_back(spec.secret
                          ? fmt::format("{}: *** → ***", shown_name(spec))
                          : fmt::format("{}: {} → {}", shown_name(spec), shown_value(now), shown_value(wanted)));
  }
  for (size_t i = 0; i < reasons.size(); ++i) change.reason.append(i > 0 ? "; " : "").append(reasons[i]);
  const bool marks = kept.op == Op::kCreate || kept.op == Op::kAdopt;
  change.tags = tags_object(
      rules.tags, external->values, [&](size_t i) { return written[i] && !rules.tags[i].secret; },
      marks ? &rules.link : nullptr);
  if (any_secret) {
    change.secret_values = Secret(tags_object(
        rules.tags, external->values, [&](size_t i) { return written[i] && rules.tags[i].secret; }, nullptr));
  }
  return change;
}

}  // namespace

Comparison::Comparison(std::unique_ptr<Data> data) : data_(std::move(data)) {}
Comparison::~Comparison() = default;
Comparison::Comparison(Comparison&&) noexcept = default;
Comparison& Comparison::operator=(Comparison&&) noexcept = default;
const Counts& Comparison::counts() const { return data_->counts; }
const std::vector<std::string>& Comparison::why_withheld() const { return data_->why_withheld; }
bool Comparison::external_empty() const { return data_->external_empty; }
const std::vector<Problem>& Comparison::problems() const { return data_->problems; }

Status Comparison::changes(const Permit& permit, const ChangeSink& sink, const Call& call) const {
  constexpr size_t kAtOnce = 512;
  const Data& data = *data_;
  if (data.counts_only) {
    return fail(ErrorKind::kInvalid, "plan.counts-only", "the snapshots were taken for counts and hold no changes");
  }
  if (data.external_empty) return {};
  const bool deletes = permit.deletes && data.why_withheld.empty();
  DetailReader hub_details(data.hub);
  DetailReader external_details(data.external);
  std::string bytes;
  for (uint64_t at = 0; at < data.kept.size(); at += bytes.size()) {
    bytes.resize(static_cast<size_t>(std::min<uint64_t>(data.kept.size() - at, kAtOnce * kKeptBytes)));
    TRY(data.kept.read(at, bytes.data(), bytes.size()));
    for (size_t i = 0; i < bytes.size(); i += kKeptBytes) {
      if (call.stop.stop_requested()) return cancelled();
      const Kept kept = get(bytes.data() + i);
      if ((kept.op == Op::kDelete || kept.op == Op::kDisable) && !deletes) continue;
      if (kept.op == Op::kUpdate && !permit.updates) continue;
      const Detail* hub = nullptr;
      const Detail* external = nullptr;
      if (kept.hub.size > 0) {
        TRY_ASSIGN(hub, hub_details.read(kept.hub.offset, kept.hub.size));
      }
      if (kept.external.size > 0) {
        TRY_ASSIGN(external, external_details.read(kept.external.offset, kept.external.size));
      }
      TRY(sink(build(data, kept, hub, external)));
    }
  }
  return {};
}

Result<Comparison> compare(const Snapshot& hub, const Snapshot& external, const Rules& rules,
                           const SnapshotOptions& options, const Call& call) {
  auto data = std::make_unique<Comparison::Data>(Comparison::Data{hub.data(),
                                                                  external.data(),
                                                                  rules,
                                                                  {},
                                                                  {},
                                                                  {},
                                                                  TempFile(options.folder),
                                                                  false,
                                                                  options.keep_hub_tags,
                                                                  options.counts_only});
  if (hub.data().tag_count != rules.tags.size() || external.data().tag_count != rules.tags.size()) {
    return fail(ErrorKind::kInvalid, "plan.rules",
                "the snapshots were made with other rules than they are compared by");
  }
  data->counts.hub_devices = hub.devices();
  data->counts.external_devices = external.devices();
  data->external_empty = external.devices() == 0;
  for (const Snapshot* side : {&hub, &external}) {
    data->problems.insert(data->problems.end(), side->proof().named.begin(), side->proof().named.end());
  }

  Judge judge(*data);
  Groups hub_groups(hub.data());
  Groups external_groups(external.data());
  TRY_ASSIGN(const Group* of_hub, hub_groups.next());
  TRY_ASSIGN(const Group* of_external, external_groups.next());
  for (uint64_t step = 0; of_hub != nullptr || of_external != nullptr; ++step) {
    if (step % kLookAtStop == 0 && call.stop.stop_requested()) return cancelled();
    const int order = of_hub == nullptr ? 1 : of_external == nullptr ? -1 : of_hub->id.compare(of_external->id);
    if (order < 0) {
      TRY(judge.hub_only(*of_hub));
    } else if (order > 0) {
      TRY(judge.external_only(*of_external));
    } else {
      TRY(judge.both(*of_hub, *of_external));
    }
    if (order <= 0) {
      TRY_ASSIGN(of_hub, hub_groups.next());
    }
    if (order >= 0) {
      TRY_ASSIGN(of_external, external_groups.next());
    }
  }
  TRY(data->kept.flush());
  judge.finish();
  return Comparison(std::move(data));
}

}  // namespace twinstep::plan
