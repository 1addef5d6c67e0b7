#include "twinstep/app/figures.h"

#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::app {
namespace {

using namespace std::chrono_literals;
using store::State;

/// A store in which runs and tasks end as a test says, seen by the figures of a service.
class FiguresTest : public ::testing::Test {
 protected:
  FiguresTest() {
    for (const char* name : {"scheduled", "mirrored"}) {
      config::Link& link = config.links.emplace_back();
      link.name = name;
      link.hub = "contoso";
      link.external = "tp";
    }
    config.links[1].master = config::Master::kHub;
    figures.emplace(config, *database, metrics, clock);
    figures->listen_to(options);
  }

  /// A run of the link that ends as told, with these steps saved.
  void run(const config::Link& link, State ends, std::map<std::string, std::string> steps, std::string code = {}) {
    store::NewWorkflow fresh = workflows::link_workflow(link, "test", rng);
    ASSERT_TRUE(store.start({fresh}, {}));
    auto claimed = store.claim(fresh.lane, "me", 1, 1h, {}).value();
    ASSERT_EQ(claimed.size(), 1u);
    for (const auto& [name, output] : steps) ASSERT_TRUE(store.save_step(claimed[0].workflow, name, output, "", {}));
    store::Finish finish;
    finish.state = ends;
    finish.due_in = 24h;
    finish.error_code = std::move(code);
    options.on_worked(claimed[0].workflow, finish, 90s);
    const auto became = store.finish(claimed[0].workflow, finish, {});
    ASSERT_TRUE(became);
    options.on_recorded(claimed[0].workflow, finish, *became);
    last = claimed[0].workflow.id;
  }
  void task(std::string device, State ends, std::vector<std::string> said) {
    store::NewWorkflow fresh;
    fresh.id = store::WorkflowId(rng.hex_id());
    fresh.kind = "device";
    fresh.lane = "external/tp";
    fresh.key = "device/mirrored/" + device;
    fresh.input = "{}";
    ASSERT_TRUE(store.start({fresh}, {}));
    auto claimed = store.claim(fresh.lane, "me", 1, 1h, {}).value();
    ASSERT_EQ(claimed.size(), 1u);
    store::Finish finish;
    finish.state = ends;
    finish.due_in = 1h;
    for (std::string& line : said) finish.history.push_back({{}, std::move(line), ""});
    const auto became = store.finish(claimed[0].workflow, finish, {});
    options.on_recorded(claimed[0].workflow, finish, *became);
  }
  std::string read() {
    EXPECT_TRUE(figures->read_store({}));
    return metrics.text();
  }
  static bool has(const std::string& text, const std::string& line) {
    return text.find("\n" + line + "\n") != std::string::npos;
  }

