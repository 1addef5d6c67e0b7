#include "twinstep/workflows/link_run.h"

#include "twinstep/store/link_lock.h"
#include "twinstep/workflows/run_fixture.h"
#include "twinstep/workflows/runs.h"

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;
using store::Started;
using store::State;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// Keeps what a run tells the event sink.
class Heard final : public obs::EventSink {
 public:
  void emit(const obs::Event& event) noexcept override {
    events.emplace_back(event.name,
                        std::map<std::string, std::string>(event.properties.begin(), event.properties.end()));
  }
  /// The properties of the first one of that name.
  std::optional<std::map<std::string, std::string>> of(std::string_view name) const {
    for (const auto& [one, properties] : events)
      if (one == name) return properties;
    return {};
  }
  std::vector<std::pair<std::string, std::map<std::string, std::string>>> events;
};

class LinkRun : public testing::Test, public RunWorld {
 protected:
  /// One device to create, one to update, `gone` to delete.
  void some_differences(int gone = 1) {
    external.devices = {{"new", "1"}, {"changed", "2"}, {"same", "3"}};
    own("changed", "1");
    own("same", "3");
    for (int i = 0; i < gone; ++i) own("gone-" + std::to_string(i), "9");
    link.limits.updates = {{}, 10};
    link.limits.deletes = {{}, 1};
  }
};

class LinkRunWithStorage : public LinkRun {
 protected:
  LinkRunWithStorage() { context->blobs = &blobs; }
};

TEST_F(LinkRun, WithNothingToDoEndsAtOnceAndRemembersTheSizes) {
  external.devices = {{"same", "3"}};
  own("same", "3");
  const auto run = start();
  const auto after = settle(run.id);
  EXPECT_EQ(after.state, State::kDone);
  EXPECT_EQ(after.status, "nothing to do");
  EXPECT_EQ(state->last_run("one").value()->external_count, 1u);
  EXPECT_TRUE(hub.writes.empty());
  std::string plan;
  ASSERT_TRUE(runs->read_plan(run.id, [&](std::string_view piece) -> Status { return plan += piece, Status{}; }, {}));
  EXPECT_THAT(plan, HasSubstr(plan_of(run.id)));
}

TEST_F(LinkRun, TellsOfEveryDeviceThatItMadeOrDeletedOnce) {
  some_differences();
  Heard heard;
  hub_config.name = "fake";
  context->events = &heard;
  const auto run = start();
  EXPECT_EQ(settle(run.id).state, State::kDone);
  ASSERT_EQ(heard.events.size(), 2u);
  const std::map<std::string, std::string> made{
      {"deviceId", "new"}, {"iothubname", "fake"}, {"link", "one"}, {"run", run.id.value}};
  EXPECT_EQ(heard.of("IoTHubDeviceCreated"), made);
  EXPECT_EQ(heard.of("IoTHubDeviceDeleted")->at("deviceId"), "gone-0");
}

TEST_F(LinkRun, MakesTheHubEqualAndTellsWhatBecameOfEachDevice) {
  some_differences();
  const auto run = start();
  const auto after = settle(run.id);
  EXPECT_EQ(after.state, State::kDone);
  EXPECT_EQ(after.status, "created 1, updated 1, deleted 1");
  EXPECT_EQ(after.error_code, "");
  EXPECT_FALSE(hub.fake.devices.contains("gone-0"));
  EXPECT_EQ(json::string_or(hub.fake.devices["changed"].tags, "EUI"), "2");
  const auto outcomes = runs->outcomes(run.id, "done", DeviceId(), 10, {}).value();
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_EQ(outcomes[1].device.value, "gone-0");
  EXPECT_EQ(outcomes[1].op, "delete");
  const auto steps = workflows->steps(run.id, {}).value();
  EXPECT_THAT(steps.at("report"), HasSubstr(R"("create":{"done":1,"failed":0,"skipped":0})"));
  EXPECT_THAT(steps.at("plan"), HasSubstr(R"("delete":1)"));
  EXPECT_EQ(settle(start().id).status, "nothing to do");
}

