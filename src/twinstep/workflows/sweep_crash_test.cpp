// A sweep that is killed at every single effect it has on a remote or the store, and goes on in another process.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>

#include "twinstep/workflows/device_task.h"
#include "twinstep/workflows/run_fixture.h"

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;
using store::State;
using testing::Contains;
using testing::HasSubstr;
using testing::StartsWith;

/// Two devices that are missing outside, two orphans that twinstep made.
class SweepWorld : public RunWorld {
 public:
  explicit SweepWorld(bool blocked = false) : RunWorld(true) {
    link.master = config::Master::kHub;
    for (const char* id : {"missing-a", "missing-b", "same"}) hub.fake.devices[id].tags = {{"EUI", "1"}};
    external.devices["same"] = "1";
    for (const char* id : {"orphan-a", "orphan-b"}) made_outside(id);
    link.limits.deletes = {{}, blocked ? 1 : 10};
    run = start().id;
  }

  void made_outside(const std::string& device) {
    external.devices[device] = "9";
    store::NewWorkflow task;
    task.id = store::WorkflowId(rng.hex_id());
    task.kind = task.lane = "past";
    task.key = "past/" + device;
    ASSERT_TRUE(workflows->start({task}, {}));
    store::Finish done;
    done.ledger = store::LedgerEntry{link.name, canonical_device_id(device), DeviceId(device), true, "{}"};
    ASSERT_TRUE(workflows->finish(workflows->claim("past", "me", 1, 30s, {}).value().at(0).workflow, done, {}));
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
  std::multiset<std::string> tasks() {
    store::WorkflowFilter filter;
    filter.lane = external_lane(link.external);
    std::multiset<std::string> out;
    const auto all = workflows->list(filter, {}).value();
    for (const auto& one : all) out.insert(device_task_input(one.input)->device.value);
    return out;
  }

  store::WorkflowId run;
};

class KilledSweep : public testing::TestWithParam<bool> {
 protected:
  KilledSweep() { spdlog::set_level(spdlog::level::off); }  // hundreds of killed processes complain
  ~KilledSweep() override { spdlog::set_level(spdlog::level::info); }
};

TEST_P(KilledSweep, EndsAsIfNothingHadHappenedWhereverItIsKilled) {
  int step = 1;
  for (bool killed = true; killed; ++step) {
    SCOPED_TRACE(step);
    ASSERT_LT(step, 1000);
    SweepWorld world(GetParam());
    world.mortal.die_at(step);
    killed = !world.go_on();
    if (killed) {
      world.restart();
      ASSERT_TRUE(world.go_on());
    }

    const store::Workflow after = world.find(world.run);
    EXPECT_EQ(after.state, State::kDone) << after.status;
    EXPECT_EQ(after.status, "2 devices missing outside, 2 orphans (2 of ours): 4 tasks");
    EXPECT_THAT(world.tasks(), testing::ElementsAre("missing-a", "missing-b", "orphan-a", "orphan-b"));
    EXPECT_EQ(world.runs->outcomes(world.run, "task", DeviceId(), 10, {})->size(), 4u);
    EXPECT_TRUE(world.hub.writes.empty());

    EXPECT_TRUE(world.blobs.containers.empty()) << "a container stayed behind";
    EXPECT_TRUE(world.state->jobs("one")->empty());
    EXPECT_EQ(world.hub.running_jobs(), 0);
    EXPECT_EQ(world.hub.fake.cancelled_jobs, 0) << "it was of use still";
    EXPECT_LE(world.hub.exports, world.blobs.whole_reads + 1) << "asked again for an export that was there";
  }
  EXPECT_GT(step, 20) << "the sweep has so many effects at least";
}

INSTANTIATE_TEST_SUITE_P(Everywhere, KilledSweep, testing::Bool(),
                         [](const auto& which) { return which.param ? "WithApproval" : "AtOnce"; });

TEST(CrashPoints, OfASweepAreWhereASweepPasses) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const char* name : {"run.job-asked", "run.job-known", "sweep.planned", "sweep.tasks"})
    EXPECT_EXIT(
        {
          ::setenv("TWINSTEP_CRASH_AT", name, 1);
          SweepWorld world;
          world.go_on();
          ::_exit(0);
        },
        testing::ExitedWithCode(137), "")
        << name;
}

class SweepJob : public testing::Test, public SweepWorld {};

TEST_F(SweepJob, OfADaemonThatStopsIsWaitedForByTheNextOne) {
  std::stop_source stop;
  hub.on_look = [&] { stop.request_stop(); };
  ASSERT_TRUE(work(stop.get_token()));
  EXPECT_EQ(find(run).state, State::kWaiting);
  EXPECT_EQ(find(run).attempt, 0) << "that is no failed try";
  EXPECT_EQ(hub.running_jobs(), 1);
  EXPECT_EQ(blobs.containers.size(), 1u);
  hub.on_look = {};
  EXPECT_EQ(settle(run).state, State::kDone);
  EXPECT_EQ(hub.exports, 1);
  EXPECT_EQ(hub.fake.cancelled_jobs, 0);
  EXPECT_TRUE(blobs.containers.empty());
}

TEST_F(SweepJob, OfASweepThatAPersonEndsIsCancelled) {
  std::stop_source stop;
  hub.looks_to_end = INT_MAX;
  hub.on_look = [&] {
    ASSERT_TRUE(workflows->cancel(run, "by anna", {}));
    stop.request_stop();
  };
  ASSERT_TRUE(work(stop.get_token()));
  EXPECT_EQ(find(run).state, State::kCancelled);
  EXPECT_EQ(hub.running_jobs(), 0);
  EXPECT_TRUE(blobs.containers.empty());
  EXPECT_TRUE(tasks().empty());
}

TEST_F(SweepJob, ThatIsNotDoneInTimeFailsAsThatOfARun) {
  hub.looks_to_end = INT_MAX;
  hub.on_look = [this] { hub.fake.job_list.back().progress = -10; };
  const auto after = settle(run);
  EXPECT_EQ(after.state, State::kFailed);
  EXPECT_EQ(after.error_code, "IoTHubJobFailed");
  EXPECT_THAT(after.status, HasSubstr("Set retryAttemptsForIoTHubExportJob (in a file export_polling.attempts) to"));
  const auto lines = history(run);
  EXPECT_THAT(lines, Contains(StartsWith("IoTHubJobFailed hub fake: the export job was not done")));
  EXPECT_THAT(lines, Contains(StartsWith("IoTHubJobCheckNotComplete export job job-1: looked at ")));
}

}  // namespace
}  // namespace twinstep::workflows
