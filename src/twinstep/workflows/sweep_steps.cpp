#include "twinstep/workflows/sweep_steps.h"

namespace twinstep::workflows {
namespace {

/// The step's object; empty when it is not saved.
Result<std::optional<json::object>> step_object(const engine::Attempt& attempt, std::string_view step) {
  const std::string* text = attempt.saved(step);
  if (!text) return std::optional<json::object>{};
  TRY_ASSIGN(json::value value, json::parse(*text, fmt::format("the sweep's step {}", step)));
  if (!value.is_object())
    return fail(ErrorKind::kCorrupt, "sweep.step", fmt::format("the sweep's step {} is not a JSON object", step));
  return std::optional<json::object>(std::move(value.get_object()));
}

uint64_t count_at(const json::object& o, std::string_view name) {
  return static_cast<uint64_t>(std::max<int64_t>(0, json::int_or(o, name, 0)));
}

}  // namespace

Result<SweepSteps> read_sweep_steps(const engine::Attempt& attempt) {
  SweepSteps out;
  TRY_ASSIGN(const auto plan, step_object(attempt, "plan"));
  if (plan) {
    TRY_ASSIGN(out.plan, json::need_string(*plan, "plan"));
    if (const json::object* held = json::object_at(*plan, "held")) {
      HeldDeletes& to = out.held.emplace();
      to.from = json::string_or(*held, "from");
      to.count = count_at(*held, "count");
      TRY_ASSIGN(to.orphans, json::need_string(*held, "orphans"));
      to.code = json::string_or(*held, "code");
      to.status = json::string_or(*held, "status");
      to.approvable = json::bool_or(*held, "approvable", false);
    }
  }
  TRY_ASSIGN(const auto cursor, step_object(attempt, "cursor"));
  if (cursor) {
    out.cursor.after = json::string_or(*cursor, "after");
    out.cursor.creates = count_at(*cursor, "create");
    out.cursor.deletes = count_at(*cursor, "delete");
    out.cursor.reported = count_at(*cursor, "reported");
    out.cursor.approved = json::bool_or(*cursor, "approved", false);
    out.cursor.rest = json::string_or(*cursor, "rest");
  }
  TRY_ASSIGN(const auto approved, step_object(attempt, "approved"));
  if (approved) out.approved_plan = json::string_or(*approved, "plan");
  TRY_ASSIGN(const auto report, step_object(attempt, "report"));
  if (report) out.status = json::string_or(*report, "status");
  return out;
}

json::value to_json(const std::optional<HeldDeletes>& held) {
  if (!held) return nullptr;
  return json::object{{"from", held->from}, {"count", held->count},   {"orphans", held->orphans},
                      {"code", held->code}, {"status", held->status}, {"approvable", held->approvable}};
}

json::object to_json(const SweepCursor& cursor) {
  return {{"after", cursor.after},       {"create", cursor.creates},    {"delete", cursor.deletes},
          {"reported", cursor.reported}, {"approved", cursor.approved}, {"rest", cursor.rest}};
}

}  // namespace twinstep::workflows
