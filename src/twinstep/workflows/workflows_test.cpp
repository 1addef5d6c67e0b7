#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "twinstep/base/fake_clock.h"
#include "twinstep/workflows/apply.h"
#include "twinstep/workflows/device_writer.h"
#include "twinstep/workflows/fake_external.h"
#include "twinstep/workflows/fake_hub.h"
#include "twinstep/workflows/import_file.h"
#include "twinstep/workflows/job_runner.h"

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;
using plan::Op;

class Workflow : public testing::Test {
 protected:
  void SetUp() override {
    link.name = "one";
    link.hub = "fake";
    link.external = "outside";
    external.looks_up = true;
    state = std::move(*store::StateFile::open(":memory:", clock));
    context = std::make_unique<LinkContext>(
        LinkContext{config, link, hub_config, hub, nullptr, external, *state, clock, rng, progress, "/tmp"});
  }

  plan::Change change(Op op, const std::string& id) {
    plan::Change out;
    out.op = op;
    out.id = DeviceId(id);
    out.tags = op == Op::kDelete || op == Op::kDisable ? "{}" : R"({"twinstep":{"link":"one"},"EUI":"new"})";
    if (hub.devices.contains(id)) {
      out.etag = FakeHub::identity_etag(hub.devices[id]);
      out.twin_etag = FakeHub::twin_etag(hub.devices[id]);
    }
    if (op == Op::kDisable) out.status_reason = "twinstep: absent from outside";
    return out;
  }
  Result<ApplyReport> apply(const std::vector<plan::Change>& changes, const Call& call = {}) {
    plan::Counts counts;
    for (const auto& one : changes) {
      counts.creates += one.op == Op::kCreate;
      counts.updates += one.op == Op::kUpdate;
      counts.deletes += one.op == Op::kDelete;
      counts.disables += one.op == Op::kDisable;
      counts.adopts += one.op == Op::kAdopt;
    }
    return apply_changes(
        *context, PlanId("p"), counts,
        [&](const plan::ChangeSink& sink) -> Status {
          for (const auto& one : changes) TRY(sink(one));
          return {};
        },
        confirmed, call);
  }
  Result<azure::Job> run_import(const Call& call = {}) {
    JobRunner runner(*context, {.polling = {60s, 5}});
    azure::ImportJob job;
    job.blob_name = "devices-1.txt";
    return runner.run_import(
        job,
        [&](const JobId& id) -> Status {
          remembered = id.value;
          return {};
        },
        call);
  }

  FakeClock clock;
  Rng rng{1};
  config::Config config;
  config::Link link;
  config::Hub hub_config;
  FakeHub hub;
  FakeExternal external;
  QuietProgress progress;
  ConfirmedAbsent confirmed;
  std::unique_ptr<store::StateFile> state;
  std::unique_ptr<LinkContext> context;
  std::string remembered;
};

TEST_F(Workflow, ALostAnswerToJobCreationNeverMakesTwoJobs) {
  hub.on_create_job.push_back([&]() -> Result<azure::Job> {
    hub.add_job(true, azure::JobState::kCompleted);
    return fail(ErrorKind::kTimeout, "hub.job-unsure", "no answer");
  });
  const auto job = run_import();
  ASSERT_TRUE(job) << job.error().what;
  EXPECT_EQ(hub.job_creations, 1);
  EXPECT_EQ(remembered, "job-1");
}

TEST_F(Workflow, AJobThatWasThereBeforeIsNotTakenForOurs) {
  hub.add_job(true, azure::JobState::kCompleted);
  hub.on_create_job.push_back(
      [&]() -> Result<azure::Job> { return fail(ErrorKind::kTimeout, "hub.job-unsure", "no answer"); });
  ASSERT_TRUE(run_import());
  EXPECT_EQ(hub.job_creations, 2);
  EXPECT_EQ(remembered, "job-2");
}

TEST_F(Workflow, ABusyHubIsWaitedForAndSaidOnce) {
  for (int i = 0; i < 3; ++i)
    hub.on_create_job.push_back(
        [&]() -> Result<azure::Job> { return fail(FakeHub::error(ErrorKind::kUnavailable, "JobQuotaExceeded")); });
  ASSERT_TRUE(run_import());
  EXPECT_EQ(hub.job_creations, 4);
  EXPECT_EQ(progress.notes.size(), 1u);
  EXPECT_EQ(clock.sleeps().size(), 3u);
}

