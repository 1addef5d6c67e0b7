#include "twinstep/store/state_file.h"
#include "twinstep/store/sqlite.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "twinstep/base/fake_clock.h"

namespace twinstep::store {
namespace {

class State : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-state-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    path = folder + "/deeper/twinstep.db";
    state = open();
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::unique_ptr<StateFile> open() {
    auto opened = StateFile::open(path, clock);
    EXPECT_TRUE(opened) << opened.error().what;
    return opened ? std::move(*opened) : nullptr;
  }
  FakeClock clock;
  std::string folder, path;
  std::unique_ptr<StateFile> state;
};

TEST_F(State, RemembersTheLastRunOfEachLinkAcrossOpening) {
  EXPECT_FALSE(state->last_run("a").value());
  ASSERT_TRUE(state->remember_run("a", {100, 90, clock.system_now()}));
  ASSERT_TRUE(state->remember_run("a", {101, 91, clock.system_now()}));
  state = open();
  const auto run = state->last_run("a").value();
  ASSERT_TRUE(run);
  EXPECT_EQ(run->external_count, 101u);
  EXPECT_EQ(run->owned_count, 91u);
  EXPECT_EQ(run->finished, clock.system_now());
  EXPECT_FALSE(state->last_run("b").value());
}

TEST_F(State, APlanGoesFromMadeToApplyingToUsed) {
  const PlanRecord plan{PlanId("p1"), "link", "abc", PlanState::kMade, clock.system_now(), clock.system_now()};
  EXPECT_FALSE(state->find_plan(plan.id).value());
  ASSERT_TRUE(state->add_plan(plan));
  EXPECT_EQ(state->find_plan(plan.id).value()->state, PlanState::kMade);
  ASSERT_TRUE(state->set_plan_state(plan, PlanState::kApplying));
  state = open();
  EXPECT_EQ(state->find_plan(plan.id).value()->state, PlanState::kApplying);
  ASSERT_TRUE(state->set_plan_state(plan, PlanState::kUsed));
  EXPECT_EQ(state->find_plan(plan.id).value()->state, PlanState::kUsed);
  EXPECT_EQ(state->find_plan(plan.id).value()->digest, "abc");
}

TEST_F(State, TheJournalCountsEachDeviceOnceByItsLastOutcome) {
  const PlanId plan("p1");
  ASSERT_TRUE(
      state->write_journal(plan, {{DeviceId("a"), "create", "failed", "409"}, {DeviceId("b"), "create", "done", ""}}));
  ASSERT_TRUE(state->write_journal(plan, {{DeviceId("a"), "create", "done", ""}}));
  EXPECT_EQ(state->count_journal(plan, "done").value(), 2u);
  EXPECT_EQ(state->count_journal(plan, "failed").value(), 0u);
  ASSERT_TRUE(state->clear_journal(plan));
  EXPECT_EQ(state->count_journal(plan, "done").value(), 0u);
}

TEST_F(State, ContainersStayKnownUntilTheyAreRemoved) {
  ASSERT_TRUE(state->put_job({"c1", "link", PlanId("p"), true, "b.txt", JobId(), clock.system_now()}));
  ASSERT_TRUE(state->put_job({"c1", "link", PlanId("p"), true, "b.txt", JobId("j1"), clock.system_now()}));
  state = open();
  const auto jobs = state->jobs("link").value();
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].job.value, "j1");
  EXPECT_TRUE(jobs[0].import);
  EXPECT_TRUE(state->jobs("other").value().empty());
  ASSERT_TRUE(state->remove_job("c1"));
  EXPECT_TRUE(state->jobs("link").value().empty());
}

TEST_F(State, IsReadableByItsOwnerOnly) {
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(State, ANewerSchemaIsRefused) {
  state.reset();
  ASSERT_TRUE(Sqlite::open(path)->execute("PRAGMA user_version = 99"));
  const auto opened = StateFile::open(path, clock);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "store.newer");
}

TEST_F(State, TwoProcessesCannotWorkOnOneLink) {
  auto first = LinkLock::take(path, "a");
  ASSERT_TRUE(first);
  const auto second = LinkLock::take(path, "a");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kConflict);
  EXPECT_TRUE(LinkLock::take(path, "b"));
  { const auto gone = std::move(*first); }
  EXPECT_TRUE(LinkLock::take(path, "a"));
}

}  // namespace
}  // namespace twinstep::store
