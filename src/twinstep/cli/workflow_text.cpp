#include "twinstep/cli/workflow_text.h"

#include "twinstep/base/units.h"
#include "twinstep/cli/table.h"
#include "twinstep/cli/terminal.h"
#include "twinstep/config/load.h"
#include "twinstep/plan/plan_text.h"

namespace twinstep::cli {
namespace {

const json::array& items_of(const json::value& page) { return page.as_object().at("items").as_array(); }

std::string status_of(const json::object& one) {
  const std::string status = text_at(one, "status"), code = text_at(one, "code");
  return code.empty() ? status : fmt::format("{} [{}]", status, code);
}

}  // namespace

std::string field(std::string_view name, std::string_view text) {
  if (text.empty()) return {};
  return fmt::format("  {:<9} {}\n", name, plan::printable(text));
}

std::string runs_table(const json::value& page, SystemTime now) {
  std::vector<std::vector<std::string>> rows;
  for (const json::value& item : items_of(page)) {
    const json::object& one = item.as_object();
    rows.push_back({text_at(one, "id"), text_at(one, "link"), text_at(one, "kind"), text_at(one, "state"),
                    age_text(text_at(one, "created"), now), status_of(one)});
  }
  if (rows.empty()) return "no runs\n";
  return table_text({"RUN", "LINK", "KIND", "STATE", "AGE", "STATUS"}, rows,
                    table_columns(config::process_environment()));
}

std::string tasks_table(const json::value& page, SystemTime now) {
  std::vector<std::vector<std::string>> rows;
  for (const json::value& item : items_of(page)) {
    const json::object& one = item.as_object();
    rows.push_back({text_at(one, "id"), text_at(one, "link"), text_at(one, "device"), text_at(one, "state"),
                    age_text(text_at(one, "created"), now), status_of(one)});
  }
  if (rows.empty()) return "no tasks\n";
  return table_text({"TASK", "LINK", "DEVICE", "STATE", "AGE", "STATUS"}, rows,
                    table_columns(config::process_environment()));
}

std::string more_text(const json::value& page) {
  return page.as_object().at("next").is_null() ? "" : "there are more: --all shows them, --limit the first of them\n";
}

std::string workflow_text(const json::object& workflow, SystemTime now) {
  std::string out = field("link", fmt::format("{} ({})", text_at(workflow, "link"), text_at(workflow, "kind")));
  out += field("device", text_at(workflow, "device"));
  out += field("state", text_at(workflow, "state"));
  out += field("status", status_of(workflow));
  out += field("waits for", text_at(workflow, "waitsFor"));
  out += field("created", time_text(text_at(workflow, "created"), now));
  out += field("ended", time_text(text_at(workflow, "ended"), now));
  if (const int64_t tries = json::int_or(workflow, "attempt", 0); tries > 0)
    out += field("tries", fmt::to_string(tries));
  if (json::bool_or(workflow, "cancelAsked", false) && text_at(workflow, "ended").empty())
    out += field("cancel", "asked for; it ends at its next safe point");
  return out;
}

std::string history_text(const json::object& workflow) {
  const json::array* lines = json::array_at(workflow, "history");
  if (!lines || lines->empty()) return {};
  std::vector<std::vector<std::string>> rows;
  for (const json::value& line : *lines) {
    const json::object& one = line.as_object();
    rows.push_back({text_at(one, "at"), text_at(one, "what"), text_at(one, "detail")});
  }
  return "\n" + table_text({"HISTORY", "WHAT", "DETAIL"}, rows, table_columns(config::process_environment()));
}

std::string plan_step_text(const json::object& run) {
  const json::object* plan = json::object_at(run, "plan");
  if (!plan) return {};
  std::string out = field("plan", text_at(*plan, "plan"));
  out += field("good until", text_at(*plan, "expires"));
  if (const json::object* counts = json::object_at(*plan, "counts"))
    for (const auto& [name, count] : *counts)
      if (const int64_t number = json::int_or(*counts, name, 0); number > 0)
        out += fmt::format("  {:>11}  {}\n", format_count(static_cast<uint64_t>(number)), plan::printable(name));
  const json::object* verdict = json::object_at(*plan, "verdict");
  if (const json::array* tripped = verdict ? json::array_at(*verdict, "tripped") : nullptr)
    for (const json::value& one : *tripped)
      if (one.is_object())
        out += fmt::format("guard: {}: {}\n", plan::printable(text_at(one.get_object(), "rule")),
                           plan::printable(text_at(one.get_object(), "text")));
  if (const json::array* withheld = json::array_at(*plan, "why_withheld"))
    for (const json::value& one : *withheld)
      if (one.is_string()) out += fmt::format("withheld: {}\n", plan::printable(one.get_string()));
  return out;
}

std::string report_text(const json::object& run) {
  std::string out;
  if (const json::object* approved = json::object_at(run, "approved"))
    out += fmt::format("approved: plan {} by {}\n", plan::printable(text_at(*approved, "plan")),
                       plan::printable(text_at(*approved, "by")));
  const json::object* report = json::object_at(run, "report");
  const json::object* rows = report ? json::object_at(*report, "rows") : nullptr;
  if (!rows) return out;
  out += fmt::format("{:<10}{:>12}{:>12}{:>12}\n", "", "done", "failed", "skipped");
  for (const auto& row : *rows) {
    const json::object* counts = row.value().if_object();
    if (!counts) continue;
    const auto count = [&](const char* name) {
      return format_count(static_cast<uint64_t>(std::max<int64_t>(0, json::int_or(*counts, name, 0))));
    };
    out += fmt::format("{:<10}{:>12}{:>12}{:>12}\n", plan::printable(row.key()), count("done"), count("failed"),
                       count("skipped"));
  }
  return out;
}

}  // namespace twinstep::cli