TEST_F(Workflow, AJobThatDoesNotEndIsCancelledAndTheSettingNamed) {
  hub.on_create_job.push_back([&]() -> Result<azure::Job> { return hub.add_job(true); });
  const auto job = run_import();
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, "hub.job-timeout");
  EXPECT_NE(job.error().what.find("retryAttemptsForIoTHubImportJob"), std::string::npos);
  EXPECT_EQ(hub.cancelled_jobs, 1);
}

TEST_F(Workflow, AFailedJobGivesTheHubsReason) {
  hub.on_create_job.push_back([&]() -> Result<azure::Job> {
    hub.add_job(true, azure::JobState::kFailed);
    hub.job_list.back().failure_reason = "the blob is gone";
    return hub.job_list.back();
  });
  EXPECT_NE(run_import().error().what.find("the blob is gone"), std::string::npos);
}

TEST_F(Workflow, EveryKindOfChangeIsMadeAndJournaled) {
  hub.devices["gone"], hub.devices["changed"].tags = {{"mine", 1}}, hub.devices["asleep"];
  const auto report = apply({change(Op::kCreate, "new"), change(Op::kUpdate, "changed"), change(Op::kDelete, "gone"),
                             change(Op::kDisable, "asleep")});
  ASSERT_TRUE(report) << report.error().what;
  EXPECT_EQ(report->done_count(), 4u);
  EXPECT_TRUE(hub.devices.contains("new"));
  EXPECT_FALSE(hub.devices.contains("gone"));
  EXPECT_EQ(json::write(hub.devices["changed"].tags), R"({"mine":1,"twinstep":{"link":"one"},"EUI":"new"})");
  EXPECT_FALSE(hub.devices["asleep"].enabled);
  EXPECT_EQ(hub.devices["asleep"].key, "hub-made");
  EXPECT_EQ(state->count_journal(PlanId("p"), "done").value(), 4u);
}

TEST_F(Workflow, RunningItAgainAfterACrashDoublesNothing) {
  hub.devices["gone"];
  const std::vector<plan::Change> changes{change(Op::kCreate, "new"), change(Op::kDelete, "gone")};
  ASSERT_TRUE(apply(changes));
  const auto again = apply(changes);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->done_count(), 2u);
  EXPECT_EQ(again->failed_count(), 0u);
  EXPECT_EQ(hub.devices.size(), 1u);
}

TEST_F(Workflow, SomebodyElsesDeviceOfThatNameIsLeftAlone) {
  const auto create = change(Op::kCreate, "new");
  hub.devices["new"].tags = {{"owner", "another"}};
  const auto report = apply({create});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->skipped_count(), 1u);
  EXPECT_EQ(json::write(hub.devices["new"].tags), R"({"owner":"another"})");
}

TEST_F(Workflow, ADeviceThatChangedSinceThePlanIsNotDeleted) {
  hub.devices["gone"];
  const auto remove = change(Op::kDelete, "gone");
  ++hub.devices["gone"].identity;
  const auto report = apply({remove});
  EXPECT_EQ(report->skipped_count(), 1u);
  EXPECT_TRUE(hub.devices.contains("gone"));
}

TEST_F(Workflow, ATwinThatMovedIsPatchedAgainUnlessItsOwnerChanged) {
  hub.devices["a"].tags = {{"twinstep", {{"link", "one"}}}};
  hub.devices["b"].tags = {{"twinstep", {{"link", "one"}}}};
  const std::vector<plan::Change> changes{change(Op::kUpdate, "a"), change(Op::kUpdate, "b")};
  ++hub.devices["a"].twin;
  ++hub.devices["b"].twin;
  hub.devices["b"].tags = {{"twinstep", {{"link", "two"}}}};
  const auto report = apply(changes);
  EXPECT_EQ(report->done_count(), 1u);
  EXPECT_EQ(report->skipped_count(), 1u);
  EXPECT_FALSE(hub.devices["b"].tags.contains("EUI"));
}

