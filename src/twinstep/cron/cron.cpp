#include "twinstep/cron/cron.h"

#include <date/tz.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <vector>

namespace twinstep {
namespace {
using namespace std::chrono_literals;
using std::chrono::seconds;

constexpr std::array<std::string_view, 12> kMonths = {"january",   "february", "march",    "april",
                                                      "may",       "june",     "july",     "august",
                                                      "september", "october",  "november", "december"};
constexpr std::array<std::string_view, 7> kWeekdays = {"sunday",   "monday", "tuesday", "wednesday",
                                                       "thursday", "friday", "saturday"};
constexpr std::array<int, 13> kLongest = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};  // days of a month

struct Field {
  std::string_view name;
  std::string_view allowed;
  int low;
  int high;
  bool is_month = false;
  bool is_weekday = false;
  bool is_day() const { return is_weekday || name == "day-of-month"; }
};
constexpr std::array<Field, 6> kFields = {{{"second", "0-59", 0, 59},
                                           {"minute", "0-59", 0, 59},
                                           {"hour", "0-23", 0, 23},
                                           {"day-of-month", "1-31", 1, 31},
                                           {"month", "1-12 or JAN-DEC", 1, 12, true, false},
                                           {"day-of-week", "0-7 or SUN-SAT (0 and 7 are Sunday)", 0, 7, false, true}}};

struct Token {
  std::string_view text;
  size_t at;  // from 1, in the expression
};

// Texts of users go into messages: printable ASCII only, and not too much of it.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 60));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text.size() > 60 ? out + "..." : out;
}

tl::unexpected<Error> refuse(const Field& field, Token token, std::string_view why) {
  return fail(
      ErrorKind::kInvalid, "cron.bad-expression",
      fmt::format("{} field, '{}' at position {}: {}; allowed are {}, *, lists (1,2), ranges (1-5) and steps "
                  "(*/5){}",
                  field.name, shown(token.text), token.at, why, field.allowed, field.is_day() ? ", or ? alone" : ""));
}

template <size_t N>
std::optional<int> named(const std::array<std::string_view, N>& names, std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  for (size_t i = 0; i < N; ++i)
    if (lower == names[i] || lower == names[i].substr(0, 3)) return static_cast<int>(i);
  return std::nullopt;
}

std::optional<int> number(std::string_view text) {
  int out = 0;
  if (text.empty() || text[0] == '-') return std::nullopt;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

Result<int> read_value(const Field& field, Token token) {
  if (field.is_month)
    if (const auto month = named(kMonths, token.text)) return *month + 1;
  if (field.is_weekday)
    if (const auto day = named(kWeekdays, token.text)) return *day;
  const auto value = number(token.text);
  if (token.text.empty()) return refuse(field, token, "a value is missing");
  if (!value) {
    return refuse(field, token, "not a value");
  }
  if (*value < field.low || *value > field.high) return refuse(field, token, "out of range");
  return *value;
}

// One member of a list: value, range or *, with an optional step.
Result<uint64_t> read_item(const Field& field, Token item) {
  const size_t slash = item.text.find('/');
  const Token base{item.text.substr(0, slash), item.at};
  int first = field.low;
  int last = field.is_weekday ? 6 : field.high;
  const size_t dash = base.text.find('-');
  if (base.text == "*") {
  } else if (dash == std::string_view::npos) {
    TRY_ASSIGN(first, read_value(field, base));
    if (slash == std::string_view::npos || first > last) last = first;
  } else {
    TRY_ASSIGN(first, read_value(field, {base.text.substr(0, dash), base.at}));
    TRY_ASSIGN(last, read_value(field, {base.text.substr(dash + 1), base.at + dash + 1}));
    if (field.is_weekday && last == 0 && first > 0) last = 7;  // FRI-SUN
    if (first > last) return refuse(field, base, "the range runs backwards; write it as a list of two ranges");
  }
  int step = 1;
  if (slash != std::string_view::npos) {
    const Token text{item.text.substr(slash + 1), item.at + slash + 1};
    const auto read = number(text.text);
    const int most = field.high - field.low + (field.is_weekday ? 0 : 1);
    if (!read || *read < 1 || *read > most)
      return refuse(field, text, fmt::format("a step is a number from 1 to {}", most));
    step = *read;
  }
  uint64_t bits = 0;
  for (int value = first; value <= last; value += step) bits |= 1ULL << (field.is_weekday ? value % 7 : value);
  return bits;
}

Result<uint64_t> read_field(const Field& field, Token token) {
  if (token.text == "?" && field.is_day()) token.text = "*";
  uint64_t bits = 0;
  for (size_t begin = 0; begin <= token.text.size();) {
    const size_t comma = std::min(token.text.find(',', begin), token.text.size());
    TRY_ASSIGN(const uint64_t more, read_item(field, {token.text.substr(begin, comma - begin), token.at + begin}));
    bits |= more;
    begin = comma + 1;
  }
  return bits;
}

std::vector<Token> split(std::string_view text) {
  std::vector<Token> out;
  for (size_t at = 0; (at = text.find_first_not_of(" \t", at)) != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(" \t", at), text.size());
    out.push_back({text.substr(at, end - at), at + 1});
    at = end;
  }
  return out;
}