TEST_F(LinkRun, ThatTripsALimitCreatesAndWaitsForApprovalWithItsPlan) {
  some_differences(2);
  const auto run = start();
  const auto blocked = settle(run.id);
  EXPECT_EQ(blocked.state, State::kBlocked);
  EXPECT_EQ(blocked.error_code, "guard.deletes");
  EXPECT_THAT(blocked.status, HasSubstr("2 deletes or disables of 4 owned devices, the limit is 1"));
  EXPECT_THAT(blocked.status, HasSubstr("twinstep approve " + run.id.value));
  EXPECT_EQ(blocked.due - clock.system_now(), link.plan_lifetime);
  EXPECT_TRUE(hub.fake.devices.contains("new"));
  EXPECT_TRUE(hub.fake.devices.contains("gone-0"));
  ASSERT_TRUE(approve(run.id, plan_of(run.id)));
  const auto after = settle(run.id);
  EXPECT_EQ(after.state, State::kDone) << after.status;
  EXPECT_EQ(after.status, "created 1, updated 1, deleted 2");
  EXPECT_FALSE(hub.fake.devices.contains("gone-0"));
  for (const auto& [id, count] : hub.writes) EXPECT_EQ(count, 1) << id;
  EXPECT_TRUE(state->last_run("one").value());
}

TEST_F(LinkRun, DeletesOnlyWhatTheApprovedPlanHolds) {
  some_differences(2);
  const auto run = start();
  settle(run.id);
  own("later", "9");
  ASSERT_TRUE(approve(run.id, plan_of(run.id)));
  EXPECT_EQ(settle(run.id).status, "created 1, updated 1, deleted 2");
  EXPECT_TRUE(hub.fake.devices.contains("later"));
}

TEST_F(LinkRun, RefusesAnApprovedPlanWhenASideHasChangedSince) {
  for (const bool outside : {true, false}) {
    hub.fake.devices.clear();
    some_differences(2);
    external.devices.erase("new");
    own("changed", "2");  // nothing may be done before the approval
    const auto run = start();
    ASSERT_EQ(settle(run.id).state, State::kBlocked);
    if (outside)
      external.devices["another"] = "5";
    else
      own("another", "5");
    ASSERT_TRUE(approve(run.id, plan_of(run.id)));
    const auto after = settle(run.id);
    EXPECT_EQ(after.state, State::kFailed);
    EXPECT_EQ(after.error_code, "plan.stale");
    EXPECT_THAT(after.status, HasSubstr(outside ? "outside has changed" : "the hub has changed"));
    EXPECT_TRUE(hub.fake.devices.contains("gone-0"));
  }
}

TEST_F(LinkRun, DeletesNothingWhenSomethingElseAnswersInThePlaceOfTheExternalSystem) {
  some_differences(1);
  external.replaced = true;
  settle(start().id);
  EXPECT_TRUE(hub.fake.devices.contains("new"));
  EXPECT_TRUE(hub.fake.devices.contains("gone-0"));
  external.replaced = false;
  settle(start().id);
  EXPECT_FALSE(hub.fake.devices.contains("gone-0"));
}

TEST_F(LinkRun, TakesAnApprovalForNoOtherPlan) {
  some_differences(2);
  const auto run = start();
  settle(run.id);
  ASSERT_TRUE(approve(run.id, "0123456789abcdef0123456789abcdef"));
  EXPECT_EQ(settle(run.id).error_code, "plan.approval");
  EXPECT_TRUE(hub.fake.devices.contains("gone-0"));
}

TEST_F(LinkRun, ThatNobodyApprovesInTimeIsCancelledAndTheNextOneRuns) {
  some_differences(2);
  link.overlap = config::Overlap::kQueue;
  const auto run = start();
  settle(run.id);
  const auto next = start();
  EXPECT_EQ(next.what, Started::kQueued);
  clock.advance(link.plan_lifetime);
  EXPECT_EQ(workflows->expire_blocked({}).value().size(), 1u);
  EXPECT_EQ(find(run.id).state, State::kCancelled);
  EXPECT_EQ(settle(next.id).state, State::kBlocked);
  EXPECT_TRUE(hub.fake.devices.contains("gone-0"));
}

