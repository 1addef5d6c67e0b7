#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace date {
class time_zone;
}

namespace twinstep {

/// A schedule: cron with 5 fields (minute hour day-of-month month day-of-week), or NCRONTAB with 6 as Azure Functions
/// has it (seconds first), in the wall time of one zone.
///
/// Fields    `*`, numbers, names of months and weekdays in English (three letters or whole, any case), ranges `1-5`,
///           steps `*/15`, `10-50/20` and `5/15` (from 5 to the end), lists of these. Sunday is 0 and 7, and may end a
///           range. `?` is `*` in the two day fields, alone, as Quartz writes it; its L, W and # are refused.
/// Days      Where both day fields are restricted, 5 fields mean a day that matches either (classic cron), 6 fields one
///           that matches both (NCRONTAB). As in Vixie cron, a field that begins with `*` is not restricted: with it
///           both must match, so `*/2` and Monday is a Monday with an odd date.
/// Daylight  When the clock is set forward, times that do not exist run once, at the moment of the jump. When it is
///           set back, a time that comes twice runs the first time. Schedules of every hour (the hour field takes
///           in all 24) follow the clock instead: they go on through both hours, and skip what does not exist.
/// Zones     The system's tzdata, by IANA name. The library knows no changes after 2037: from then on a zone keeps the
///           offset that it has at the end of that year. `localtime` is refused, it differs between machines.
class Cron {
 public:
  /// Errors  kInvalid. "cron.bad-expression" names field, text, position (from 1) and what is allowed. Days that none
  /// of
  ///         the months has (30 February) are refused, also beside weekdays that do come. "cron.bad-zone".
  /// Blocking  the first zone of a process reads the list of zones (6 ms).
  static Result<Cron> parse(std::string_view text, std::string_view zone);

  /// The first time after `time`, in whole seconds. Empty only from the year 9900 on; before 1900 counts as 1900.
  /// Threads   any.
  std::optional<SystemTime> next_after(SystemTime time) const;

  /// For people: "every hour at minute 0, UTC".
  std::string describe() const;

 private:
  using Seconds = std::chrono::seconds;
  using LocalSeconds = std::chrono::time_point<struct WallClock, Seconds>;  // wall time, as if it were UTC

  bool matches_day(LocalSeconds day) const;
  std::optional<LocalSeconds> next_wall_time(LocalSeconds from, LocalSeconds end) const;

  // Bit n is set when the value n is allowed; Sunday is bit 0.
  uint64_t seconds_ = 1;
  uint64_t minutes_ = 0;
  uint64_t hours_ = 0;
  uint64_t days_ = 0;
  uint64_t months_ = 0;
  uint64_t weekdays_ = 0;
  bool either_day_ = false;                // a day needs to match only one of days_ and weekdays_
  const date::time_zone* zone_ = nullptr;  // lives as long as the process
};

}  // namespace twinstep
