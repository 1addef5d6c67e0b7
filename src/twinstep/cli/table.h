#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/json/json.h"

namespace twinstep::cli {

/// Rows in columns as wide as their longest cell, two spaces apart; the last column takes what is left of `columns` and
/// is cut there (empty = never). Cells may come from remotes: what would steer a terminal is shown as a question mark.
std::string table_text(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows,
                       std::optional<size_t> columns);

/// "12 s", "5 min", "3 h", "12 d": how long ago a time of the API was, or "in 5 min"; empty for what is no time.
std::string age_text(std::string_view iso, SystemTime now);
/// "2026-11-25T18:50:28Z (5 min ago)"; empty for what is no time.
std::string time_text(std::string_view iso, SystemTime now);

/// A member as text; empty when it is absent or null.
std::string text_at(const json::object& o, std::string_view key);

}  // namespace twinstep::cli