  FakeClock clock;
  Rng rng{4};
  obs::Metrics metrics{"1", clock};
  std::unique_ptr<store::Database> database = store::open_database("sqlite::memory:", clock).value();
  store::WorkflowStore store{*database};
  store::StateFile state{*database};
  config::Config config;
  engine::EngineOptions options;
  std::optional<Figures> figures;
  store::WorkflowId last;
};

constexpr const char* kPlan = R"({"plan":"p","counts":{"owned":10,"kept":1,"withheld":0,"delete":3,"disable":0}})";
constexpr const char* kReport =
    R"({"rows":{"create":{"done":4,"failed":1,"skipped":0},"delete":{"done":2,"failed":1,"skipped":0}},"status":"x"})";

TEST_F(FiguresTest, ARunIsCountedByWhatItsReportSays) {
  run(config.links[0], State::kFailed, {{"plan", kPlan}, {"report", kReport}}, "run.some-failed");
  const std::string text = read();
  EXPECT_TRUE(has(text, R"(twinstep_runs_ended_total{link="scheduled",outcome="failed"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_run_seconds_sum{link="scheduled"} 90)"));
  EXPECT_TRUE(has(text, R"(twinstep_changes_total{kind="create",link="scheduled",result="done"} 4)"));
  EXPECT_TRUE(has(text, R"(twinstep_changes_total{kind="delete",link="scheduled",result="failed"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_orphan_devices{link="scheduled"} 2)")) << "one kept, one of three not deleted";
  EXPECT_TRUE(has(read(), R"(twinstep_changes_total{kind="create",link="scheduled",result="done"} 4)")) << "once";
}

TEST_F(FiguresTest, LinkGaugesAreRightAgainAfterARestart) {
  ASSERT_TRUE(state.remember_run("scheduled", {12, 9, clock.system_now()}));
  run(config.links[0], State::kDone, {{"plan", kPlan}, {"report", kReport}});
  clock.advance(100s);
  obs::Metrics fresh("1", clock);
  Figures again(config, *database, fresh, clock);
  ASSERT_TRUE(again.read_store({}));
  const std::string text = fresh.text();
  EXPECT_TRUE(has(text, R"(twinstep_owned_devices{link="scheduled"} 9)"));
  EXPECT_TRUE(has(text, R"(twinstep_in_step_lag_seconds{link="scheduled"} 100)"));
  EXPECT_TRUE(has(text, R"(twinstep_last_good_run_timestamp_seconds{link="scheduled"} 1700000000)"));
  EXPECT_TRUE(has(text, R"(twinstep_last_run_timestamp_seconds{link="scheduled",outcome="done"} 1700000000)"));
  EXPECT_TRUE(has(text, R"(twinstep_last_run_changes{link="scheduled",kind="create",result="done"} 4)"));
  EXPECT_EQ(text.find("twinstep_changes_total{"), std::string::npos) << "another process counted them";
}

TEST_F(FiguresTest, ABlockedRunIsSeenUntilItIsApproved) {
  run(config.links[0], State::kBlocked, {{"plan", kPlan}}, "guard.deletes");
  const std::string text = read();
  EXPECT_TRUE(has(text, R"(twinstep_blocked_runs{link="scheduled"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_guard_trips_total{link="scheduled",rule="deletes"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_runs_ended_total{link="scheduled",outcome="blocked"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_orphan_devices{link="scheduled"} 4)")) << "one kept, three that wait";
  ASSERT_TRUE(store.unblock(last, "approved", "{}", {}));
  EXPECT_TRUE(has(read(), R"(twinstep_blocked_runs{link="scheduled"} 0)"));
}

TEST_F(FiguresTest, ASweepIsInStepWhenItFoundNothingToDo) {
  constexpr const char* kUnequal = R"({"counts":{"missing_outside":2,"orphans":3,"orphans_owned":1,"differing":0},)"
                                   R"("tasks":{"create":2,"delete":1},"status":"x"})";
  constexpr const char* kEqual = R"({"counts":{"missing_outside":0,"orphans":2,"orphans_owned":0,"differing":0},)"
                                 R"("tasks":{"create":0,"delete":0},"status":"x"})";
  run(config.links[1], State::kDone, {{"report", kEqual}});
  clock.advance(1h);
  run(config.links[1], State::kDone, {{"report", kUnequal}});
  const std::string text = read();
  EXPECT_TRUE(has(text, R"(twinstep_in_step_lag_seconds{link="mirrored"} 3600)"));
  EXPECT_TRUE(has(text, R"(twinstep_orphan_devices{link="mirrored"} 3)"));
  EXPECT_TRUE(has(text, R"(twinstep_last_run_changes{link="mirrored",kind="create",result="task"} 2)"));
  EXPECT_FALSE(has(text, R"(twinstep_in_step_lag_seconds{link="scheduled"} 3600)"));
}

TEST_F(FiguresTest, TasksAreCountedWithTheChangesThatTheirHistoryTells) {
  task("a", State::kDone, {"ExternalDeviceCreated"});
  task("b", State::kWaiting, {"ExternalDeviceCreationError"});
  task("c", State::kFailed, {"ExternalDeviceDeleteFailed"});
  const std::string text = read();
  EXPECT_TRUE(has(text, R"(twinstep_changes_total{kind="create",link="mirrored",result="done"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_changes_total{kind="create",link="mirrored",result="error"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_changes_total{kind="delete",link="mirrored",result="failed"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_tasks_ended_total{link="mirrored",outcome="done"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_tasks_ended_total{link="mirrored",outcome="failed"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_tasks{lane="external/tp",state="waiting"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_tasks{lane="external/tp",state="failed"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_tasks{lane="run/contoso",state="waiting"} 0)")) << "none is 0, not absent";
}

TEST_F(FiguresTest, WhatCallersOfTheFacadeHadDoneIsCounted) {
  store::NewWorkflow call;
  call.kind = "device";
  call.key = "device/scheduled/dev1";
  call.state = State::kDone;
  for (const char* line : {"IoTHubDeviceCreated", "IoTHubDeviceCreated", "IoTHubDeviceDeleted", "IoTHubDeviceDisabled",
                           "IoTHubDeviceEnabled", "IoTHubDeviceAdopted", "IoTHubDeviceFound"}) {
    call.history = {{{}, line, "facade call of tp"}};
    figures->done_by_facade(call);
  }
  const std::string text = read();
  EXPECT_TRUE(has(text, R"(twinstep_changes_total{kind="create",link="scheduled",result="done"} 2)"));
  for (const char* kind : {"delete", "disable", "update", "adopt"})
    EXPECT_TRUE(
        has(text, fmt::format(R"(twinstep_changes_total{{kind="{}",link="scheduled",result="done"}} 1)", kind)));
  EXPECT_TRUE(has(text, R"(twinstep_tasks_ended_total{link="scheduled",outcome="done"} 7)"));
}

TEST_F(FiguresTest, RestsEventsAndEarlierEarsAreHeard) {
  std::vector<std::string> heard;
  engine::EngineOptions with_ears;
  with_ears.on_rest = [&](const engine::LaneRest& rest) { heard.push_back(rest.lane); };
  figures->listen_to(with_ears);
  with_ears.on_rest({"external/tp", true, true, "401", 60s});
  ASSERT_TRUE(store.pause("external/tp", 60s, "401", {}));
  api::IntakeCounts more;
  more.deliveries = 1;
  more.started = 3;
  more.unknown_hubs["fabrikam"] = 2;
  figures->taken_in(more);
  const std::string text = read();
  EXPECT_EQ(heard, std::vector<std::string>{"external/tp"});
  EXPECT_TRUE(has(text, R"(twinstep_lane_alarm{lane="external/tp"} 1)"));
  EXPECT_TRUE(has(text, R"(twinstep_lane_resting{lane="external/tp"} 1)"));
  EXPECT_TRUE(has(text, "twinstep_event_deliveries_total 1"));
  EXPECT_TRUE(has(text, R"(twinstep_events_total{outcome="started"} 3)"));
  EXPECT_TRUE(has(text, R"(twinstep_events_total{outcome="refused"} 2)"));
  EXPECT_EQ(text.find("fabrikam"), std::string::npos) << "whoever sends events must not name labels";
}

}  // namespace
}  // namespace twinstep::app
