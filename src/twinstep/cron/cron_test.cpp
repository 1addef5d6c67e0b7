#include "twinstep/cron/cron.h"

#include <date/tz.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "twinstep/base/time_format.h"

namespace twinstep {
namespace {
using namespace std::chrono_literals;

struct Row {
  const char* text;
  const char* zone;
  const char* after;
  const char* next;
};

constexpr const char* kBerlin = "Europe/Berlin";
constexpr const char* kNewYork = "America/New_York";
constexpr const char* kLordHowe = "Australia/Lord_Howe";

// 24 November 2026 is a Tuesday.
const Row kRows[] = {
    {"* * * * *", "UTC", "2026-11-24T10:00:00Z", "2026-11-24T10:01:00Z"},
    {"* * * * *", "UTC", "2026-11-24T10:00:59.999999Z", "2026-11-24T10:01:00Z"},
    {"* * * * *", "UTC", "2026-12-31T23:59:00Z", "2027-01-01T00:00:00Z"},
    {"0 * * * *", "UTC", "2026-11-24T09:59:59.5Z", "2026-11-24T10:00:00Z"},
    {"0 * * * *", "UTC", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"},
    {"*/15 * * * *", "UTC", "2026-11-24T10:46:00Z", "2026-11-24T11:00:00Z"},
    {"5/15 * * * *", "UTC", "2026-11-24T10:21:00Z", "2026-11-24T10:35:00Z"},
    {"10-50/20 * * * *", "UTC", "2026-11-24T10:31:00Z", "2026-11-24T10:50:00Z"},
    {"7,3,3 * * * *", "UTC", "2026-11-24T10:04:00Z", "2026-11-24T10:07:00Z"},
    {"0 3 * * *", "UTC", "2026-11-24T03:00:00Z", "2026-11-25T03:00:00Z"},
    {"0 8-17/3 * * *", "UTC", "2026-11-24T14:00:00Z", "2026-11-24T17:00:00Z"},
    {"0 8-17/3 * * *", "UTC", "2026-11-24T17:00:00Z", "2026-11-25T08:00:00Z"},
    {"0 22,2 * * *", "UTC", "2026-11-24T22:00:00Z", "2026-11-25T02:00:00Z"},
    {"59 23 31 12 *", "UTC", "2026-11-24T00:00:00Z", "2026-12-31T23:59:00Z"},
    // Days of the week.
    {"0 0 * * 0", "UTC", "2026-11-24T00:00:00Z", "2026-11-29T00:00:00Z"},
    {"0 0 * * 7", "UTC", "2026-11-24T00:00:00Z", "2026-11-29T00:00:00Z"},
    {"0 0 * * sun", "UTC", "2026-11-24T00:00:00Z", "2026-11-29T00:00:00Z"},
    {"0 0 * * Sunday", "UTC", "2026-11-24T00:00:00Z", "2026-11-29T00:00:00Z"},
    {"0 9 * * MON-FRI", "UTC", "2026-11-27T09:00:00Z", "2026-11-30T09:00:00Z"},
    {"0 9 * * FRI-SUN", "UTC", "2026-11-28T09:00:00Z", "2026-11-29T09:00:00Z"},
    {"0 9 * * 5-7", "UTC", "2026-11-29T09:00:00Z", "2026-12-04T09:00:00Z"},
    {"0 9 * * 0-7", "UTC", "2026-11-29T09:00:00Z", "2026-11-30T09:00:00Z"},
    {"0 9 * * */2", "UTC", "2026-11-24T09:00:00Z", "2026-11-26T09:00:00Z"},
    // Months and their ends, leap years.
    {"0 0 1 JAN *", "UTC", "2026-11-24T00:00:00Z", "2027-01-01T00:00:00Z"},
    {"0 0 1 march-may/2 *", "UTC", "2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z"},
    {"0 0 31 * *", "UTC", "2026-08-31T00:00:00Z", "2026-10-31T00:00:00Z"},
    {"0 0 30 * *", "UTC", "2026-01-30T00:00:00Z", "2026-03-30T00:00:00Z"},
    {"0 0 30 2,3 *", "UTC", "2026-01-01T00:00:00Z", "2026-03-30T00:00:00Z"},
    {"0 0 29 2 *", "UTC", "2026-11-24T00:00:00Z", "2028-02-29T00:00:00Z"},
    {"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
    {"0 0 28 2 *", "UTC", "2026-02-28T00:00:00Z", "2027-02-28T00:00:00Z"},
    // Both kinds of day: either with 5 fields, both with 6.
    {"0 0 13 * FRI", "UTC", "2026-11-24T00:00:00Z", "2026-11-27T00:00:00Z"},
    {"0 0 13 * FRI", "UTC", "2026-12-11T00:00:00Z", "2026-12-13T00:00:00Z"},
    {"0 0 0 13 * FRI", "UTC", "2026-11-24T00:00:00Z", "2027-08-13T00:00:00Z"},
    {"0 0 0 29 2 MON", "UTC", "2026-11-24T00:00:00Z", "2044-02-29T00:00:00Z"},
    {"0 0 */2 * MON", "UTC", "2026-11-24T00:00:00Z", "2026-12-07T00:00:00Z"},
    {"0 0 ? * MON", "UTC", "2026-11-24T00:00:00Z", "2026-11-30T00:00:00Z"},
    {"0 0 5 * ?", "UTC", "2026-11-24T00:00:00Z", "2026-12-05T00:00:00Z"},
    // Seconds.
    {"* * * * * *", "UTC", "2026-11-24T10:00:00Z", "2026-11-24T10:00:01Z"},
    {"*/10 * * * * *", "UTC", "2026-11-24T10:00:51Z", "2026-11-24T10:01:00Z"},
    {"30 * * * * *", "UTC", "2026-11-24T10:00:30Z", "2026-11-24T10:01:30Z"},
    {"59 59 23 * * *", "UTC", "2026-11-24T23:59:59Z", "2026-11-25T23:59:59Z"},
    {"0 5,8,10 * * * *", "UTC", "2026-11-24T10:08:00Z", "2026-11-24T10:10:00Z"},
    {"0 30 9 * Jan Mon", "UTC", "2026-11-24T00:00:00Z", "2027-01-04T09:30:00Z"},
    {"15 0 0 1 1 *", "UTC", "2026-01-01T00:00:15Z", "2027-01-01T00:00:15Z"},
    // Berlin: +1, in summer +2; 2026-03-29 02:00 to 03:00 is left out, 2026-10-25 02:00 to 03:00 comes twice.
    {"0 3 * * *", kBerlin, "2026-01-10T00:00:00Z", "2026-01-10T02:00:00Z"},
    {"0 3 * * *", kBerlin, "2026-07-10T00:00:00Z", "2026-07-10T01:00:00Z"},
    {"0 0 1 * *", kBerlin, "2026-06-15T00:00:00Z", "2026-06-30T22:00:00Z"},
    {"30 2 * * *", kBerlin, "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"},
    {"30 2 * * *", kBerlin, "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
    {"0,30 2,3 * * *", kBerlin, "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"},
    {"0,30 2,3 * * *", kBerlin, "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"},
    {"30 2 * * *", kBerlin, "2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z"},
    {"30 2 * * *", kBerlin, "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
    {"0 3 * * *", kBerlin, "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"},
    {"*/15 * * * *", kBerlin, "2026-10-25T00:45:00Z", "2026-10-25T01:00:00Z"},
    {"*/15 * * * *", kBerlin, "2026-10-25T01:00:00Z", "2026-10-25T01:15:00Z"},
    {"30 * * * *", kBerlin, "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},
    {"30 * * * *", kBerlin, "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
    // New York: -5, in summer -4; 2026-03-08 02:00 is left out, 2026-11-01 01:00 comes twice.
    {"0 2 * * *", kNewYork, "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"},
    {"15 2 8 3 *", kNewYork, "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"},
    {"15 1 * * *", kNewYork, "2026-11-01T05:15:00Z", "2026-11-02T06:15:00Z"},
    {"45 59 1 * * *", kNewYork, "2026-11-01T05:59:44Z", "2026-11-01T05:59:45Z"},
    {"0 0 * * SUN", kNewYork, "2026-11-24T00:00:00Z", "2026-11-29T05:00:00Z"},
    // Lord Howe: +10:30, in summer +11; 2026-10-04 02:00 to 02:30 is left out, 2026-04-05 01:30 to 02:00 comes twice.
    {"15 2 * * *", kLordHowe, "2026-10-03T15:00:00Z", "2026-10-03T15:30:00Z"},
    {"30 2 * * *", kLordHowe, "2026-10-03T15:00:00Z", "2026-10-03T15:30:00Z"},
    {"45 1 * * *", kLordHowe, "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"},
    {"15 * * * *", kLordHowe, "2026-10-03T14:45:00Z", "2026-10-03T16:15:00Z"},
    {"45 * * * *", kLordHowe, "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"},
    // A day that a zone left out, and a zone with an odd offset.
    {"0 12 30 12 *", "Pacific/Apia", "2011-12-30T00:00:00Z", "2011-12-30T10:00:00Z"},
    {"0 0 * * *", "Asia/Kathmandu", "2026-11-24T00:00:00Z", "2026-11-24T18:15:00Z"},
};

TEST(Cron, FindsTheNextTime) {
  static_assert(std::size(kRows) >= 60);
  for (const Row& row : kRows) {
    const auto cron = Cron::parse(row.text, row.zone);
    ASSERT_TRUE(cron) << row.text << ": " << cron.error().what;
    const auto next = cron->next_after(parse_iso(row.after).value());
    EXPECT_EQ(next ? format_iso_seconds(*next) : "never", row.next)
        << row.text << " in " << row.zone << " after " << row.after;
  }
}

struct Refused {
  const char* text;
  const char* says;
};

TEST(Cron, RefusesWithFieldTextPositionAndWhatIsAllowed) {
  const Refused rows[] = {
      {"", "has 0 fields; write 5"},
      {"@daily", "has 1 fields"},
      {"* * * *", "has 4 fields"},
      {"0 * * * * * 2026", "has 7 fields"},
      {"60 * * * *", "minute field, '60' at position 1: out of range; allowed are 0-59"},
      {"0 24 * * *", "hour field, '24' at position 3: out of range; allowed are 0-23"},
      {"0 0 0 * *", "day-of-month field, '0' at position 5: out of range; allowed are 1-31"},
      {"0  0 1 13 *", "month field, '13' at position 8: out of range; allowed are 1-12 or JAN-DEC"},
      {"0 0 * * 8", "day-of-week field, '8' at position 9: out of range; allowed are 0-7"},
      {"0 0 * * FUN", "'FUN' at position 9: not a value"},
      {"0 0 * MON *", "month field, 'MON' at position 7"},
      {"1,2,x * * * *", "'x' at position 5: not a value"},
      {"1,,2 * * * *", "position 3: a value is missing"},
      {"1, * * * *", "position 3: a value is missing"},
      {"-5 * * * *", "position 1: a value is missing"},
      {"5- * * * *", "position 3: a value is missing"},
      {"+5 * * * *", "not a value"},
      {"30-10 * * * *", "'30-10' at position 1: the range runs backwards"},
      {"*/0 * * * *", "'0' at position 3: a step is a number from 1 to 60"},
      {"*/90 * * * *", "'90' at position 3: a step is a number from 1 to 60"},
      {"*/ * * * *", "a step is a number"},
      {"*/5/5 * * * *", "'5/5' at position 3: a step is a number"},
      {"99999999999 * * * *", "not a value"},
      {"? * * * *", "minute field, '?' at position 1: not a value"},
      {"0 0 ?,1 * *", "'?' at position 5: not a value"},
      {"0 0 L * *", "or ? alone"},
      {"0 0 30 2 *", "'30' at position 5: February never has that day"},
      {"0 0 31 2,4,6,9,11 *", "February, April, June, September, November never has that day"},
      {"0 0 30 2 MON", "February never has that day"},
      {"0 0 \x01 * *", "'?' at position 5"},
  };
  for (const Refused& row : rows) {
    const auto cron = Cron::parse(row.text, "UTC");
    ASSERT_FALSE(cron) << row.text;
    EXPECT_EQ(cron.error().code, "cron.bad-expression");
    EXPECT_NE(cron.error().what.find(row.says), std::string::npos) << row.text << ": " << cron.error().what;
  }
}

TEST(Cron, RefusesZonesThatAreUnknownOrDifferBetweenMachines) {
  for (const char* zone : {"", "Europe/Berln", "europe/berlin", "localtime", "posixrules", "../etc/passwd"}) {
    const auto cron = Cron::parse("* * * * *", zone);
    ASSERT_FALSE(cron) << zone;
    EXPECT_EQ(cron.error().code, "cron.bad-zone");
  }
}

TEST(Cron, EndsWhereCalendarsEnd) {
  const Cron cron = Cron::parse("0 0 1 1 *", "UTC").value();
  EXPECT_FALSE(cron.next_after(parse_iso("9899-06-01T00:00:00Z").value()));
  EXPECT_FALSE(cron.next_after(SystemTime::max()));
  EXPECT_EQ(format_iso_seconds(*cron.next_after(SystemTime::min())), "1900-01-01T00:00:00Z");
}

TEST(Cron, DescribesItselfForPeople) {
  const std::pair<const char*, const char*> rows[] = {
      {"0 * * * *", "every hour at minute 0, UTC"},
      {"* * * * *", "every minute, UTC"},
      {"*/15 * * * *", "every 15 minutes, UTC"},
      {"*/7 * * * *", "every hour at minute 0, 7, 14, 21, 28, 35, 42, 49, 56, UTC"},
      {"30 2 * * *", "every day at 02:30, UTC"},
      {"0 3,4 * * MON-WED", "every hour at minute 0, in hour 3, 4, on Monday, Tuesday, Wednesday, UTC"},
      {"0 3 1 JAN,JUL *", "every day at 03:00, on day 1 of the month, in January, July, UTC"},
      {"0 3 13 * FRI", "every day at 03:00, on day 13 of the month or on Friday, UTC"},
      {"0 0 3 13 * FRI", "every day at 03:00, on day 13 of the month if it is Friday, UTC"},
      {"* * * * * *", "every second, UTC"},
      {"30 0 3 * * *", "every day at 03:00, at second 30, UTC"},
  };
  for (const auto& [text, says] : rows) EXPECT_EQ(Cron::parse(text, "UTC")->describe(), says) << text;
}

// A field of a random expression: its text, and the values that it means, found without the parser.
struct RandomField {
  std::string text;
  std::set<int> values;
};

RandomField random_field(std::mt19937& random, int low, int high) {
  const auto pick = [&](int from, int to) { return std::uniform_int_distribution(from, to)(random); };
  RandomField out;
  const int shape = pick(0, 5);
  if (shape <= 1) {
    out.text = "*";
    for (int i = low; i <= high; ++i) out.values.insert(i);
  } else if (shape == 2) {
    const int step = pick(1, 5);
    out.text = fmt::format("*/{}", step);
    for (int i = low; i <= high; i += step) out.values.insert(i);
  } else if (shape == 3) {
    const int first = pick(low, high);
    const int last = pick(first, high);
    out.text = fmt::format("{}-{}", first, last);
    for (int i = first; i <= last; ++i) out.values.insert(i);
  } else {
    for (int i = pick(1, 3); i > 0; --i) out.values.insert(pick(low, high));
    out.text = fmt::format("{}", fmt::join(out.values, ","));
  }
  return out;
}

TEST(Cron, AgreesWithAScanOfEveryMinuteAroundChangesOfTheClock) {
  const unsigned seed = 20261124;
  std::mt19937 random(seed);
  const std::pair<const char*, const char*> places[] = {
      {"UTC", "2028-02-28T12:00:00Z"},    {kBerlin, "2026-03-29T01:00:00Z"},  {kBerlin, "2026-10-25T01:00:00Z"},
      {kNewYork, "2026-03-08T07:00:00Z"}, {kNewYork, "2026-11-01T06:00:00Z"}, {kLordHowe, "2026-04-04T15:00:00Z"},
      {kLordHowe, "2026-10-03T15:30:00Z"}};
  size_t compared = 0;
  for (int round = 0; round < 420; ++round) {
    const auto& [zone_name, change] = places[static_cast<size_t>(round) % std::size(places)];
    const date::time_zone* zone = date::locate_zone(zone_name);
    const bool six = round % 3 == 0;
    const auto minute = random_field(random, 0, 59);
    const auto hour = random_field(random, 0, 23);
    auto day = random_field(random, 1, 28);
    if (day.text[0] == '*')
      for (const int late : {29, 30, 31})
        if (day.text == "*" || (late - 1) % std::stoi(day.text.substr(2)) == 0) day.values.insert(late);
    const auto month = random_field(random, 1, 12);
    const auto weekday = random_field(random, 0, 6);
    const std::string text =
        fmt::format("{}{} {} {} {} {}", six ? "0 " : "", minute.text, hour.text, day.text, month.text, weekday.text);
    const auto cron = Cron::parse(text, zone_name);
    ASSERT_TRUE(cron) << text << ": " << cron.error().what;
    const bool either = !six && day.text[0] != '*' && weekday.text[0] != '*';
    const auto matches = [&](date::local_seconds wall) {
      const auto midnight = date::floor<date::days>(wall);
      const date::year_month_day ymd(midnight);
      const auto clock = date::hh_mm_ss(wall - midnight);
      const bool a = day.values.contains(static_cast<int>(unsigned(ymd.day())));
      const bool b = weekday.values.contains(static_cast<int>(date::weekday(midnight).c_encoding()));
      return minute.values.contains(static_cast<int>(clock.minutes().count())) &&
             hour.values.contains(static_cast<int>(clock.hours().count())) &&
             month.values.contains(static_cast<int>(unsigned(ymd.month()))) && (either ? a || b : a && b);
    };
    const auto middle = std::chrono::floor<std::chrono::seconds>(parse_iso(change).value());
    const date::sys_seconds begin = middle - 60h;
    const date::sys_seconds end = middle + 60h;
    std::vector<SystemTime> expected;
    date::local_seconds shown = zone->to_local(begin);  // the latest wall time so far
    for (date::sys_seconds at = begin + 1min; at <= end; at += 1min) {
      const date::local_seconds wall = zone->to_local(at);
      bool runs = false;
      if (hour.values.size() == 24) {
        runs = matches(wall);
      } else {
        for (auto passed = shown + 1min; passed <= wall; passed += 1min) runs = runs || matches(passed);
      }
      if (runs) expected.push_back(at);
      shown = std::max(shown, wall);
    }
    std::vector<SystemTime> found;
    for (auto next = cron->next_after(begin); next && *next <= end; next = cron->next_after(*next))
      found.push_back(*next);
    ASSERT_EQ(found, expected) << text << " in " << zone_name << ", seed " << seed;
    compared += found.size();
  }
  EXPECT_GT(compared, 10'000u);
}

}  // namespace
}  // namespace twinstep
