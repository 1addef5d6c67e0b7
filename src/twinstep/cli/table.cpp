#include "twinstep/cli/table.h"

#include <algorithm>
#include <array>

#include "twinstep/base/time_format.h"
#include "twinstep/cli/terminal.h"
#include "twinstep/plan/plan_text.h"

namespace twinstep::cli {
namespace {

/// Characters of UTF-8.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string span_text(std::chrono::seconds span) {
  struct Unit {
    int64_t seconds;
    const char* name;
  };
  constexpr std::array kUnits{Unit{2 * 86'400, "d"}, Unit{2 * 3'600, "h"}, Unit{2 * 60, "min"}};
  for (const Unit& unit : kUnits)
    if (span.count() >= unit.seconds) return fmt::format("{} {}", span.count() / (unit.seconds / 2), unit.name);
  return fmt::format("{} s", span.count());
}

}  // namespace

std::string table_text(const std::vector<std::string>& titles, const std::vector<std::vector<std::string>>& rows,
                       std::optional<size_t> columns) {
  std::vector<std::vector<std::string>> all{titles};
  for (const auto& row : rows) {
    auto& shown = all.emplace_back();
    for (const std::string& cell : row) shown.push_back(plan::printable(cell));
  }
  std::vector<size_t> widths(titles.size(), 0);
  for (const auto& row : all)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string out;
  for (const auto& row : all) {
    std::string text;
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text += std::string(widths[i] - width_of(row[i]) + 2, ' ');
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += columns ? cut_to(text, *columns) : std::string_view(text);
    out += '\n';
  }
  return out;
}

std::string age_text(std::string_view iso, SystemTime now) {
  const auto time = parse_iso(iso);
  if (!time) return {};
  const auto span = std::chrono::duration_cast<std::chrono::seconds>(now - *time);
  return span.count() < 0 ? "in " + span_text(-span) : span_text(span);
}

std::string time_text(std::string_view iso, SystemTime now) {
  const auto time = parse_iso(iso);
  if (!time) return {};
  const std::string age = age_text(iso, now);
  return fmt::format("{} ({}{})", format_iso_seconds(*time), age, *time > now ? "" : " ago");
}

std::string text_at(const json::object& o, std::string_view key) {
  const json::value* found = json::find(o, key);
  if (!found || found->is_null()) return {};
  return found->is_string() ? std::string(found->get_string()) : json::write(*found);
}

}  // namespace twinstep::cli
