#include "twinstep/workflows/plan_match.h"

#include <deque>

#include "twinstep/base/encoding.h"

namespace twinstep::workflows {
namespace {

using plan::Op;

/// A digest over op and id of every change, to see whether two lists of changes are the same.
class ChangesDigest {
 public:
  Status add(const plan::Change& change) {
    digest_.update(fmt::format("{}\t{}\n", plan::to_string(change.op), change.id.value));
    return {};
  }
  std::string hex() { return digest_.hex_digest(); }

 private:
  Sha256 digest_;
};

/// Is the fresh comparison's list of changes the one in the plan?
Result<bool> same_changes(const plan::PlanReader& plan, const ChangeSource& fresh) {
  ChangesDigest planned, now;
  TRY(plan.changes([&](const plan::Change& change) { return planned.add(change); }));
  TRY(fresh([&](const plan::Change& change) { return now.add(change); }));
  return planned.hex() == now.hex();
}

/// Goes through both lists, which come in canonical order. `both` gets the fresh change.
Status merge(const plan::PlanReader& plan, const ChangeSource& fresh, const plan::ChangeSink& both,
             const plan::ChangeSink& only_planned) {
  struct Wanted {
    DeviceId id;
    Op op;
  };
  std::deque<Wanted> wanted;
  TRY(plan.changes([&](const plan::Change& change) -> Status {
    wanted.push_back({change.id, change.op});
    return {};
  }));
  const auto pass = [&]() -> Status {
    plan::Change change;
    change.id = std::move(wanted.front().id);
    change.op = wanted.front().op;
    wanted.pop_front();
    return only_planned(change);
  };
  TRY(fresh([&](const plan::Change& change) -> Status {
    const std::string here = canonical_device_id(change.id.value);
    while (!wanted.empty() && canonical_device_id(wanted.front().id.value) < here) TRY(pass());
    if (wanted.empty() || canonical_device_id(wanted.front().id.value) != here) return {};
    const bool same = wanted.front().id == change.id && wanted.front().op == change.op;
    wanted.pop_front();
    return same ? both(change) : Status{};
  }));
  while (!wanted.empty()) TRY(pass());
  return {};
}

Status ignore(const plan::Change&) { return {}; }

}  // namespace

Result<std::string> why_stale(const plan::PlanReader& plan, const PlannedLink& fresh, const ChangeSource& changes,
                              bool resumed) {
  if (fresh.external.fingerprint() != plan.head().external_fingerprint)
    return fmt::format("{} has changed since", plan.head().external);
  if (resumed) return std::string();
  if (fresh.hub.fingerprint() != plan.head().hub_fingerprint) return std::string("the hub has changed since");
  TRY_ASSIGN(const bool same, same_changes(plan, changes));
  if (same) return std::string();
  return fresh.why_withheld.empty() ? std::string("the link's settings give other changes now")
                                    : fresh.why_withheld.front();
}

ChangeSource still_to_do(const plan::PlanReader& plan, const ChangeSource& fresh) {
  return [&plan, fresh](const plan::ChangeSink& sink) { return merge(plan, fresh, sink, ignore); };
}

ChangeSource done_before(const plan::PlanReader& plan, const ChangeSource& fresh) {
  return [&plan, fresh](const plan::ChangeSink& sink) { return merge(plan, fresh, ignore, sink); };
}

plan::Counts count_changes(const plan::Counts& all, const plan::Permit& permit) {
  plan::Counts out;
  out.creates = all.creates;
  out.adopts = all.adopts;
  if (permit.updates) out.updates = all.updates, out.enables = all.enables;
  if (permit.deletes) out.deletes = all.deletes, out.disables = all.disables;
  return out;
}

Result<plan::Counts> count_changes(const ChangeSource& changes) {
  plan::Counts out;
  TRY(changes([&](const plan::Change& change) -> Status {
    switch (change.op) {
      case Op::kCreate:
        ++out.creates;
        break;
      case Op::kUpdate:
        ++out.updates, out.enables += change.enable;
        break;
      case Op::kDelete:
        ++out.deletes;
        break;
      case Op::kDisable:
        ++out.disables;
        break;
      case Op::kAdopt:
        ++out.adopts;
        break;
    }
    return {};
  }));
  return out;
}

}  // namespace twinstep::workflows
