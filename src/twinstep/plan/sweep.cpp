#include "twinstep/plan/sweep.h"

#include <algorithm>
#include <cstring>

#include "twinstep/base/encoding.h"
#include "twinstep/plan/findings.h"
#include "twinstep/plan/tag_text.h"

namespace twinstep::plan {
namespace {

constexpr size_t kLookAtOnce = 1000;  // differences whose orphans are looked up in the ledger together
constexpr size_t kWindowBytes = 64 * 1024;

using Kind = Difference::Kind;

/// A difference in its kept form: these, then the ledger's spelling of the device.
struct Kept {
  DetailRef hub, external;
  Kind kind = Kind::kMissingOutside;
  uint16_t owner_size = 0;
};
constexpr size_t kKeptBytes = 8 + 8 + 4 + 4 + 2 + 1;

void append(const Kept& kept, std::string& out) {
  char bytes[kKeptBytes];
  std::memcpy(bytes, &kept.hub.offset, 8);
  std::memcpy(bytes + 8, &kept.external.offset, 8);
  std::memcpy(bytes + 16, &kept.hub.size, 4);
  std::memcpy(bytes + 20, &kept.external.size, 4);
  std::memcpy(bytes + 24, &kept.owner_size, 2);
  bytes[26] = static_cast<char>(kept.kind);
  out.append(bytes, kKeptBytes);
}

Kept kept_at(const char* bytes) {
  Kept kept;
  std::memcpy(&kept.hub.offset, bytes, 8);
  std::memcpy(&kept.external.offset, bytes + 8, 8);
  std::memcpy(&kept.hub.size, bytes + 16, 4);
  std::memcpy(&kept.external.size, bytes + 20, 4);
  std::memcpy(&kept.owner_size, bytes + 24, 2);
  kept.kind = static_cast<Kind>(bytes[26]);
  return kept;
}

/// Reads a file from its beginning in pieces of any size.
class Pieces {
 public:
  explicit Pieces(const TempFile& file) : file_(file) {}
  bool at_end() const { return read_ == file_.size() && at_ == window_.size(); }
  /// Good until the next call.
  Result<std::string_view> take(size_t size) {
    if (window_.size() - at_ < size) {
      window_.erase(0, at_);
      at_ = 0;
      const size_t had = window_.size();
      const auto more =
          static_cast<size_t>(std::min<uint64_t>(file_.size() - read_, std::max<size_t>(kWindowBytes, size - had)));
      window_.resize(had + more);
      TRY(file_.read(read_, window_.data() + had, more));
      read_ += more;
    }
    const std::string_view out = std::string_view(window_).substr(at_, size);
    at_ += out.size();
    return out;
  }

 private:
  const TempFile& file_;
  std::string window_;
  uint64_t read_ = 0;
  size_t at_ = 0;
};

}  // namespace

struct Sweep::Data {
  const Snapshot::Data& hub;
  const Snapshot::Data& external;
  Rules rules;
  SweepCounts counts;
  std::vector<std::string> why_withheld;
  std::vector<Problem> problems;
  TempFile kept;
};

namespace {

/// Makes the decisions, one canonical id at a time.
class Sorter {
 public:
  Sorter(Sweep::Data& data, const LedgerLook& ledger)
      : data_(data), ledger_(ledger), findings_(data.hub, data.external, data.rules) {}

  Status hub_only(const Group& hub) {
    TRY_ASSIGN(const bool settled, settle_hub(hub));
    if (settled) return {};
    ++data_.counts.missing_outside;
    return keep({hub.detail, {}, Kind::kMissingOutside, 0}, {});
  }

  Status external_only(const Group& external) {
    SweepCounts& counts = data_.counts;
    if (external.devices > 1) return double_external(external);
    if (external.broken) {
      ++counts.invalid;  // named among the broken items of the proof
      return {};
    }
    ++counts.orphans;
    if (!is_legal_hub_device_id(external.id))
      return findings_.problem(Problem::Kind::kInvalid, Side::kExternal, external,
                               "the hub lacks the device and could not hold it: IoT Hub does not accept this id");
    return keep({{}, external.detail, Kind::kOrphan, 0}, external.id);
  }

