#pragma once

#include <gtest/gtest.h>

#include "twinstep/store/state_file.h"
#include "twinstep/store/store_subject.h"

/// The contract of StateFile. A test program includes this once and names the kinds of databases with
/// INSTANTIATE_TEST_SUITE_P; they must keep their data when they are opened again.
namespace twinstep::store {

class StateContract : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    subject = GetParam().make();
    reopen();
  }
  void reopen() {
    state.reset();
    database.reset();
    database = subject->open();
    state.emplace(*database);
  }
  Clock& clock() { return subject->clock(); }

  std::unique_ptr<Subject> subject;
  std::unique_ptr<Database> database;
  std::optional<StateFile> state;
};

TEST_P(StateContract, RemembersTheLastRunOfEachLinkAcrossOpening) {
  EXPECT_FALSE(state->last_run("a").value());
  const SystemTime finished = clock().system_now();
  ASSERT_TRUE(state->remember_run("a", {100, 90, finished - std::chrono::hours(1)}));
  ASSERT_TRUE(state->remember_run("a", {101, 91, finished}));
  reopen();
  const auto run = state->last_run("a").value();
  ASSERT_TRUE(run);
  EXPECT_EQ(run->external_count, 101u);
  EXPECT_EQ(run->owned_count, 91u);
  EXPECT_EQ(run->finished, finished);
  EXPECT_FALSE(state->last_run("b").value());
}

TEST_P(StateContract, APlanGoesFromMadeToApplyingToUsed) {
  const PlanRecord plan{PlanId("p1"), "link", "abc", PlanState::kMade, clock().system_now(), clock().system_now()};
  EXPECT_FALSE(state->find_plan(plan.id).value());
  ASSERT_TRUE(state->add_plan(plan));
  EXPECT_EQ(state->find_plan(plan.id).value()->state, PlanState::kMade);
  ASSERT_TRUE(state->set_plan_state(plan, PlanState::kApplying));
  reopen();
  EXPECT_EQ(state->find_plan(plan.id).value()->state, PlanState::kApplying);
  ASSERT_TRUE(state->set_plan_state(plan, PlanState::kUsed));
  EXPECT_EQ(state->find_plan(plan.id).value()->state, PlanState::kUsed);
  EXPECT_EQ(state->find_plan(plan.id).value()->digest, "abc");
}

TEST_P(StateContract, TheJournalCountsEachDeviceOnceByItsLastOutcome) {
  const PlanId plan("p1");
  ASSERT_TRUE(
      state->write_journal(plan, {{DeviceId("a"), "create", "failed", "409"}, {DeviceId("b"), "create", "done", ""}}));
  ASSERT_TRUE(state->write_journal(plan, {{DeviceId("a"), "create", "done", ""}}));
  EXPECT_EQ(state->count_journal(plan, "done").value(), 2u);
  EXPECT_EQ(state->count_journal(plan, "failed").value(), 0u);
  ASSERT_TRUE(state->clear_journal(plan));
  EXPECT_EQ(state->count_journal(plan, "done").value(), 0u);
}

TEST_P(StateContract, ContainersStayKnownUntilTheyAreRemoved) {
  ASSERT_TRUE(state->put_job({"c1", "link", PlanId("p"), true, "b.txt", JobId(), clock().system_now()}));
  ASSERT_TRUE(state->put_job({"c1", "link", PlanId("p"), true, "b.txt", JobId("j1"), clock().system_now()}));
  reopen();
  const auto jobs = state->jobs("link").value();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].job.value, "j1");
  EXPECT_TRUE(jobs[0].import);
  EXPECT_TRUE(state->jobs("other").value().empty());
  ASSERT_TRUE(state->remove_job("c1"));
  EXPECT_TRUE(state->jobs("link").value().empty());
}

}  // namespace twinstep::store