Result<const date::time_zone*> find_zone(std::string_view name) {
  if (name != "localtime" && name != "posixrules") {
    try {
      const date::time_zone* zone = date::locate_zone(name);
      zone->get_info(date::sys_seconds{});  // reads its file now, not at the first use
      return zone;
    } catch (const std::exception&) {
      // The library has no other way to say that it knows no such zone.
    }
  }
  return fail(ErrorKind::kInvalid, "cron.bad-zone",
              fmt::format("'{}' is not a time zone of this system; write UTC or an IANA name such as Europe/Berlin, in "
                          "this case, and see that the package tzdata is installed",
                          shown(name)));
}

bool has(uint64_t bits, unsigned value) { return (bits >> value & 1) != 0; }

std::vector<int> values(uint64_t bits) {
  std::vector<int> out;
  for (int i = 0; i < 64; ++i)
    if (has(bits, static_cast<unsigned>(i))) out.push_back(i);
  return out;
}

// The n of values 0, n, 2n, ... below `end`; 0 when they are not such a series of two or more.
int series_step(const std::vector<int>& all, int end) {
  if (all.size() < 2 || all[0] != 0) return 0;
  const int step = all[1];
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] != static_cast<int>(i) * step) return 0;
  return end % step == 0 && all.back() + step == end ? step : 0;
}

std::string listed(const std::vector<int>& all) { return fmt::format("{}", fmt::join(all, ", ")); }

template <size_t N>
std::string listed_names(const std::array<std::string_view, N>& names, uint64_t bits, int first) {
  std::vector<std::string> out;
  for (const int value : values(bits)) {
    std::string name(names[static_cast<size_t>(value - first)]);
    name[0] = static_cast<char>(name[0] - 'a' + 'A');
    out.push_back(std::move(name));
  }
  return fmt::format("{}", fmt::join(out, ", "));
}

constexpr uint64_t kAllHours = (1ULL << 24) - 1;
constexpr uint64_t kAllMinutes = (1ULL << 60) - 1;
constexpr uint64_t kAllDays = (1ULL << 32) - 2;
constexpr uint64_t kAllMonths = (1ULL << 13) - 2;
constexpr uint64_t kAllWeekdays = (1ULL << 7) - 1;

}  // namespace

Result<Cron> Cron::parse(std::string_view text, std::string_view zone) {
  const std::vector<Token> tokens = split(text);
  if (tokens.size() != 5 && tokens.size() != 6)
    return fail(ErrorKind::kInvalid, "cron.bad-expression",
                fmt::format("schedule '{}' has {} fields; write 5 (minute hour day-of-month month day-of-week) or 6 "
                            "(the same with the second in front)",
                            shown(text), tokens.size()));
  const size_t first = 6 - tokens.size();
  Cron out;
  std::array<uint64_t*, 6> targets = {&out.seconds_, &out.minutes_, &out.hours_,
                                      &out.days_,    &out.months_,  &out.weekdays_};
  for (size_t i = first; i < 6; ++i) {
    TRY_ASSIGN(*targets[i], read_field(kFields[i], tokens[i - first]));
  }
  const Token day = tokens[3 - first];
  const auto restricted = [](Token token) { return token.text[0] != '*' && token.text[0] != '?'; };
  out.either_day_ = first == 1 && restricted(day) && restricted(tokens[5 - first]);

  const int earliest = std::countr_zero(out.days_);
  const auto months = values(out.months_);
  if (std::none_of(months.begin(), months.end(),
                   [&](int month) { return earliest <= kLongest[static_cast<size_t>(month)]; }))
    return refuse(kFields[3], day, fmt::format("{} never has that day", listed_names(kMonths, out.months_, 1)));
  TRY_ASSIGN(out.zone_, find_zone(zone));
  return out;
}

