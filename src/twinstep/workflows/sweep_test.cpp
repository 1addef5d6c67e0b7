#include "twinstep/workflows/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "twinstep/base/fake_clock.h"
#include "twinstep/workflows/device_task.h"
#include "twinstep/workflows/fake_external.h"
#include "twinstep/workflows/fake_hub.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;
using store::State;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class SweepRunTest : public testing::Test {
 protected:
  SweepRunTest() {
    link.name = "one";
    link.hub = "fake";
    link.external = "outside";
    link.master = config::Master::kHub;
    link.deletes = config::Deletes::kDelete;
    database = store::open_database("sqlite::memory:", clock).value();
    store.emplace(*database);
    state.emplace(*database);
    context.emplace(
        LinkContext{config, link, hub_config, hub, nullptr, external, *state, clock, rng, progress, "/tmp"});
    hub.on_query = [this](std::string_view text, std::string_view) -> Result<azure::QueryPage> {
      if (text.find("modules") != std::string_view::npos) {
        if (!modules_listed) return fail(ErrorKind::kInvalid, "hub.query", "no such collection");
        return azure::QueryPage{"[]", "Twin", ""};
      }
      std::string body;
      for (const auto& [name, device] : hub.devices)
        body += fmt::format(R"({}{{"deviceId":"{}","etag":"e","tags":{}}})", body.empty() ? "" : ",", name,
                            json::write(device.tags));
      return azure::QueryPage{"[" + body + "]", "Twin", ""};
    };
  }

  /// A device outside of which the ledger says that twinstep made it.
  void made_outside(const std::string& device) {
    external.devices[device];
    store::NewWorkflow task;
    task.id = store::WorkflowId(rng.hex_id());
    task.kind = "past";
    task.lane = "past";
    task.key = "past/" + device;
    ASSERT_TRUE(store->start({task}, call));
    store::Finish done;
    done.ledger = store::LedgerEntry{link.name, canonical_device_id(device), DeviceId(device), true, R"({"EUI":"it"})"};
    ASSERT_TRUE(store->finish(store->claim("past", "me", 1, 30s, call).value().at(0).workflow, done, call));
  }

  store::WorkflowId start() { return store->start({link_workflow(link, "api", rng)}, call).value().at(0).id; }
  /// One claim of the sweep that is due.
  State claim_once() {
    auto claimed = store->claim(run_lane(link.hub), "me", 1, 30s, call).value();
    if (claimed.empty()) {
      ADD_FAILURE() << "nothing is due";
      return State::kFailed;
    }
    const store::Workflow workflow = claimed[0].workflow;
    engine::Attempt attempt(*store, std::move(claimed[0]), call, rng);
    const store::Finish finish = run_sweep(*context, attempt, *store, [this](const auto& outcomes) -> Status {
      if (--pages_until_trouble == 0) return fail(ErrorKind::kUnavailable, "store.away", "the database is away");
      ++pages;
      for (const auto& one : outcomes) outcome[one.device.value] = one;
      return {};
    });
    return store->finish(workflow, finish, call).value();
  }
  /// A sweep from its start to its end or its block.
  State sweep() {
    run_id = start();
    return claim_once();
  }
  /// What the API does when a person approves.
  void approve(const std::string& plan) {
    ASSERT_TRUE(store->unblock(run_id, "approved", json::write(json::object{{"plan", plan}, {"by", "me"}}), call));
  }
  json::object step(std::string_view name) {
    const auto steps = store->steps(run_id, call).value();
    const auto found = steps.find(std::string(name));
    return found == steps.end() ? json::object{} : json::parse(found->second, "step").value().as_object();
  }
  std::string plan_id() { return std::string(json::string_or(step("plan"), "plan")); }
  int64_t counted(std::string_view name) {
    const json::object report = step("report");
    return json::int_or(*json::object_at(report, "counts"), name, -1);
  }
  std::string status() { return store->find(run_id, call)->status; }
  std::string code() { return store->find(run_id, call)->error_code; }
  /// The devices of the tasks that wait.
  std::vector<std::string> tasks() {
    std::vector<std::string> out;
    store::WorkflowFilter filter;
    filter.lane = external_lane(link.external);
    filter.state = State::kWaiting;
    filter.limit = 1000;
    const auto waiting = store->list(filter, call).value();
    for (const auto& one : waiting) out.push_back(device_task_input(one.input)->device.value);
    std::sort(out.begin(), out.end());
    return out;
  }
  /// Lets the external lane work until nothing is due.
  void do_tasks() {
    HintMemory hints;
    for (;;) {
      auto claimed = store->claim(external_lane(link.external), "me", 1, 30s, call).value();
      if (claimed.empty()) return;
      const store::Workflow workflow = claimed[0].workflow;
      engine::Attempt attempt(*store, std::move(claimed[0]), call, rng);
      ASSERT_TRUE(store->finish(workflow, converge_device(*context, attempt, *store, hints), call));
    }
  }
  std::vector<std::string> outside() {
    std::vector<std::string> out;
    for (const auto& [device, ignored] : external.devices) out.push_back(device);
    return out;
  }

  FakeClock clock;
  Rng rng{1};
  config::Config config;
  config::Link link;
  config::Hub hub_config;
  FakeHub hub;
  bool modules_listed = true;
  FakeExternal external;
  QuietProgress progress;
  std::unique_ptr<store::Database> database;
  std::optional<store::WorkflowStore> store;
  std::optional<store::StateFile> state;
  std::optional<LinkContext> context;
  std::stop_source stop;
  Call call{SteadyTime::max(), stop.get_token()};
  store::WorkflowId run_id;
  std::map<std::string, store::DeviceOutcome> outcome;
  int pages = 0, pages_until_trouble = 0;
};

