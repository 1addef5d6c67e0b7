#include "twinstep/plan/compare.h"

#include <algorithm>
#include <cstring>

#include "twinstep/plan/findings.h"
#include "twinstep/plan/tag_text.h"

namespace twinstep::plan {

namespace {

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
  explicit Judge(Comparison::Data& data) : data_(data), findings_(data.hub, data.external, data.rules) {}

  Status external_only(const Group& external) {
    Counts& counts = data_.counts;
    if (external.devices > 1) return double_external(external);
    if (external.broken || external.is(kUnusable)) return unusable(external);
    if (external.is(kIllegalId)) {
      ++counts.invalid;
      return findings_.problem(
          Problem::Kind::kInvalid, Side::kExternal, external,
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
      findings_.note_repeat(Side::kExternal, external);
      ++counts.excluded;
      ++counts.excluded_modules;
      return {};
    }
    TRY_ASSIGN(const bool settled, settle_hub(hub));
    if (settled) {
      findings_.note_repeat(Side::kExternal, external);
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
    counts.invalid += findings_.close(data.why_withheld);  // those with an id were counted under it
    data.problems = findings_.take_problems();
    if (data.external_empty) {
      data.why_withheld.push_back(fmt::format("the list of {} is empty", external_name(data.rules)));
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
      ++counts.conflicts;
      TRY(findings_.conflict(Side::kHub, hub));
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
    ++data_.counts.conflicts;
    return findings_.conflict(Side::kExternal, external);
  }

  Status unusable(const Group& external) {
    ++data_.counts.invalid;
    if (external.broken) return {};  // named among the broken items of the proof
    TRY_ASSIGN(const Detail* const detail, findings_.detail(Side::kExternal, external));
    return findings_.problem(Problem::Kind::kInvalid, Side::kExternal, external, std::string(detail->problem));
  }

  Status others(const Group& hub) {
    ++data_.counts.conflicts;
    TRY_ASSIGN(const Detail* const detail, findings_.detail(Side::kHub, hub));
    return findings_.problem(
        Problem::Kind::kConflict, Side::kHub, hub,
        detail->owner.empty() ? "the device carries a mark (tags.twinstep) that names no link"
                              : fmt::format("the device belongs to the link {} (tags.twinstep.link)", detail->owner));
  }

  bool same_values(const Group& hub, const Group& external) const {
    for (size_t i = 0; i < data_.rules.tags.size(); ++i) {
      const uint64_t wanted = external.hash(i);
      if (wanted != 0 && wanted != hub.hash(i)) return false;
    }
    return true;
  }

  Status keep(const Kept& kept) {
    Status status;
    put(kept, data_.kept, status);
    return status;
  }

  Comparison::Data& data_;
  Findings findings_;
};

/// The change in full.
Change build(const Comparison::Data& data, const Kept& kept, const Detail* hub, const Detail* external) {
  const Rules& rules = data.rules;
  const std::string name = external_name(rules);
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
      if (call.stop.stop_requested()) return comparison_stopped();
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

  Judge judge(*data);
  TRY(for_each_id(
      data->hub, data->external,
      [&](const Group* of_hub, const Group* of_external) -> Status {
        if (of_external == nullptr) return judge.hub_only(*of_hub);
        return of_hub == nullptr ? judge.external_only(*of_external) : judge.both(*of_hub, *of_external);
      },
      call));
  TRY(data->kept.flush());
  judge.finish();
  return Comparison(std::move(data));
}

}  // namespace twinstep::plan