  Status both(const Group& hub, const Group& external) {
    SweepCounts& counts = data_.counts;
    TRY_ASSIGN(const bool settled, settle_hub(hub));
    if (settled) {
      findings_.note_repeat(Side::kExternal, external);
      return {};
    }
    if (external.devices > 1) return double_external(external);
    if (external.broken) {
      ++counts.invalid;
      return {};
    }
    if (external.is(kUnusable)) {
      ++counts.invalid;
      TRY_ASSIGN(const Detail* const detail, findings_.detail(Side::kExternal, external));
      return findings_.problem(Problem::Kind::kInvalid, Side::kExternal, external, std::string(detail->problem));
    }
    for (size_t i = 0; i < data_.rules.tags.size(); ++i) {
      const uint64_t here = hub.hash(i), there = external.hash(i);
      if (here == 0 || there == 0 || here == there) continue;
      ++counts.differing;
      return keep({hub.detail, external.detail, Kind::kDiffering, 0}, {});
    }
    ++counts.in_step;
    return {};
  }

  Status finish() {
    Sweep::Data& data = data_;
    data.counts.invalid += findings_.close(data.why_withheld);  // those with an id were counted under it
    data.problems = findings_.take_problems();
    if (data.counts.hub_devices == 0) data.why_withheld.emplace_back("the list of the hub is empty");
    TRY(write_waiting());
    return data.kept.flush();
  }

 private:
  /// Counts a hub device that is left alone whatever the external side says. True = settled.
  Result<bool> settle_hub(const Group& hub) {
    SweepCounts& counts = data_.counts;
    if (hub.devices > 1) {
      ++counts.conflicts;
      TRY(findings_.conflict(Side::kHub, hub));
      return true;
    }
    if (hub.broken) {
      ++counts.invalid;  // named among the broken items of the proof
      return true;
    }
    const Rules& rules = data_.rules;
    // Modules without their device: it must be there, but nothing is known of it.
    if (hub.devices == 0 || (hub.is(kEdge) && !rules.include_edge) || (hub.modules && !rules.include_modules) ||
        (hub.is(kCertificate) && !rules.include_certificates)) {
      ++counts.excluded;
      return true;
    }
    return false;
  }

  Status double_external(const Group& external) {
    ++data_.counts.conflicts;
    return findings_.conflict(Side::kExternal, external);
  }

  /// `orphan` is the id to look up in the ledger; empty = none.
  Status keep(const Kept& kept, std::string_view orphan) {
    waiting_.push_back(kept);
    if (!orphan.empty()) orphans_.emplace_back(orphan);
    return waiting_.size() < kLookAtOnce ? Status{} : write_waiting();
  }

  Status write_waiting() {
    std::vector<DeviceId> owners;
    if (!orphans_.empty()) {
      TRY_ASSIGN(owners, ledger_(orphans_));
      owners.resize(orphans_.size());
    }
    std::string bytes;
    auto owner = owners.begin();
    for (Kept& kept : waiting_) {
      std::string_view spelled;
      if (kept.kind == Kind::kOrphan) spelled = (owner++)->value;
      if (!spelled.empty()) ++data_.counts.orphans_owned;
      kept.owner_size = static_cast<uint16_t>(spelled.size());
      append(kept, bytes);
      bytes.append(spelled.substr(0, kept.owner_size));
    }
    waiting_.clear();
    orphans_.clear();
    return data_.kept.write(bytes);
  }