TEST_F(Workflow, ADeviceThatIsOutsideAfterAllEndsTheDeleting) {
  for (const char* id : {"a", "b", "c"}) hub.devices[id];
  external.devices = {{"a", ""}, {"b", ""}, {"c", ""}};
  const auto report = apply({change(Op::kDelete, "a"), change(Op::kDelete, "b"), change(Op::kDisable, "c")});
  ASSERT_TRUE(report);
  EXPECT_EQ(hub.devices.size(), 3u);
  EXPECT_TRUE(hub.devices["c"].enabled);
  EXPECT_EQ(report->skipped_count(), 3u);
  EXPECT_FALSE(report->deletes_stopped.empty());
}

TEST_F(Workflow, WhatMustBeSparedIsNeitherDeletedNorDisabledAndTheReportSaysWhy) {
  for (const char* id : {"fresh", "fresh-2", "gone"}) hub.devices[id];
  confirmed = {"fresh", "fresh-2", "gone"};
  context->spared = [](const DeviceId& id, const Call&) -> Result<std::string> {
    return id.value.starts_with("fresh") ? std::string("it was asked for a moment ago") : std::string();
  };
  const auto report =
      apply({change(Op::kDelete, "fresh"), change(Op::kDisable, "fresh-2"), change(Op::kDelete, "gone")});
  ASSERT_TRUE(report) << report.error().what;
  EXPECT_EQ(report->done_count(), 1u);
  EXPECT_TRUE(hub.devices.contains("fresh"));
  EXPECT_TRUE(hub.devices.at("fresh-2").enabled);
  ASSERT_EQ(report->skipped.size(), 2u);
  EXPECT_EQ(report->skipped[0].reason, "it was asked for a moment ago");
}

TEST_F(Workflow, ADisprovedListEndsBulkDeletesThatWereConfirmedBefore) {
  std::vector<plan::Change> changes;
  for (int i = 0; i < 150; ++i) {
    const std::string id = fmt::format("d{:03}", i);
    hub.devices[id];
    changes.push_back(change(Op::kDelete, id));
  }
  external.devices = {{"d120", ""}};
  const auto report = apply(changes);
  ASSERT_TRUE(report) << report.error().what;
  EXPECT_FALSE(report->deletes_stopped.empty());
  EXPECT_EQ(report->failed_count(), 0u);
  for (int i = 100; i < 150; ++i) EXPECT_TRUE(hub.devices.contains(fmt::format("d{:03}", i))) << i;
}

/// Holds every request until `wanted` are under way at once. Waits in vain only when the test fails.
class Crowd {
 public:
  explicit Crowd(int wanted) : wanted_(wanted) {}
  void come() {
    std::unique_lock lock(mutex_);
    if (++there_ >= wanted_) full_.notify_all();
    if (!full_.wait_for(lock, 5s, [&] { return there_ >= wanted_; })) wanted_ = 0;
  }
  bool came() {
    std::scoped_lock lock(mutex_);
    return wanted_ > 0;
  }

 private:
  std::mutex mutex_;  // guards all below
  std::condition_variable full_;
  int wanted_, there_ = 0;
};

TEST_F(Workflow, SoManyPatchesAreUnderWayThatALargeQuotaSetsThePace) {
  hub_config.tier = config::Tier::kS3;
  std::vector<plan::Change> changes;
  for (int i = 0; i < 200; ++i) {
    const std::string id = fmt::format("d{:03}", i);
    hub.devices[id];
    changes.push_back(change(Op::kUpdate, id));
  }
  Crowd crowd(75);  // 250 a second, each answered after 0.3 s
  hub.on_request = [&] { crowd.come(); };
  const auto report = apply(changes);
  ASSERT_TRUE(report) << report.error().what;
  EXPECT_TRUE(crowd.came());
  EXPECT_EQ(report->done_count(), 200u);
}

TEST_F(Workflow, BulkCallsOfALargeQuotaOverlap) {
  hub_config.tier = config::Tier::kS3;
  std::vector<plan::Change> changes;
  for (int i = 0; i < 250; ++i) changes.push_back(change(Op::kCreate, fmt::format("d{:03}", i)));
  Crowd crowd(2);  // 0.83 a second, each answered after 1.6 s
  hub.on_request = [&] { crowd.come(); };
  const auto report = apply(changes);
  ASSERT_TRUE(report) << report.error().what;
  EXPECT_TRUE(crowd.came());
  EXPECT_EQ(report->done_count(), 250u);
}

