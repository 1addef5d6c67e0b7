#pragma once

#include <string>

#include "twinstep/base/clock.h"
#include "twinstep/json/json.h"

/// Runs and tasks of the API as people read them.
namespace twinstep::cli {

/// "  link     default\n", nothing for an empty text. Texts of remotes become printable.
std::string field(std::string_view name, std::string_view text);
/// What a list's `items` are, as a table as wide as the terminal.
std::string runs_table(const json::value& page, SystemTime now);
std::string tasks_table(const json::value& page, SystemTime now);
/// Says how to get what is on the next pages; empty when there are none.
std::string more_text(const json::value& page);

/// What all details have: link, device, state, times, what it waits for.
std::string workflow_text(const json::object& workflow, SystemTime now);
std::string history_text(const json::object& workflow);
/// The plan's id, counts and what tripped.
std::string plan_step_text(const json::object& run);
/// What was approved and done.
std::string report_text(const json::object& run);

}  // namespace twinstep::cli
