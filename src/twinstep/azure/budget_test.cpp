#include "twinstep/azure/budget.h"

#include <gtest/gtest.h>

#include <future>

#include "twinstep/base/fake_clock.h"
#include "twinstep/base/held_clock.h"

namespace twinstep::azure {
namespace {

using namespace std::chrono_literals;

struct BudgetTest : testing::Test {
  FakeClock clock;
  Rng rng{7};
  HubBudget budget{HubTier::kS1, 1, clock, rng};
  Call until(std::chrono::nanoseconds span) {
    return {clock.steady_now() + std::chrono::duration_cast<SteadyTime::duration>(span), {}};
  }
};

TEST(HubQuota, FollowsTierAndUnits) {
  EXPECT_EQ(hub_quota(HubTier::kS1, 2, HubOperation::kRegistry).count, 200);
  EXPECT_EQ(hub_quota(HubTier::kS3, 2, HubOperation::kRegistry).count, 10000);
  EXPECT_EQ(hub_quota(HubTier::kS2, 3, HubOperation::kQuery).count, 60);
  EXPECT_EQ(hub_quota(HubTier::kS3, 1, HubOperation::kQuery).count, 1000);
  EXPECT_EQ(hub_quota(HubTier::kFree, 1, HubOperation::kTwinRead).count, 100);
  EXPECT_EQ(hub_quota(HubTier::kS2, 5, HubOperation::kTwinRead).count, 100);
  EXPECT_EQ(hub_quota(HubTier::kS2, 20, HubOperation::kTwinRead).count, 200);
  EXPECT_EQ(hub_quota(HubTier::kS2, 20, HubOperation::kTwinUpdate).count, 100);
  EXPECT_EQ(hub_quota(HubTier::kS3, 2, HubOperation::kTwinUpdate).count, 500);
  EXPECT_EQ(hub_quota(HubTier::kB3, 1, HubOperation::kJob).count, 5000);
}

TEST_F(BudgetTest, SteadyBulkCallsStayBelowTheQuotaAndUseNearlyAllOfIt) {
  const SteadyTime begin = clock.steady_now();
  double tokens = 100, worst = 0;  // a hub that counts exactly: one minute's worth saved at most
  SteadyTime filled = begin;
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 100, {}));
    const SteadyTime now = clock.steady_now();
    tokens = std::min(100.0, tokens + 100.0 / 60 * std::chrono::duration<double>(now - filled).count()) - 100;
    filled = now;
    worst = std::min(worst, tokens);
  }
  EXPECT_GE(worst, -1e-6);
  const double minutes = std::chrono::duration<double>(clock.steady_now() - begin).count() / 60;
  EXPECT_GE(200 * 100 / minutes, 98.0);
}

TEST_F(BudgetTest, ATimeFactorShortensWaitsAndPausesAndSavesNoMore) {
  HubBudget fast(HubTier::kS1, 1, clock, rng, 60);
  EXPECT_EQ(fast.estimate(HubOperation::kRegistry, 50), 0ns) << "half a minute's worth, as without it";
  ASSERT_TRUE(fast.acquire(HubOperation::kRegistry, 50, {}));
  EXPECT_NEAR(std::chrono::duration<double>(fast.estimate(HubOperation::kRegistry, 100)).count(), 1.01, 0.001);
  const Millis pause = fast.throttled(HubOperation::kRegistry, {}, clock.steady_now());
  EXPECT_GE(pause, 160ms);
  EXPECT_LE(pause, 200ms);
}

TEST_F(BudgetTest, AMeterHearsWhatIsTakenWaitedForAndRefused) {
  double taken = 0;
  std::chrono::nanoseconds waited{0};
  int exhausted = 0, throttled = 0;
  budget.set_meter({[&](HubOperation operation, double count, std::chrono::nanoseconds wait) {
                      EXPECT_EQ(operation, HubOperation::kRegistry);
                      taken += count;
                      waited += wait;
                    },
                    [&](HubOperation) { ++exhausted; }, [&](HubOperation) { ++throttled; }});
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 50, {}));
  EXPECT_EQ(waited, 0ns);
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 33, {}));
  EXPECT_NEAR(std::chrono::duration<double>(waited).count(), 20, 0.1);
  EXPECT_FALSE(budget.acquire(HubOperation::kRegistry, 50, until(1s)));
  EXPECT_EQ(taken, 83);
  EXPECT_EQ(exhausted, 1);
  budget.throttled(HubOperation::kRegistry, {}, clock.steady_now());
  EXPECT_EQ(throttled, 1);
}