TEST_F(Workflow, ADeleteThatCannotBeConfirmedFailsAndTheDeviceStays) {
  hub.devices["a"];
  external.down = fail(ErrorKind::kUnavailable, "test", "the external system is down");
  const auto report = apply({change(Op::kDelete, "a")});
  EXPECT_EQ(report->failed_count(), 1u);
  EXPECT_TRUE(hub.devices.contains("a"));
}

TEST_F(Workflow, ConfirmedDevicesAreNotLookedUpAgain) {
  hub.devices["a"];
  confirmed = {"a"};
  ASSERT_TRUE(apply({change(Op::kDelete, "a")}));
  EXPECT_EQ(external.look_ups, 0);
  EXPECT_TRUE(hub.devices.empty());
}

TEST_F(Workflow, ABulkCallWhoseAnswerIsLostIsSettledByLooking) {
  std::vector<plan::Change> changes;
  for (int i = 0; i < 150; ++i) changes.push_back(change(Op::kCreate, fmt::format("d{:03}", i)));
  hub.bulk_answer_lost = true;
  const auto report = apply(changes);
  ASSERT_TRUE(report) << report.error().what;
  EXPECT_EQ(report->done_count(), 150u);
  EXPECT_EQ(hub.devices.size(), 150u);
}

TEST_F(Workflow, ABulkEntryThatFailsIsThatDevicesFailureAlone) {
  std::vector<plan::Change> changes;
  for (int i = 0; i < 10; ++i) changes.push_back(change(Op::kCreate, fmt::format("d{}", i)));
  hub.before_write = [](const DeviceId& id) -> Status {
    if (id.value == "d3") return fail(FakeHub::error(ErrorKind::kInvalid, "ArgumentInvalid"));
    return {};
  };
  const auto report = apply(changes);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->done_count(), 9u);
  ASSERT_EQ(report->failed.size(), 1u);
  EXPECT_EQ(report->failed[0].id.value, "d3");
}

TEST_F(Workflow, RefusedCredentialsEndTheRunInsteadOfFailingEveryDevice) {
  hub.before_write = [](const DeviceId&) -> Status {
    return fail(FakeHub::error(ErrorKind::kDenied, "IotHubUnauthorizedAccess"));
  };
  const auto report = apply({change(Op::kCreate, "a"), change(Op::kCreate, "b")});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind, ErrorKind::kDenied);
}

TEST_F(Workflow, AStopIsAnInterruptionNotAnError) {
  std::stop_source stop;
  stop.request_stop();
  const auto report = apply({change(Op::kCreate, "a")}, {SteadyTime::max(), stop.get_token()});
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->interrupted);
  EXPECT_TRUE(hub.devices.empty());
}

TEST_F(Workflow, MethodFollowsCountThresholdAndStorage) {
  plan::Counts counts;
  counts.creates = 3;
  EXPECT_EQ(estimate(*context, counts).method, Method::kSingle);
  counts.creates = 1000;
  const Estimate bulk = estimate(*context, counts);
  EXPECT_EQ(bulk.method, Method::kBulk);  // no storage
  EXPECT_EQ(bulk.calls, 10u);
  EXPECT_EQ(bulk.time, 10min);  // 100 a minute on S1
  hub_config.time_factor = 60;
  EXPECT_EQ(estimate(*context, counts).time, 10s);
}

TEST(ImportLog, NamesTheDeviceAlsoWhenOnlyTheEmbeddedLineHasIt) {
  const auto exists =
      parse_import_problem(R"({"deviceId":"lora-01","errorCode":409001,"errorStatus":"DeviceAlreadyExists"})");
  ASSERT_TRUE(exists);
  EXPECT_EQ(exists->device, "lora-01");
  EXPECT_EQ(exists->code, "409001");
  const auto broken = parse_import_problem(
      R"({"errorCode":400012,"errorStatus":"Invalid device format in line: {\"id\":\"lora-03\",\"tags\":{\"applicationKey\":\"CANARY\"}}"})");
  ASSERT_TRUE(broken);
  EXPECT_EQ(broken->device, "lora-03");
  EXPECT_EQ(broken->text.find("CANARY"), std::string::npos);
  EXPECT_FALSE(parse_import_problem("[1]"));
}

}  // namespace
}  // namespace twinstep::workflows