TEST_F(LinkRun, DoesNotWaitForAnApprovalThatCouldChangeNothing) {
  some_differences(1);
  external.complete = false;
  const auto partly = settle(start().id);
  EXPECT_EQ(partly.state, State::kFailed);
  EXPECT_EQ(partly.error_code, "guard.withheld");
  EXPECT_THAT(partly.status, StartsWith("created 1, updated 1; deletes are withheld: "));
  external.complete = true;
  external.devices.clear();
  const auto empty = settle(start().id);
  EXPECT_EQ(empty.state, State::kFailed);
  EXPECT_EQ(empty.error_code, "guard.empty");
  EXPECT_TRUE(hub.fake.devices.contains("gone-0"));
  EXPECT_FALSE(state->last_run("one").value()) << "such a run is no measure for the next one";
}

TEST_F(LinkRun, WithAFailedDeviceFailsAndCountsIt) {
  some_differences();
  external.devices["bad"] = "7";
  hub.before_write = [](const DeviceId& id) -> Status {
    if (id.value == "bad") return fail(FakeHub::error(ErrorKind::kInvalid, "ArgumentInvalid"));
    return {};
  };
  const auto run = start();
  const auto after = settle(run.id);
  EXPECT_EQ(after.state, State::kFailed);
  EXPECT_EQ(after.error_code, "run.some-failed");
  EXPECT_THAT(after.status, StartsWith("created 1, updated 1, deleted 1, failed 1"));
  const auto failed = runs->outcomes(run.id, "failed", DeviceId(), 10, {}).value();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_THAT(failed[0].reason, HasSubstr("ArgumentInvalid"));
}

TEST_F(LinkRun, TriesAgainWhileARemoteIsAwayAndGivesUpWithItsReason) {
  some_differences();
  external.down = fail(ErrorKind::kUnavailable, "http.no-connection", "connection refused");
  const auto run = start();
  ASSERT_TRUE(work());
  const auto waiting = find(run.id);
  EXPECT_EQ(waiting.state, State::kWaiting);
  EXPECT_EQ(waiting.attempt, 1);
  EXPECT_THAT(waiting.status, HasSubstr("connection refused"));
  EXPECT_NEAR(static_cast<double>((waiting.due - clock.system_now()).count()), 30e6, 3.1e6);
  EXPECT_FALSE(work()) << "not before its time";
  external.down = {};
  EXPECT_EQ(settle(run.id).state, State::kDone);

  external.down = fail(ErrorKind::kTimeout, "http.timeout", "no answer");
  const auto hopeless = settle(start().id);
  EXPECT_EQ(hopeless.state, State::kFailed);
  EXPECT_EQ(hopeless.error_code, "http.timeout");
  EXPECT_EQ(external.lists, 2 + 20);
}

TEST_F(LinkRun, FailsAtOnceOnRefusedCredentialsAndSaysWhatToMend) {
  some_differences();
  hub.down = fail(FakeHub::error(ErrorKind::kDenied, "IotHubUnauthorizedAccess"));
  const auto after = settle(start().id);
  EXPECT_EQ(after.state, State::kFailed);
  EXPECT_EQ(after.error_code, "hub.IotHubUnauthorizedAccess");
  EXPECT_THAT(after.status, HasSubstr("twinstep check"));
}

TEST_F(LinkRun, WaitsForACommandThatIsAtWorkOnTheLink) {
  some_differences();
  const std::string path = "sqlite:" + testing::TempDir() + "twinstep-run-lock-" + rng.hex_id();
  store::LinkLocks locks(*database, path, 60s, clock, rng);
  context->locks = &locks;
  const auto run = start();
  {
    const auto lock = locks.take("one", {"command", "a command"}, {});
    ASSERT_TRUE(lock);
    ASSERT_TRUE(work());
    const auto waiting = find(run.id);
    EXPECT_THAT(waiting.status, HasSubstr("link one: another twinstep process works on it"));
    EXPECT_EQ(waiting.attempt, 0);
    EXPECT_EQ(waiting.due - clock.system_now(), 30s);
    EXPECT_EQ(external.lists, 0);
  }
  EXPECT_EQ(settle(run.id).state, State::kDone);
}