TEST_F(BudgetTest, AWaitPastTheDeadlineIsRefusedWithItsLengthAndTakesNothing) {
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 50, {}));
  const auto before = budget.estimate(HubOperation::kRegistry, 100);
  const Status got = budget.acquire(HubOperation::kRegistry, 100, until(10s));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kThrottled);
  EXPECT_EQ(got.error().code, "hub.budget");
  EXPECT_NEAR(static_cast<double>(got.error().retry_after->count()), 60'606, 10);
  EXPECT_EQ(budget.estimate(HubOperation::kRegistry, 100), before);
}

TEST_F(BudgetTest, RefusalsPauseTenSecondsAndDoubleToSixty) {
  for (const auto& [low, high] : {std::pair{10s, 12s}, {20s, 24s}, {40s, 48s}, {60s, 60s}, {60s, 60s}}) {
    const Millis pause = budget.throttled(HubOperation::kRegistry, {}, clock.steady_now());
    EXPECT_GE(pause, low);
    EXPECT_LE(pause, high);
    clock.advance(pause);
  }
  budget.succeeded(HubOperation::kRegistry, clock.steady_now());
  EXPECT_LE(budget.throttled(HubOperation::kRegistry, {}, clock.steady_now()), 12s);
}

TEST_F(BudgetTest, RefusalsOfRequestsUnderWayTogetherCountOnce) {
  const SteadyTime sent = clock.steady_now();
  clock.advance(40s);
  const Millis first = budget.throttled(HubOperation::kRegistry, {}, sent);
  clock.advance(1s);
  EXPECT_LE(budget.throttled(HubOperation::kRegistry, {}, sent), first);
}

TEST_F(BudgetTest, RetryAfterWinsOverTheOwnPause) {
  EXPECT_EQ(budget.throttled(HubOperation::kRegistry, Millis{3000}, clock.steady_now()), 3s);
}

TEST_F(BudgetTest, APauseHoldsUpItsKindOfOperationOnly) {
  const Millis pause = budget.throttled(HubOperation::kRegistry, {}, clock.steady_now());
  const SteadyTime begin = clock.steady_now();
  ASSERT_TRUE(budget.acquire(HubOperation::kTwinRead, 1, {}));
  EXPECT_EQ(clock.steady_now(), begin);
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 1, {}));
  EXPECT_GE(clock.steady_now() - begin, pause);
}

TEST_F(BudgetTest, StopEndsAWaitWithoutTakingTokens) {
  ASSERT_TRUE(budget.acquire(HubOperation::kQuery, 10, {}));
  std::stop_source stop;
  stop.request_stop();
  const auto before = budget.estimate(HubOperation::kQuery, 1);
  const Status got = budget.acquire(HubOperation::kQuery, 1, {SteadyTime::max(), stop.get_token()});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(budget.estimate(HubOperation::kQuery, 1), before);
}

TEST_F(BudgetTest, EstimatesHowLongAThousandDevicesTake) {
  const auto minutes = std::chrono::duration<double>(budget.estimate(HubOperation::kRegistry, 1000)).count() / 60;
  EXPECT_NEAR(minutes, 9.6, 0.1);
}

TEST_F(BudgetTest, AnInteractiveCallHearsWithinItsPatienceHowLongTheBudgetIsUsedUp) {
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 50, {}));
  EXPECT_TRUE(budget.acquire(HubOperation::kRegistry, 1, {}, Priority::kInteractive)) << "0.6 s is not too long";
  const Status refused = budget.acquire(HubOperation::kRegistry, 5, {}, Priority::kInteractive);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kThrottled);
  EXPECT_EQ(refused.error().code, "hub.budget");
  clock.advance(*refused.error().retry_after);
  const SteadyTime then = clock.steady_now();
  EXPECT_TRUE(budget.acquire(HubOperation::kRegistry, 5, {}, Priority::kInteractive));
  EXPECT_EQ(clock.steady_now(), then) << "who waits as long as told gets it at once";
}

