#include "twinstep/plan/plan_text.h"

#include "twinstep/base/time_format.h"
#include "twinstep/base/units.h"
#include "twinstep/plan/exact_json.h"

namespace twinstep::plan {
namespace {

struct Look {
  char sign;
  std::string_view title;
};

Look look_of(Op op) {
  switch (op) {
    case Op::kCreate:
      return {'+', "Create"};
    case Op::kUpdate:
      return {'~', "Update"};
    case Op::kDelete:
      return {'-', "Delete"};
    case Op::kDisable:
      return {'!', "Disable"};
    case Op::kAdopt:
      return {'>', "Adopt"};
  }
  return {'?', "Unknown"};
}

void row(std::string& out, char sign, std::string_view name, uint64_t count, std::string_view more = {}) {
  if (count == 0) return;
  out += fmt::format("  {} {:<10} {:>11}", sign, name, format_count(count));
  if (!more.empty()) out += fmt::format("   {}", more);
  out += '\n';
}

std::string of_which(std::initializer_list<std::pair<uint64_t, std::string_view>> parts) {
  std::string out;
  for (const auto& [count, text] : parts)
    if (count > 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", format_count(count), text);
  return out;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out = as_utf8(text);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto c = static_cast<unsigned char>(out[i]);
    if (c < 0x20 || c == 0x7F) out[i] = '?';
    if (c == 0xC2 && i + 1 < out.size() && static_cast<unsigned char>(out[i + 1]) < 0xA0) out.replace(i, 2, "?");
  }
  return out;
}

std::string summary_text(const PlanHead& head) {
  const Counts& counts = head.counts;
  std::string out = fmt::format("Plan {}\n", printable(head.id.value));
  out += fmt::format("  link    {}: {} -> {}\n", printable(head.link), printable(head.external), printable(head.hub));
  out +=
      fmt::format("  made    {}, good until {}\n", format_iso_seconds(head.created), format_iso_seconds(head.expires));
  out += fmt::format("  listed  {} devices in {}, {} in the hub, {} of them owned\n",
                     format_count(counts.external_devices), printable(head.external), format_count(counts.hub_devices),
                     format_count(counts.owned));

  if (counts.changes() == 0) {
    out += "\nNothing to change.\n";
  } else {
    out += "\nTo change\n";
    row(out, look_of(Op::kCreate).sign, "create", counts.creates);
    row(out, look_of(Op::kUpdate).sign, "update", counts.updates, of_which({{counts.enables, "to be enabled again"}}));
    row(out, look_of(Op::kDelete).sign, "delete", counts.deletes);
    row(out, look_of(Op::kDisable).sign, "disable", counts.disables);
    row(out, look_of(Op::kAdopt).sign, "adopt", counts.adopts);
  }

  std::string alone;
  row(alone, ' ', "unchanged", counts.unchanged, of_which({{counts.already_disabled, "already disabled"}}));
  row(alone, ' ', "foreign", counts.foreign, "not made by this link");
  row(alone, ' ', "excluded", counts.excluded,
      of_which({{counts.excluded_edge, "Edge"},
                {counts.excluded_modules, "with modules"},
                {counts.excluded_certificates, "with certificates"}}));
  row(alone, ' ', "conflict", counts.conflicts);
  row(alone, ' ', "invalid", counts.invalid);
  row(alone, ' ', "kept", counts.kept, "not listed any more (deletes: never)");
  row(alone, ' ', "withheld", counts.withheld, "deletes that wait for a complete list");
  row(alone, ' ', "withheld", counts.withheld_changes, "changes that wait for a list that is not empty");
  if (!alone.empty()) out += "\nLeft alone\n" + alone;

  if (!head.why_withheld.empty()) {
    out += "\nDeletes are withheld\n";
    for (const std::string& why : head.why_withheld) out += fmt::format("  {}\n", printable(why));
  }
  if (head.verdict.ok()) {
    out += "\nGuard: ok\n";
  } else {
    out += "\nGuard: blocked\n";
    for (const Tripped& one : head.verdict.tripped)
      out += fmt::format("  {}: {}\n", printable(one.rule), printable(one.text));
    if (!head.verdict.permit.deletes) out += "  without approval nothing is deleted or disabled\n";
    if (!head.verdict.permit.updates) out += "  without approval nothing is updated\n";
  }
  if (!head.problems.empty()) out += "\nProblems\n" + problems_text(head.problems);
  return out;
}

std::string problems_text(const std::vector<Problem>& problems) {
  std::string out;
  for (const Problem& one : problems) {
    out += fmt::format("  {:<8}  {}", to_string(one.kind), printable(one.side));
    if (!one.place.empty()) out += fmt::format(", {}", printable(one.place));
    if (!one.id.empty()) out += fmt::format(", {}", printable(one.id));
    out += fmt::format(": {}\n", printable(one.text));
  }
  return out;
}

std::string change_text(const Change& change) {
  return fmt::format("  {} {:<8} {}   {}\n", look_of(change.op).sign, to_string(change.op), printable(change.id.value),
                     printable(change.reason));
}

void ChangeGroups::add(const Change& change) {
  Group& group = groups_[static_cast<size_t>(change.op)];
  ++group.count;
  if (most_ == 0 || group.lines.size() < most_) group.lines.push_back(change_text(change));
}

std::string ChangeGroups::text() const {
  std::string out;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Group& group = groups_[i];
    if (group.count == 0) continue;
    if (!out.empty()) out += '\n';
    out += fmt::format("{} {}\n", look_of(static_cast<Op>(i)).title, format_count(group.count));
    for (const std::string& line : group.lines) out += line;
    if (const uint64_t left = group.count - group.lines.size(); left > 0)
      out += fmt::format("    and {} more\n", format_count(left));
  }
  return out;
}

}  // namespace twinstep::plan