TEST_F(LinkRun, ThatIsNotSureOfItsClaimAnyMoreChangesNothingMore) {
  constexpr int kDevices = 200;  // more than are under way at once
  for (int i = 0; i < kDevices; ++i) {
    external.devices["d" + std::to_string(i)] = "2";
    own("d" + std::to_string(i), "1");
  }
  link.limits.updates = {{}, kDevices};
  std::atomic<bool> mine = true;
  holds = [&] { return mine.load(); };
  hub.fake.on_request = [&] { mine = false; };  // as if the process was paused here, in the middle of a call
  const auto run = start();
  ASSERT_TRUE(work());
  const size_t written = hub.writes.size();
  EXPECT_GT(written, 0u);
  EXPECT_LT(written, static_cast<size_t>(kDevices)) << "only what was under way";
  EXPECT_EQ(find(run.id).status, "left to another process");
  mine = true;
  hub.fake.on_request = {};
  EXPECT_EQ(settle(run.id).state, State::kDone);
  EXPECT_EQ(hub.writes.size(), static_cast<size_t>(kDevices));
  for (const auto& [id, count] : hub.writes) EXPECT_EQ(count, 1) << id;
}

TEST_F(LinkRun, IsSkippedOrQueuedWhileAnotherOneOfItsLinkIsActive) {
  external.devices = {{"new", "1"}};
  const auto first = start();
  EXPECT_EQ(start().what, Started::kSkipped);
  link.overlap = config::Overlap::kQueue;
  const auto second = start();
  EXPECT_EQ(second.what, Started::kQueued);
  EXPECT_EQ(start().what, Started::kSkipped);
  EXPECT_EQ(settle(first.id).state, State::kDone);
  EXPECT_EQ(find(second.id).state, State::kDone);
  EXPECT_EQ(external.lists, 2);
}

TEST_F(LinkRunWithStorage, GoesByJobsAndLeavesNoContainer) {
  some_differences();
  const auto run = start();
  EXPECT_EQ(settle(run.id).status, "created 1, updated 1, deleted 1");
  EXPECT_EQ(hub.exports, 1);
  EXPECT_EQ(hub.imports, 1);
  EXPECT_TRUE(blobs.containers.empty());
  EXPECT_TRUE(state->jobs("one")->empty());
  EXPECT_THAT(history(run.id), Contains("IoTHubJobCheckNotComplete export job job-1: looked at 1 times, 10 % done"));
}

TEST_F(LinkRunWithStorage, LeavesItsExportToTheNextClaimWhenTheDaemonStops) {
  some_differences();
  std::stop_source stop;
  hub.on_look = [&] { stop.request_stop(); };
  const auto run = start();
  ASSERT_TRUE(work(stop.get_token()));
  hub.on_look = {};
  EXPECT_EQ(hub.running_jobs(), 1);
  EXPECT_EQ(hub.fake.cancelled_jobs, 0);
  EXPECT_EQ(blobs.containers.size(), 1u);
  EXPECT_EQ(settle(run.id).status, "created 1, updated 1, deleted 1");
  EXPECT_EQ(hub.exports, 1);
  EXPECT_TRUE(blobs.containers.empty());
}

TEST_F(LinkRunWithStorage, AsksForAnotherExportWhenTheBlobOfTheLeftOneIsGone) {
  some_differences();
  std::stop_source stop;
  hub.on_look = [&] { stop.request_stop(); };
  const auto run = start();
  ASSERT_TRUE(work(stop.get_token()));
  hub.on_look = [&] { hub.fake.job_list[0].state = azure::JobState::kCompleted; };
  hub.fake.job_list[0].state = azure::JobState::kCompleted;
  blobs.containers.clear();
  EXPECT_EQ(settle(run.id).state, State::kDone);
  EXPECT_EQ(hub.exports, 2);
}

TEST_F(LinkRunWithStorage, LeavesItsImportGoingWhenTheDaemonStopsAndCountsWhatItDid) {
  some_differences();
  std::stop_source stop;
  hub.on_look = [&] {
    if (hub.fake.job_list.back().is_import) stop.request_stop();
  };
  const auto run = start();
  ASSERT_TRUE(work(stop.get_token()));
  hub.on_look = {};
  EXPECT_EQ(hub.running_jobs(), 1);
  EXPECT_EQ(settle(run.id).status, "created 1, updated 1, deleted 1");
  EXPECT_EQ(hub.imports, 1);
  EXPECT_TRUE(blobs.containers.empty());
}