  Sweep::Data& data_;
  const LedgerLook& ledger_;
  Findings findings_;
  std::vector<Kept> waiting_;
  std::vector<std::string> orphans_;  // of waiting_, in its order
};

/// Which values differ, for people.
std::string differing_tags(const Rules& rules, const Detail& hub, const Detail& external) {
  std::string out;
  for (size_t i = 0; i < rules.tags.size(); ++i) {
    const std::string_view here = hub.values[i], there = external.values[i];
    if (!rules.uses(i) || here.empty() || there.empty() || here == there) continue;
    out += (out.empty() ? "" : "; ") +
           (rules.tags[i].secret ? fmt::format("{}: *** in the hub, another value outside", shown_name(rules.tags[i]))
                                 : fmt::format("{}: {} in the hub, {} outside", shown_name(rules.tags[i]),
                                               shown_value(here), shown_value(there)));
  }
  return out;
}

Difference build(const Rules& rules, const Kept& kept, std::string_view owner, const Detail* hub,
                 const Detail* external) {
  Difference out;
  out.kind = kept.kind;
  const std::string_view listed = hub != nullptr ? hub->id : external->id;
  out.key = canonical_device_id(listed);
  out.owned = !owner.empty();
  out.device = DeviceId(std::string(listed));
  switch (kept.kind) {
    case Kind::kMissingOutside:
      out.reason = "in the hub, not in " + external_name(rules);
      break;
    case Kind::kOrphan:
      if (out.owned) {
        out.device = DeviceId(std::string(owner));
      } else if (!is_legal_hub_device_id(listed)) {
        out.device = DeviceId(out.key);
      }
      out.reason = fmt::format("in {}, not in the hub; {}", external_name(rules),
                               out.owned ? "made by twinstep" : "not made by twinstep");
      break;
    case Kind::kDiffering:
      out.reason = differing_tags(rules, *hub, *external);
      break;
  }
  return out;
}

}  // namespace

Sweep::Sweep(std::unique_ptr<Data> data) : data_(std::move(data)) {}
Sweep::~Sweep() = default;
Sweep::Sweep(Sweep&&) noexcept = default;
Sweep& Sweep::operator=(Sweep&&) noexcept = default;
const SweepCounts& Sweep::counts() const { return data_->counts; }
const std::vector<std::string>& Sweep::why_withheld() const { return data_->why_withheld; }
const std::vector<Problem>& Sweep::problems() const { return data_->problems; }

Status Sweep::differences(std::string_view after, const DifferenceSink& sink, const Call& call) const {
  DetailReader hub_details(data_->hub);
  DetailReader external_details(data_->external);
  Pieces pieces(data_->kept);
  while (!pieces.at_end()) {
    if (call.stop.stop_requested()) return comparison_stopped();
    TRY_ASSIGN(const std::string_view bytes, pieces.take(kKeptBytes));
    const Kept kept = kept_at(bytes.data());
    TRY_ASSIGN(const std::string_view owner, pieces.take(kept.owner_size));
    const Detail* hub = nullptr;
    const Detail* external = nullptr;
    if (kept.hub.size > 0) {
      TRY_ASSIGN(hub, hub_details.read(kept.hub.offset, kept.hub.size));
    }
    if (kept.external.size > 0) {
      TRY_ASSIGN(external, external_details.read(kept.external.offset, kept.external.size));
    }
    const Difference difference = build(data_->rules, kept, owner, hub, external);
    if (difference.key > after) TRY(sink(difference));
  }
  return {};
}

Result<Sweep> sweep(const Snapshot& hub, const Snapshot& external, const Rules& rules, const SnapshotOptions& options,
                    const LedgerLook& ledger, const Call& call) {
  auto data = std::make_unique<Sweep::Data>(
      Sweep::Data{hub.data(), external.data(), rules, {}, {}, {}, TempFile(options.folder)});
  if (hub.data().tag_count != rules.tags.size() || external.data().tag_count != rules.tags.size())
    return fail(ErrorKind::kInvalid, "plan.rules",
                "the snapshots were made with other rules than they are compared by");
  data->counts.hub_devices = hub.devices();
  data->counts.external_devices = external.devices();

  Sorter sorter(*data, ledger);
  TRY(for_each_id(
      hub.data(), external.data(),
      [&](const Group* of_hub, const Group* of_external) -> Status {
        if (of_external == nullptr) return sorter.hub_only(*of_hub);
        return of_hub == nullptr ? sorter.external_only(*of_external) : sorter.both(*of_hub, *of_external);
      },
      call));
  TRY(sorter.finish());
  return Sweep(std::move(data));
}

json::object to_json(const SweepCounts& counts) {
  return {{"hub_devices", counts.hub_devices}, {"external_devices", counts.external_devices},
          {"in_step", counts.in_step},         {"missing_outside", counts.missing_outside},
          {"orphans", counts.orphans},         {"orphans_owned", counts.orphans_owned},
          {"differing", counts.differing},     {"invalid", counts.invalid},
          {"conflicts", counts.conflicts},     {"excluded", counts.excluded}};
}

namespace {

std::pair<uint64_t, uint64_t> number_of(std::string_view key) {
  const std::string hash = sha256(key);
  std::pair<uint64_t, uint64_t> out;
  std::memcpy(&out.first, hash.data(), 8);
  std::memcpy(&out.second, hash.data() + 8, 8);
  return out;
}

}  // namespace

// A sum of 128 bits does not mind the order.
void KeySet::add(std::string_view key) {
  const auto [high, low] = number_of(key);
  low_ += low;
  high_ += high + (low_ < low ? 1 : 0);
  ++size_;
}

void KeySet::remove(std::string_view key) {
  const auto [high, low] = number_of(key);
  high_ -= high + (low_ < low ? 1 : 0);
  low_ -= low;
  --size_;
}

std::string KeySet::digest() const { return fmt::format("{:016x}{:016x}", high_, low_); }

}  // namespace twinstep::plan
