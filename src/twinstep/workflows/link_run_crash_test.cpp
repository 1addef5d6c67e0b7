// A run that is killed at every single effect it has on a remote or the store, and goes on in another process.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <tuple>

#include "twinstep/workflows/run_fixture.h"

namespace twinstep::workflows {
namespace {

using store::State;

/// The world of one try: what is different, what should come of it.
class KilledWorld : public RunWorld {
 public:
  KilledWorld(bool storage, bool blocked) : RunWorld(storage) {
    external.devices = {{"changed", "2"}, {"new-a", "1"}, {"new-b", "1"}, {"same", "3"}};
    own("changed", "1");
    own("gone-a", "9");
    own("gone-b", "9");
    own("same", "3");
    link.limits.deletes = {{}, blocked ? 1 : 10};
    link.limits.updates = {{}, 10};
    run = start().id;
  }

  /// Until it has ended; approves it when it asks. False: killed on the way.
  bool go_on() {
    auto now = settle(run);
    if (now.state == State::kBlocked) {
      if (auto approved = approve(run, plan_of(run)); !approved && mortal.dead()) return false;
      now = settle(run);
    }
    return !mortal.dead();
  }

  store::WorkflowId run;
};

class KilledRun : public testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  KilledRun() { spdlog::set_level(spdlog::level::off); }  // hundreds of killed processes complain
  ~KilledRun() override { spdlog::set_level(spdlog::level::info); }
};

TEST_P(KilledRun, EndsAsIfNothingHadHappenedWhereverItIsKilled) {
  const auto [storage, blocked] = GetParam();
  int step = 1;
  for (bool killed = true; killed; ++step) {
    SCOPED_TRACE(step);
    ASSERT_LT(step, 1000);
    KilledWorld world(storage, blocked);
    world.mortal.die_at(step);
    killed = !world.go_on();
    if (killed) {
      world.restart();
      ASSERT_TRUE(world.go_on());
    }

    const store::Workflow after = world.find(world.run);
    EXPECT_EQ(after.state, State::kDone) << after.status;
    EXPECT_EQ(after.status, "created 2, updated 1, deleted 2");
    std::string devices;
    for (const auto& [id, device] : world.hub.fake.devices)
      devices += fmt::format("{}={} ", id, json::string_or(device.tags, "EUI"));
    EXPECT_EQ(devices, "changed=2 new-a=1 new-b=1 same=3 ");
    for (const auto& [id, count] : world.hub.writes) EXPECT_EQ(count, 1) << id << " was written more than once";
    EXPECT_EQ(world.runs->outcomes(world.run, "done", DeviceId(), 10, {})->size(), 5u);
    EXPECT_EQ(world.state->last_run("one").value()->external_count, 4u);

    EXPECT_TRUE(world.blobs.containers.empty()) << "a container stayed behind";
    EXPECT_TRUE(world.state->jobs("one")->empty());
    EXPECT_EQ(world.hub.running_jobs(), 0);
    EXPECT_EQ(world.hub.fake.cancelled_jobs, 0);
    EXPECT_LE(world.hub.exports, world.blobs.whole_reads + 1) << "asked again for an export that was there";
    if (!storage) continue;
    // Creates go out before the approval, deletes after it: two wishes.
    EXPECT_EQ(world.hub.imports, blocked ? 2 : 1);
  }
  EXPECT_GT(step, 20) << "the run has so many effects at least";
}

TEST(CrashPoints, OfARunAreWhereARunPasses) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const char* name : {"run.job-asked", "run.job-known:2", "run.planned", "run.applying:3", "run.applied"})
    EXPECT_EXIT(
        {
          ::setenv("TWINSTEP_CRASH_AT", name, 1);
          KilledWorld world(true, false);
          world.go_on();
          ::_exit(0);
        },
        testing::ExitedWithCode(137), "")
        << name;
}

INSTANTIATE_TEST_SUITE_P(Everywhere, KilledRun, testing::Combine(testing::Bool(), testing::Bool()),
                         [](const auto& which) {
                           return std::string(std::get<0>(which.param) ? "ByJobs" : "ByCalls") +
                                  (std::get<1>(which.param) ? "WithApproval" : "");
                         });

}  // namespace
}  // namespace twinstep::workflows