TEST_F(BudgetTest, BackgroundCallsLeaveAReserveToInteractiveOnes) {
  budget.keep_reserve();
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 45, {}));
  EXPECT_GT(budget.estimate(HubOperation::kRegistry, 1), 0ns);
  const SteadyTime then = clock.steady_now();
  EXPECT_TRUE(budget.acquire(HubOperation::kRegistry, 5, {}, Priority::kInteractive));
  EXPECT_EQ(clock.steady_now(), then);
  EXPECT_FALSE(budget.acquire(HubOperation::kRegistry, 5, {}, Priority::kInteractive));
}

TEST_F(BudgetTest, WhatARestBringsIsTheMostThatAnInteractiveCallerGetsAtOnce) {
  budget.keep_reserve();
  EXPECT_EQ(budget.most_at_once(HubOperation::kRegistry), 50u);
  EXPECT_TRUE(budget.acquire(HubOperation::kRegistry, 50, {}, Priority::kInteractive));
  budget.set_share(0.001);
  EXPECT_EQ(budget.most_at_once(HubOperation::kRegistry), 1u);
}

/// With a clock that stands still until it is told otherwise, so that callers really wait for each other.
struct WaitingBudgetTest : testing::Test {
  HeldClock clock;
  Rng rng{7};
  HubBudget budget{HubTier::kS1, 1, clock, rng};
  std::future<Status> background(double count, std::stop_token stop = {}) {
    return std::async(std::launch::async, [this, count, stop] {
      return budget.acquire(HubOperation::kRegistry, count, {SteadyTime::max(), stop});
    });
  }
};

TEST_F(WaitingBudgetTest, AnInteractiveCallGoesBeforeAWaitingBulkCallWhichThenWaitsForWhatItLost) {
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 50, {}));
  auto bulk = background(100);  // 60.6 s of the rate
  clock.wait_for_sleepers(1);
  clock.advance(30s);
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 1, {}, Priority::kInteractive))
        << "what the bulk call saved up";
  clock.advance(31s);
  EXPECT_NEAR(std::chrono::duration<double>(budget.estimate(HubOperation::kRegistry, 1)).count(), 12.3, 0.2)
      << "20 of its operations went to others";
  clock.advance(13s);
  EXPECT_TRUE(bulk.get());
}

TEST_F(WaitingBudgetTest, BackgroundCallsGoInOrderAndOneThatStopsLeavesItsPlaceToTheNext) {
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 50, {}));
  std::stop_source stop;
  auto first = background(100, stop.get_token());
  clock.wait_for_sleepers(1);
  auto second = background(10);
  clock.wait_for_sleepers(2);
  EXPECT_NEAR(std::chrono::duration<double>(budget.estimate(HubOperation::kRegistry, 1)).count(), 111 / 1.65, 0.1);
  stop.request_stop();
  EXPECT_EQ(first.get().error().kind, ErrorKind::kCancelled);
  EXPECT_NEAR(std::chrono::duration<double>(budget.estimate(HubOperation::kRegistry, 1)).count(), 11 / 1.65, 0.1);
  clock.advance(70s);
  EXPECT_TRUE(second.get());
}

TEST_F(WaitingBudgetTest, ABackgroundCallThatOthersPushPastItsDeadlineTakesNothing) {
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 50, {}));
  const SteadyTime deadline = clock.steady_now() + 7s;
  auto waiting = std::async(std::launch::async, [&] {
    return budget.acquire(HubOperation::kRegistry, 10, {deadline, {}});
  });
  clock.wait_for_sleepers(1);
  clock.advance(6s);
  ASSERT_TRUE(budget.acquire(HubOperation::kRegistry, 9, {}, Priority::kInteractive));
  clock.advance(100ms);
  const Status pushed = waiting.get();
  ASSERT_FALSE(pushed);
  EXPECT_EQ(pushed.error().code, "hub.budget");
  clock.advance(5s);
  EXPECT_TRUE(budget.acquire(HubOperation::kRegistry, 9, {}, Priority::kInteractive)) << "its tokens are there again";
}

}  // namespace
}  // namespace twinstep::azure
