// What an endpoint's answer does to an event.
#include "sims/event_retry.h"

#include <gtest/gtest.h>

namespace twinstep::sims {
namespace {

using namespace std::chrono_literals;

DeliveryOutcome status(int code) { return judge(http::Response{code, {}, {}}); }
Result<http::Response> failure(ErrorKind kind) { return fail(kind, "test", "test"); }

TEST(EventRetry, OnlyTheFiveGoodStatusesDeliver) {
  for (int code = 100; code < 600; ++code) EXPECT_EQ(status(code).delivered, code >= 200 && code <= 204) << code;
}

TEST(EventRetry, FourRefusalsAreNotRetriedEverythingElseIs) {
  for (int code = 205; code < 600; ++code)
    EXPECT_EQ(status(code).again, code != 400 && code != 401 && code != 403 && code != 413) << code;
  for (const auto kind : {ErrorKind::kTimeout, ErrorKind::kUnavailable, ErrorKind::kCorrupt})
    EXPECT_TRUE(judge(failure(kind)).again);
}

TEST(EventRetry, EachOutcomeHasItsNameAndTimes) {
  EXPECT_EQ(status(404).name, "NotFound");
  EXPECT_EQ(status(404).at_least, 5min);
  EXPECT_EQ(status(408).at_least, 2min);
  EXPECT_EQ(status(503).name, "Busy");
  EXPECT_EQ(status(503).at_least, 30s);
  EXPECT_EQ(status(503).probation, 10s);
  EXPECT_EQ(status(500).at_least, 10s);
  EXPECT_EQ(status(302).at_least, 10s);
  EXPECT_EQ(status(403).probation, 5min);
  EXPECT_EQ(judge(failure(ErrorKind::kTimeout)).name, "TimedOut");
  EXPECT_EQ(judge(failure(ErrorKind::kUnavailable)).name, "SocketError");
  EXPECT_EQ(judge(failure(ErrorKind::kUnavailable)).probation, 30s);
}

TEST(EventRetry, WaitsFollowTheScheduleUpToAFifthLonger) {
  Rng rng(1);
  const std::chrono::seconds want[] = {10s, 30s, 1min, 5min, 10min, 30min, 1h, 3h, 6h, 12h, 12h, 12h};
  bool varies = false;
  for (int attempts = 1; attempts <= 12; ++attempts)
    for (int i = 0; i < 50; ++i) {
      const auto wait = retry_wait(attempts, status(500), rng);
      EXPECT_GE(wait, want[attempts - 1]);
      EXPECT_LE(wait, want[attempts - 1] * 1.2);
      varies = varies || wait > want[attempts - 1] * 1.1;
    }
  EXPECT_TRUE(varies);
}

TEST(EventRetry, AStatusMayAskForMoreThanTheSchedule) {
  Rng rng(1);
  EXPECT_GE(retry_wait(1, status(404), rng), 5min);
  EXPECT_LE(retry_wait(1, status(404), rng), 6min);
  EXPECT_GE(retry_wait(1, status(408), rng), 2min);
  EXPECT_GE(retry_wait(1, status(503), rng), 30s);
  EXPECT_GE(retry_wait(7, status(503), rng), 1h);
}

}  // namespace
}  // namespace twinstep::sims