TEST_F(SweepRunTest, WhatIsMissingOutsideBecomesATaskThatMakesIt) {
  hub.devices["a"], hub.devices["b"], hub.devices["c"];
  external.devices["b"];
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_EQ(status(), "2 devices missing outside: 2 tasks");
  EXPECT_THAT(tasks(), ElementsAre("a", "c"));
  EXPECT_EQ(outcome["a"].op, "create");
  EXPECT_EQ(outcome["a"].outcome, "task");
  EXPECT_EQ(counted("missing_outside"), 2);
  EXPECT_EQ(counted("in_step"), 1);
  EXPECT_EQ(counted("hub_devices"), 3);
  EXPECT_EQ(json::write(step("report").at("tasks")), R"({"create":2,"delete":0})");
  do_tasks();
  EXPECT_THAT(outside(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_EQ(status(), "3 devices in step");
}

TEST_F(SweepRunTest, SpellingsOfOneDevEuiAreInStep) {
  hub.devices["00-11-22-33-44-55-66-aa"];
  external.devices["00112233445566AA"];
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_EQ(status(), "1 device in step");
  EXPECT_THAT(tasks(), IsEmpty());
}

TEST_F(SweepRunTest, OrphansAreDeletedOnlyWhenTwinstepMadeThem) {
  hub.devices["a"];
  made_outside("a"), made_outside("ours");
  external.devices["theirs"];
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_EQ(status(), "2 orphans (1 of ours): 1 task");
  EXPECT_THAT(tasks(), ElementsAre("ours"));
  EXPECT_EQ(outcome["ours"].op, "delete");
  EXPECT_EQ(outcome["theirs"].op, "orphan");
  EXPECT_EQ(outcome["theirs"].outcome, "reported");
  EXPECT_THAT(outcome["theirs"].reason, HasSubstr("not made by twinstep: left alone"));
  do_tasks();
  EXPECT_THAT(outside(), ElementsAre("a", "theirs"));
}

TEST_F(SweepRunTest, AnOrphanThatIsInTheHubAfterAllIsNotDeleted) {
  hub.devices["a"];
  made_outside("a"), made_outside("ours");
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_THAT(tasks(), ElementsAre("ours"));
  hub.devices["ours"];  // the list was older than this
  do_tasks();
  EXPECT_THAT(outside(), ElementsAre("a", "ours"));
}

TEST_F(SweepRunTest, OtherSettingsThanDeleteReportOrphansOnlyAndSayWhy) {
  hub.devices["a"];
  external.devices["a"];
  made_outside("ours");
  link.deletes = config::Deletes::kNever;
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_THAT(outcome["ours"].reason, HasSubstr("made by twinstep; the link says deletes: never"));
  EXPECT_THAT(store->history(run_id, call).value(),
              Not(testing::Contains(testing::Field(&store::HistoryLine::what, "orphans only reported"))));
  link.deletes = config::Deletes::kDisable;
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_THAT(outcome["ours"].reason, HasSubstr("disable, which cannot be done outside"));
  EXPECT_THAT(store->history(run_id, call).value(),
              testing::Contains(testing::Field(&store::HistoryLine::what, "orphans only reported")));
  EXPECT_THAT(tasks(), IsEmpty());
}

TEST_F(SweepRunTest, ValuesThatDifferAreReportedAndNothingElse) {
  hub.devices["a"].tags = {{"EUI", "here"}};
  external.devices["a"] = "there";
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_EQ(status(), "1 device differs");
  EXPECT_EQ(outcome["a"].op, "update");
  EXPECT_EQ(outcome["a"].outcome, "reported");
  EXPECT_THAT(outcome["a"].reason, HasSubstr(R"(tags.EUI: "here" in the hub, "there" outside)"));
  EXPECT_THAT(tasks(), IsEmpty());
}

TEST_F(SweepRunTest, AHubListThatIsNotCompleteStartsCreatesAndNoDelete) {
  hub.devices["a"];
  made_outside("ours");
  modules_listed = false;
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_THAT(status(), HasSubstr("deletes of orphans are withheld: the list of the hub is not complete"));
  EXPECT_THAT(tasks(), ElementsAre("a"));
  EXPECT_EQ(outcome["ours"].outcome, "reported");
  EXPECT_THAT(outcome["ours"].reason, HasSubstr("its delete is withheld"));
  EXPECT_FALSE(state->last_run("sweep/one").value());
}

TEST_F(SweepRunTest, AnEmptyHubChangesNothing) {
  made_outside("ours");
  EXPECT_EQ(sweep(), State::kDone);
  EXPECT_THAT(status(), HasSubstr("the hub's list is empty, so nothing is changed"));
  EXPECT_THAT(tasks(), IsEmpty());
  EXPECT_FALSE(state->last_run("sweep/one").value());
}

TEST_F(SweepRunTest, TooManyDeletesWaitForApprovalWhileCreatesGoOn) {
  hub.devices["new"];
  for (int i = 0; i < 10; ++i) made_outside(fmt::format("d{}", i));
  for (int i = 0; i < 8; ++i) hub.devices[fmt::format("d{}", i)];
  ASSERT_EQ(sweep(), State::kBlocked);
  EXPECT_EQ(code(), "guard.deletes");
  EXPECT_THAT(status(), HasSubstr("2 orphans to delete of 10 devices that twinstep made outside, the limit is 1"));
  EXPECT_THAT(status(), HasSubstr("twinstep approve " + run_id.value));
  EXPECT_THAT(tasks(), ElementsAre("new"));
  EXPECT_THAT(outcome["d9"].reason, HasSubstr("waits for approval"));
  do_tasks();
  approve(plan_id());
  EXPECT_EQ(claim_once(), State::kDone);
  EXPECT_EQ(status(), "2 orphans (2 of ours): 3 tasks");
  EXPECT_THAT(tasks(), ElementsAre("d8", "d9"));
  EXPECT_EQ(outcome["d9"].outcome, "task");
  do_tasks();
  EXPECT_EQ(external.devices.size(), 9u);
  EXPECT_TRUE(state->last_run("sweep/one").value());
}

TEST_F(SweepRunTest, AnApprovalDoesNotHoldForOtherOrphansThanWereApproved) {
  for (int i = 0; i < 10; ++i) made_outside(fmt::format("d{}", i));
  for (int i = 0; i < 8; ++i) hub.devices[fmt::format("d{}", i)];
  ASSERT_EQ(sweep(), State::kBlocked);
  hub.devices.erase("d7");
  hub.devices["d9"];  // as many as before, but another one
  approve(plan_id());
  EXPECT_EQ(claim_once(), State::kFailed);
  EXPECT_EQ(code(), "plan.stale");
  EXPECT_THAT(status(), HasSubstr("no orphan was deleted"));
  EXPECT_THAT(tasks(), IsEmpty());
}

TEST_F(SweepRunTest, AnApprovalOfAnotherPlanOrOfAListThatIsNotProvenDeletesNothing) {
  for (int i = 0; i < 10; ++i) made_outside(fmt::format("d{}", i));
  hub.devices["d0"];
  ASSERT_EQ(sweep(), State::kBlocked);
  approve("another");
  EXPECT_EQ(claim_once(), State::kFailed);
  EXPECT_EQ(code(), "plan.approval");
  ASSERT_EQ(sweep(), State::kBlocked);
  modules_listed = false;
  approve(plan_id());
  EXPECT_EQ(claim_once(), State::kFailed);
  EXPECT_EQ(code(), "guard.withheld");
  EXPECT_THAT(tasks(), IsEmpty());
}

TEST_F(SweepRunTest, AHubThatShrankTooMuchWaitsForApprovalEvenOfFewDeletes) {
  for (int i = 0; i < 20; ++i) hub.devices[fmt::format("d{:02}", i)], made_outside(fmt::format("d{:02}", i));
  EXPECT_EQ(sweep(), State::kDone);
  ASSERT_TRUE(state->last_run("sweep/one").value());
  EXPECT_EQ(state->last_run("sweep/one").value()->external_count, 20u);
  for (int i = 0; i < 5; ++i) hub.devices.erase(fmt::format("d{:02}", i));
  link.limits.deletes = {{}, 100};
  ASSERT_EQ(sweep(), State::kBlocked);
  EXPECT_EQ(code(), "guard.shrink");
  EXPECT_EQ(state->last_run("sweep/one").value()->external_count, 20u) << "a blocked sweep is no good one";
}

TEST_F(SweepRunTest, AnInterruptedSweepGoesOnAtItsCursor) {
  for (int i = 0; i < 1200; ++i) hub.devices[fmt::format("d{:04}", i)];
  pages_until_trouble = 2;
  EXPECT_EQ(sweep(), State::kWaiting);
  EXPECT_EQ(pages, 1);
  EXPECT_EQ(json::string_or(step("cursor"), "after"), "d0499");
  outcome.clear();
  clock.advance(1h);
  EXPECT_EQ(claim_once(), State::kDone);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(outcome.size(), 700u);
  EXPECT_FALSE(outcome.contains("d0499"));
  EXPECT_EQ(json::write(step("report").at("tasks")), R"({"create":1200,"delete":0})");
  EXPECT_EQ(store->count("device", call)->at(State::kWaiting), 1200);
}

TEST_F(SweepRunTest, ApprovedDeletesThatWereInterruptedGoOnThoughSomeAreDone) {
  hub.devices["zzz"];
  for (int i = 0; i < 700; ++i) made_outside(fmt::format("d{:04}", i));
  ASSERT_EQ(sweep(), State::kBlocked);
  approve(plan_id());
  pages_until_trouble = 2;
  EXPECT_EQ(claim_once(), State::kWaiting);
  do_tasks();
  EXPECT_EQ(external.devices.size(), 201u);  // "zzz" was made too
  clock.advance(1h);
  EXPECT_EQ(claim_once(), State::kDone) << status();
  do_tasks();
  EXPECT_THAT(outside(), ElementsAre("zzz"));
}

TEST_F(SweepRunTest, DeletesBeforeAnInterruptionCountInTheLimitOfTheRest) {
  for (int i = 0; i < 2000; ++i) made_outside(fmt::format("d{:04}", i));
  for (int i = 600; i < 2000; ++i) hub.devices[fmt::format("d{:04}", i)];
  link.limits.deletes = {{}, 600};
  pages_until_trouble = 2;
  EXPECT_EQ(sweep(), State::kWaiting);
  EXPECT_EQ(tasks().size(), 500u);
  hub.devices.erase("d0600");  // 601 altogether
  clock.advance(1h);
  EXPECT_EQ(claim_once(), State::kBlocked);
  EXPECT_EQ(code(), "guard.deletes");
  EXPECT_EQ(tasks().size(), 500u);
}

TEST_F(SweepRunTest, ATaskThatWaitsKeepsItsCountedTries) {
  hub.devices["a"];
  EXPECT_EQ(sweep(), State::kDone);
  auto claimed = store->claim(external_lane(link.external), "me", 1, 30s, call).value();
  store::Finish waits;
  waits.state = State::kWaiting;
  waits.due_in = 5min;
  waits.attempt = 7;
  ASSERT_TRUE(store->finish(claimed.at(0).workflow, waits, call));
  EXPECT_EQ(sweep(), State::kDone);
  const auto task = store->find(claimed.at(0).workflow.id, call).value();
  EXPECT_EQ(task.attempt, 7);
  EXPECT_EQ(task.generation, 0);
  EXPECT_TRUE(store->claim(external_lane(link.external), "me", 1, 30s, call)->empty()) << "it is not hurried";
}

TEST_F(SweepRunTest, AnOutageIsTriedAgainAndARefusalIsNot) {
  hub.devices["a"];
  external.down = fail(ErrorKind::kUnavailable, "http.connect", "outside is down");
  EXPECT_EQ(sweep(), State::kWaiting);
  EXPECT_THAT(status(), HasSubstr("outside is down"));
  external.down = fail(ErrorKind::kDenied, "http.denied", "the key was refused: renew it");
  clock.advance(1h);
  EXPECT_EQ(claim_once(), State::kFailed);
  EXPECT_EQ(code(), "http.denied");
  EXPECT_THAT(tasks(), IsEmpty());
}

TEST_F(SweepRunTest, AnOutageWithoutEndIsGivenUp) {
  hub.devices["a"];
  external.down = fail(ErrorKind::kUnavailable, "http.connect", "outside is down");
  State state_now = sweep();
  int tries = 1;
  for (; state_now == State::kWaiting && tries < 50; ++tries) {
    clock.advance(1h);
    state_now = claim_once();
  }
  EXPECT_EQ(state_now, State::kFailed);
  EXPECT_EQ(tries, 20);
  EXPECT_THAT(status(), HasSubstr("given up after 20 tries"));
}

TEST_F(SweepRunTest, AStoppedSweepIsDueAgainAtOnce) {
  hub.devices["a"];
  run_id = start();
  auto claimed = store->claim(run_lane(link.hub), "me", 1, 30s, call).value();
  stop.request_stop();
  engine::Attempt attempt(*store, std::move(claimed.at(0)), call, rng);
  const auto finish = run_sweep(*context, attempt, *store, [](const auto&) { return Status{}; });
  EXPECT_EQ(finish.state, State::kWaiting);
  EXPECT_EQ(finish.due_in, 0ms);
  EXPECT_EQ(finish.attempt, 0);
}

}  // namespace
}  // namespace twinstep::workflows
