#include "twinstep/engine/claim_book.h"

#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"

namespace twinstep::engine {
namespace {

using namespace std::chrono_literals;

store::Workflow claim(std::string id, int64_t epoch) {
  store::Workflow out;
  out.id = store::WorkflowId(std::move(id));
  out.epoch = epoch;
  return out;
}

class ClaimBookTest : public testing::Test {
 protected:
  FakeClock clock;
  std::unique_ptr<store::Database> database = store::open_database("sqlite::memory:", clock).value();
  store::WorkflowStore store{*database};
};

TEST_F(ClaimBookTest, AClaimOfASharedStoreIsTrustedForFourFifthsOfItsLease) {
  ClaimBook book(store, true, "me", 10s, clock);
  const SteadyTime sent = clock.steady_now();
  clock.advance(1s);  // the answer came late: the lease may have begun when the question was sent
  book.add(claim("a", 1), sent);
  EXPECT_TRUE(book.holds(claim("a", 1)));
  clock.advance(7s - 1ms);
  EXPECT_TRUE(book.holds(claim("a", 1)));
  clock.advance(1ms);
  EXPECT_FALSE(book.holds(claim("a", 1))) << "as after a pause of the process, before any thread could say so";
}

TEST_F(ClaimBookTest, NoLeaseEndsInAStoreOfOneProcess) {
  ClaimBook book(store, false, "me", 10s, clock);
  book.add(claim("a", 1), clock.steady_now());
  clock.advance(1000h);
  EXPECT_TRUE(book.holds(claim("a", 1)));
}

TEST_F(ClaimBookTest, WhoHoldsAnOlderClaimOfAWorkflowDoesNotSpeakForTheNewerOne) {
  ClaimBook book(store, true, "me", 10s, clock);
  book.add(claim("a", 1), clock.steady_now());
  clock.advance(11s);  // lost, and claimed again by this very process
  book.add(claim("a", 2), clock.steady_now());
  EXPECT_FALSE(book.holds(claim("a", 1)));
  book.remove(claim("a", 1));
  EXPECT_TRUE(book.holds(claim("a", 2)));
}

TEST_F(ClaimBookTest, WhatIsAddedAfterEverythingWasAskedToStopIsAskedToo) {
  ClaimBook book(store, true, "me", 10s, clock);
  const auto before = book.add(claim("a", 1), clock.steady_now());
  EXPECT_FALSE(before.stop_requested());
  book.stop_all();
  EXPECT_TRUE(before.stop_requested());
  EXPECT_TRUE(book.add(claim("b", 1), clock.steady_now()).stop_requested());
}

}  // namespace
}  // namespace twinstep::engine
