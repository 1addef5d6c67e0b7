#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/store/link_lease.h"
#include "twinstep/store/store_subject.h"

/// The contract of LinkLease. A test program includes this once and names the kinds of databases with
/// INSTANTIATE_TEST_SUITE_P.
namespace twinstep::store {

using namespace std::chrono_literals;

/// What every database must do, whatever keeps it.
class LeaseContract : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    subject = GetParam().make();
    database = subject->open();
  }
  /// The store's time passes, and that of the processes.
  void advance(std::chrono::nanoseconds span) {
    subject->advance(*database, span);
    clock.advance(span);
  }
  Result<std::unique_ptr<LinkLease>> take(const std::string& owner, const std::string& link = "one") {
    return LinkLease::take(*database, link, {owner, owner + " for people"}, 30s, clock, rng, {});
  }

  std::unique_ptr<Subject> subject;
  std::unique_ptr<Database> database;
  FakeClock clock;  // of the processes
  Rng rng{1};
};

TEST_P(LeaseContract, OneHolderKeepsOthersAwayWhoAreToldWhoHasIt) {
  const auto held = take("a").value();
  EXPECT_TRUE(held->holds());
  const auto refused = take("b");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(refused.error().code, "link.busy");
  EXPECT_THAT(refused.error().what, ::testing::HasSubstr("link one: a for people works on it and holds it until 20"));
  EXPECT_TRUE(take("b", "two")) << "another link is another lock";
}

TEST_P(LeaseContract, AHolderThatIsSilentLosesItAndKnewBefore) {
  const auto silent = take("a").value();
  advance(23s);
  EXPECT_TRUE(silent->holds());
  advance(2s);
  EXPECT_FALSE(silent->holds()) << "a fifth before its end it may not be sure any more";
  EXPECT_FALSE(take("b")) << "nobody else has it before its end";
  advance(6s);
  const auto next = take("b");
  ASSERT_TRUE(next) << next.error().what;
  const auto late = silent->renew({});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, "link.lost");
  EXPECT_FALSE(silent->holds());
  ASSERT_TRUE(silent->give_back({}));
  EXPECT_FALSE(take("c")) << "what it gave back was not its own any more";
  EXPECT_TRUE((*next)->holds());
}

TEST_P(LeaseContract, RenewedItHoldsOn) {
  const auto held = take("a").value();
  for (int i = 0; i < 5; ++i) {
    advance(20s);
    ASSERT_TRUE(held->renew({}));
    EXPECT_TRUE(held->holds());
    EXPECT_FALSE(take("b"));
  }
}

TEST_P(LeaseContract, AnEndThatNobodyMadeUseOfDoesNoHarm) {
  const auto held = take("a").value();
  advance(1h);
  EXPECT_FALSE(held->holds());
  ASSERT_TRUE(held->renew({}));
  EXPECT_TRUE(held->holds());
  EXPECT_FALSE(take("b"));
}

TEST_P(LeaseContract, WhoeverTookItInBetweenIsNoticedThoughItIsFreeAgain) {
  const auto held = take("a").value();
  advance(31s);
  ASSERT_TRUE(take("b").value()->give_back({}));
  EXPECT_EQ(held->renew({}).error().code, "link.lost");
}

TEST_P(LeaseContract, GivenBackItIsFreeAtOnce) {
  const auto held = take("a").value();
  ASSERT_TRUE(held->give_back({}));
  EXPECT_FALSE(held->holds());
  EXPECT_TRUE(take("b"));
}

TEST_P(LeaseContract, WhatALaterClaimOfOneRunTakesOverTheEarlierOneLoses) {
  const auto earlier = take("run/1").value();
  const auto later = take("run/1");
  ASSERT_TRUE(later) << later.error().what;
  EXPECT_EQ(earlier->renew({}).error().code, "link.lost");
  EXPECT_TRUE((*later)->renew({}));
}

}  // namespace twinstep::store