TEST_F(LinkRunWithStorage, WhoHasLostItsClaimChangesNothingMore) {
  some_differences();
  const auto run = start();
  hub.on_look = [&] {
    hub.on_look = {};
    ASSERT_TRUE(workflows->begin({}));
    ASSERT_EQ(workflows->claim(run_lane("fake"), "another", 1, 60s, {})->size(), 1u);
  };
  ASSERT_TRUE(work());
  EXPECT_TRUE(hub.writes.empty());
  EXPECT_EQ(find(run.id).state, State::kRunning) << "the other one's";
}

TEST_F(LinkRunWithStorage, ACommandThatIsStoppedCancelsItsExport) {
  some_differences();
  std::stop_source stop;
  hub.on_look = [&] { stop.request_stop(); };
  EXPECT_FALSE(synchronize(*context, {}, {SteadyTime::max(), stop.get_token()}));
  EXPECT_EQ(hub.running_jobs(), 0);
  EXPECT_EQ(hub.fake.cancelled_jobs, 1);
  EXPECT_TRUE(blobs.containers.empty());
}

TEST_F(LinkRunWithStorage, AsksForAnotherExportWhenTheLeftOneIsTooOld) {
  some_differences();
  std::stop_source stop;
  hub.on_look = [&] { stop.request_stop(); };
  const auto run = start();
  hub.looks_to_end = INT_MAX;
  ASSERT_TRUE(work(stop.get_token()));
  hub.on_look = [&] { hub.looks_to_end = hub.exports > 1 ? 1 : INT_MAX; };
  clock.advance(25h);
  EXPECT_EQ(settle(run.id).state, State::kDone);
  EXPECT_EQ(hub.fake.cancelled_jobs, 1);
  EXPECT_EQ(hub.exports, 2);
  EXPECT_TRUE(blobs.containers.empty());
}

TEST_F(LinkRunWithStorage, APersonsCancelEndsItsJobToo) {
  external.devices = {{"new", "1"}};
  for (const bool import : {false, true}) {
    std::stop_source stop;
    const auto run = start();
    hub.looks_to_end = 2;
    hub.on_look = [&] {
      if (hub.fake.job_list.back().is_import != import) return;
      ASSERT_TRUE(workflows->cancel(run.id, "by anna", {}));
      stop.request_stop();
      hub.looks_to_end = INT_MAX;
    };
    ASSERT_TRUE(work(stop.get_token()));
    EXPECT_EQ(find(run.id).state, State::kCancelled);
    EXPECT_EQ(hub.running_jobs(), 0);
    EXPECT_EQ(hub.imports, import ? 1 : 0);
    EXPECT_TRUE(blobs.containers.empty());
    EXPECT_TRUE(hub.writes.empty());
  }
}

TEST_F(LinkRunWithStorage, WhoseImportIsNotDoneInTimeFailsAndSaysWhatAHubOfThisSizeNeeds) {
  Heard heard;
  hub_config.name = "fake";
  context->events = &heard;
  some_differences();
  for (int i = 0; i < 498; ++i) external.devices["d" + std::to_string(i)] = "1";
  hub.on_look = [&] { hub.looks_to_end = hub.fake.job_list.back().is_import ? INT_MAX : 1; };
  config.import_polling = {10s, 5};
  const auto run = start();
  const auto after = settle(run.id);
  EXPECT_EQ(after.state, State::kFailed);
  EXPECT_EQ(after.error_code, "IoTHubJobFailed");
  EXPECT_THAT(after.status, HasSubstr("was cancelled; its 500 lines need about 5 min at the 100 a minute"));
  EXPECT_THAT(after.status, HasSubstr("retryAttemptsForIoTHubImportJob"));
  EXPECT_EQ(hub.running_jobs(), 0);
  EXPECT_EQ(hub.imports, 1);
  EXPECT_TRUE(blobs.containers.empty());
  const auto lines = history(run.id);
  EXPECT_THAT(lines, Contains(StartsWith("IoTHubJobFailed hub fake: the import job was not done")));
  ASSERT_TRUE(heard.of("IoTHubJobFailed"));
  EXPECT_EQ(heard.of("IoTHubJobFailed")->at("iotHubJobId"), "job-2");
  EXPECT_EQ(heard.of("IoTHubJobCheckNotComplete")->at("iothubname"), "fake");
  EXPECT_THAT(lines, Contains(StartsWith("IoTHubJobCheckNotComplete import job job-2: looked at ")));
}

}  // namespace
}  // namespace twinstep::workflows
