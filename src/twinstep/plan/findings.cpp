#include "twinstep/plan/findings.h"

#include "twinstep/base/units.h"

namespace twinstep::plan {
namespace {

constexpr size_t kMaxProblems = 200;    // of each kind
constexpr uint64_t kLookAtStop = 1024;  // devices between two looks at the stop token

}  // namespace

std::string external_name(const Rules& rules) { return rules.external.empty() ? "the external list" : rules.external; }

Findings::Findings(const Snapshot::Data& hub, const Snapshot::Data& external, const Rules& rules)
    : hub_(hub),
      external_(external),
      hub_details_(hub),
      external_details_(external),
      external_name_(plan::external_name(rules)) {
  for (const Snapshot::Data* side : {&hub, &external})
    problems_.insert(problems_.end(), side->proof.named.begin(), side->proof.named.end());
}

Result<const Detail*> Findings::detail(Side side, const Group& group) {
  DetailReader& details = side == Side::kHub ? hub_details_ : external_details_;
  return details.read(group.detail.offset, group.detail.size);
}

Status Findings::conflict(Side side, const Group& group) {
  note_repeat(side, group);
  if (conflicts_ >= kMaxProblems) return {};
  TRY_ASSIGN(const std::string places, places_of(group, side == Side::kHub ? hub_details_ : external_details_));
  return problem(Problem::Kind::kConflict, side, group,
                 fmt::format("{} devices of {} have this id when case and separators are left out: {}", group.devices,
                             side == Side::kHub ? "the hub" : external_name_, places));
}

Status Findings::problem(Problem::Kind kind, Side side, const Group& group, std::string text) {
  size_t& count = kind == Problem::Kind::kConflict ? conflicts_ : invalid_;
  if (count >= kMaxProblems) return {};
  ++count;
  TRY_ASSIGN(const Detail* const of, detail(side, group));
  problems_.push_back({kind, side == Side::kHub ? "hub" : "external", std::string(of->id),
                       providers::to_string(of->place), std::move(text)});
  return {};
}

void Findings::note_repeat(Side side, const Group& group) {
  bool& noted = side == Side::kHub ? hub_repeat_ : external_repeat_;
  if (!group.repeated || noted) return;
  noted = true;
  repeats_.push_back(fmt::format("the list of {} holds the same item twice ({}), so a page may have been repeated",
                                 side == Side::kHub ? "the hub" : external_name_, group.id));
}

uint64_t Findings::close(std::vector<std::string>& why_withheld) const {
  uint64_t unknown = 0;
  for (const auto& [proof, name] :
       {std::pair(&hub_.proof, std::string("the hub")), std::pair(&external_.proof, external_name_)}) {
    if (!proof->complete)
      why_withheld.push_back(fmt::format("the list of {} is not complete: {}", name, proof->why_incomplete));
    if (proof->broken_without_id == 0) continue;
    unknown += proof->broken_without_id;
    why_withheld.push_back(fmt::format(
        "{} of the list of {} could not be read and showed no id",
        proof->broken_without_id == 1 ? std::string("an item") : format_count(proof->broken_without_id) + " items",
        name));
  }
  why_withheld.insert(why_withheld.end(), repeats_.begin(), repeats_.end());
  return unknown;
}

Status for_each_id(const Snapshot::Data& hub, const Snapshot::Data& external, const Visit& visit, const Call& call) {
  Groups hub_groups(hub);
  Groups external_groups(external);
  TRY_ASSIGN(const Group* of_hub, hub_groups.next());
  TRY_ASSIGN(const Group* of_external, external_groups.next());
  for (uint64_t step = 0; of_hub != nullptr || of_external != nullptr; ++step) {
    if (step % kLookAtStop == 0 && call.stop.stop_requested()) return comparison_stopped();
    const int order = of_hub == nullptr ? 1 : of_external == nullptr ? -1 : of_hub->id.compare(of_external->id);
    TRY(visit(order <= 0 ? of_hub : nullptr, order >= 0 ? of_external : nullptr));
    if (order <= 0) {
      TRY_ASSIGN(of_hub, hub_groups.next());
    }
    if (order >= 0) {
      TRY_ASSIGN(of_external, external_groups.next());
    }
  }
  return {};
}

tl::unexpected<Error> comparison_stopped() {
  return fail(ErrorKind::kCancelled, "plan.cancelled", "the comparison was stopped");
}

}  // namespace twinstep::plan