bool Cron::matches_day(LocalSeconds day) const {
  const date::sys_days days{std::chrono::duration_cast<date::days>(day.time_since_epoch())};
  const date::year_month_day ymd(days);
  if (!has(months_, static_cast<unsigned>(ymd.month()))) return false;
  const bool date = has(days_, static_cast<unsigned>(ymd.day()));
  const bool weekday = has(weekdays_, date::weekday(days).c_encoding());
  return either_day_ ? date || weekday : date && weekday;
}

std::optional<Cron::LocalSeconds> Cron::next_wall_time(LocalSeconds from, LocalSeconds end) const {
  for (LocalSeconds day = std::chrono::floor<date::days>(from); day < end; day += 24h, from = day) {
    if (!matches_day(day)) continue;
    for (const int hour : values(hours_)) {
      if (day + std::chrono::hours(hour + 1) <= from) continue;
      for (const int minute : values(minutes_)) {
        const LocalSeconds start = day + std::chrono::hours(hour) + std::chrono::minutes(minute);
        if (start + 1min <= from) continue;
        const auto past = from > start ? (from - start).count() : 0;
        const uint64_t left = seconds_ >> past;
        if (left == 0) continue;
        const LocalSeconds found = start + seconds(past + std::countr_zero(left));
        return found < end ? std::optional(found) : std::nullopt;
      }
    }
  }
  return std::nullopt;
}

std::optional<SystemTime> Cron::next_after(SystemTime time) const {
  using namespace date::literals;
  const bool follows_clock = hours_ == kAllHours;
  const date::sys_seconds last = date::sys_days(9900_y / 1 / 1);
  const date::sys_seconds earliest = date::sys_days(1900_y / 1 / 1);
  date::sys_seconds from = std::max(std::chrono::floor<seconds>(time) + 1s, earliest);
  const auto wall = [](date::sys_seconds at, seconds offset) { return LocalSeconds(at.time_since_epoch() + offset); };
  while (from < last) {
    const date::sys_info span = zone_->get_info(from);
    LocalSeconds begin = wall(from, span.offset);
    if (!follows_clock && span.begin > earliest) {
      const seconds before = zone_->get_info(span.begin - 1s).offset;
      const LocalSeconds old_wall = wall(span.begin, before);
      // Set forward: what the jump leaves out runs at the jump. Set back: what was there already does not run again.
      if (from == span.begin && next_wall_time(old_wall, begin)) return SystemTime(from);
      begin = std::max(begin, old_wall);
    }
    const date::sys_seconds end = std::min(span.end, last);
    if (const auto found = next_wall_time(begin, wall(end, span.offset)))
      return SystemTime(found->time_since_epoch() - span.offset);
    from = end;
  }
  return std::nullopt;
}

std::string Cron::describe() const {
  const auto seconds_list = values(seconds_);
  const auto minutes = values(minutes_);
  const auto hours = values(hours_);
  const bool every_hour = hours_ == kAllHours;
  const int minute_step = series_step(minutes, 60);
  std::string out;
  bool tell_seconds = seconds_ != 1;
  if (minutes.size() == 1 && hours.size() == 1) {
    out = fmt::format("every day at {:02}:{:02}", hours[0], minutes[0]);
  } else {
    if (minutes_ == kAllMinutes)
      out = seconds_ == kAllMinutes ? "every second" : "every minute";
    else if (minute_step > 0)
      out = fmt::format("every {} minutes", minute_step);
    else
      out = fmt::format("every hour at minute {}", listed(minutes));
    if (seconds_ == kAllMinutes && minutes_ == kAllMinutes) tell_seconds = false;
    if (!every_hour) out += fmt::format(", in hour {}", listed(hours));
  }
  if (tell_seconds)
    out += seconds_ == kAllMinutes ? ", every second of it" : fmt::format(", at second {}", listed(seconds_list));
  const bool days = days_ != kAllDays;
  const bool weekdays = weekdays_ != kAllWeekdays;
  if (days) out += fmt::format(", on day {} of the month", listed(values(days_)));
  if (weekdays)
    out += fmt::format("{}{}", days ? (either_day_ ? " or on " : " if it is ") : ", on ",
                       listed_names(kWeekdays, weekdays_, 0));
  if (months_ != kAllMonths) out += ", in " + listed_names(kMonths, months_, 1);
  return out + ", " + zone_->name();
}

}  // namespace twinstep
