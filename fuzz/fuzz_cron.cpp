// Schedules: the first line is the expression, the second the zone, the third seconds since 1970.
#include <charconv>

#include "check.h"
#include "twinstep/base/encoding.h"
#include "twinstep/cron/cron.h"

using twinstep::fuzz::check;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest = twinstep::fuzz::text_of(data, size);
  const std::string_view text = twinstep::fuzz::take_line(rest);
  const std::string_view zone = twinstep::fuzz::take_line(rest);
  const std::string_view when = twinstep::fuzz::take_line(rest);
  const auto cron = twinstep::Cron::parse(text, zone.empty() ? "Europe/Berlin" : zone);
  if (!cron) {
    check(cron.error().kind == twinstep::ErrorKind::kInvalid, "a bad schedule is invalid");
    check(twinstep::is_utf8(cron.error().what) && cron.error().what.size() < 1000, "messages are short text");
    return 0;
  }
  check(!cron->describe().empty(), "every schedule can be described");
  long long seconds = 1'790'000'000;
  std::from_chars(when.data(), when.data() + when.size(), seconds);
  if (seconds < -9'000'000'000'000 || seconds > 9'000'000'000'000) return 0;  // SystemTime counts microseconds
  twinstep::SystemTime time{std::chrono::seconds(seconds)};
  for (int i = 0; i < 20; ++i) {
    const auto next = cron->next_after(time);
    if (!next) return 0;
    check(*next > time, "the next time is later");
    check(cron->next_after(*next - std::chrono::microseconds(1)) == next, "the next time is found from just before");
    time = *next;
  }
  return 0;
}
