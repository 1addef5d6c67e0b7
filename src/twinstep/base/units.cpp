#include "twinstep/base/units.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>
#include <vector>

namespace twinstep {
namespace {

struct Unit {
  std::string_view name;
  uint64_t factor;
};
constexpr std::array kDurations{Unit{"ms", 1},     Unit{"s", 1000},      Unit{"min", 60'000},
                                Unit{"m", 60'000}, Unit{"h", 3'600'000}, Unit{"d", 86'400'000}};
constexpr std::array kSizes{
    Unit{"B", 1},     Unit{"KiB", 1ull << 10}, Unit{"MiB", 1ull << 20},  Unit{"GiB", 1ull << 30},
    Unit{"KB", 1000}, Unit{"MB", 1'000'000},   Unit{"GB", 1'000'000'000}};

template <size_t N>
Result<uint64_t> parse_with(std::string_view text, const std::array<Unit, N>& units, std::string_view what,
                            std::string_view example) {
  const auto bad = [&] {
    return fail(ErrorKind::kInvalid, "config.bad-unit",
                fmt::format("'{}' is not a {}: write a whole number and a unit, e.g. {}", text, what, example));
  };
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return bad();
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  for (const Unit& known : units)
    if (unit == known.name) {
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / known.factor) return bad();
      return number * known.factor;
    }
  return bad();
}

}  // namespace

Result<Millis> parse_duration(std::string_view text) {
  TRY_ASSIGN(const uint64_t count, parse_with(text, kDurations, "duration", "\"30s\", \"5m\", \"2h\", \"1d\""));
  return Millis{static_cast<Millis::rep>(count)};
}

Result<uint64_t> parse_size(std::string_view text) {
  return parse_with(text, kSizes, "size", "\"64MiB\", \"512KiB\", \"2GiB\"");
}

std::string format_duration(Millis span) {
  const auto ms = span.count();
  if (ms < 60'000) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000.0);
  const auto minutes = (ms + 30'000) / 60'000;
  if (minutes < 60) return fmt::format("{} min", minutes);
  const auto hours = minutes / 60;
  if (hours < 48)
    return minutes % 60 == 0 ? fmt::format("{} h", hours) : fmt::format("{} h {} min", hours, minutes % 60);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

std::string format_count(uint64_t count) {
  std::string digits = fmt::format("{}", count);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string format_bytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return fmt::format("{:.1f} {}", value, unit);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace twinstep
