// What the engine recorded, as events.
#include "twinstep/app/event_maker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "twinstep/base/fake_clock.h"
#include "twinstep/telemetry/event_table.h"

namespace twinstep::app {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing::UnorderedElementsAre;

class Heard final : public obs::EventSink {
 public:
  void emit(const obs::Event& event) noexcept override {
    const telemetry::EventKind* kind = telemetry::find_event(event.name);
    ASSERT_NE(kind, nullptr) << event.name;
    for (const auto& [name, value] : event.properties)
      EXPECT_THAT(kind->properties, testing::Contains(name))
          << event.name << " says " << name << ", the table does not";
    for (const auto& [name, value] : event.measurements) EXPECT_THAT(kind->measurements, testing::Contains(name));
    events.push_back(event);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& event : events) out.push_back(event.name);
    return out;
  }
  std::map<std::string, std::string> properties(size_t which) const {
    return {events.at(which).properties.begin(), events.at(which).properties.end()};
  }
  std::vector<obs::Event> events;
};

class EventMakerTest : public testing::Test {
 protected:
  EventMakerTest() {
    config::Hub hub;
    hub.name = "default";
    hub.host = "contoso.azure-devices.net";
    config.hubs.push_back(hub);
    config::Link link;
    link.name = "thingpark";
    link.hub = "default";
    config.links.push_back(link);
    task.id = store::WorkflowId("0123456789abcdef0123456789abcdef");
    task.kind = "device";
    task.input = R"({"link":"thingpark","device":"lora-01","what":"created"})";
    run.id = store::WorkflowId("r1");
    run.kind = "run";
    run.epoch = 1;
    run.created = clock.system_now();
    run.input = R"({"link":"thingpark","trigger":"schedule"})";
  }
  void end(store::State state, const std::string& status, const std::string& code = {}) {
    store::Finish finish;
    finish.state = state;
    finish.status = status;
    finish.error_code = code;
    maker.recorded(run, finish, state);
  }

  FakeClock clock;
  config::Config config;
  Heard heard;
  EventMaker maker{config, heard, clock};
  store::Workflow task, run;
};

TEST_F(EventMakerTest, HistoryLinesOfTasksAreTheSamplesEventsWithItsProperties) {
  store::Finish finish;
  finish.history = {
      {{}, "DeviceTwinCheckFail", "EUI is missing"}, {{}, "created", ""}, {{}, "ExternalDeviceCreated", ""}};
  maker.recorded(task, finish, store::State::kDone);
  EXPECT_THAT(heard.names(), ElementsAre("DeviceTwinCheckFail", "ExternalDeviceCreated"));
  EXPECT_THAT(heard.properties(0),
              UnorderedElementsAre(Pair("deviceId", "lora-01"), Pair("iothubname", "contoso"),
                                   Pair("link", "thingpark"), Pair("task", task.id.value),
                                   Pair("reason", "EUI is missing"), Pair("missingProperty", "EUI")));
  EXPECT_EQ(heard.properties(1).count("reason"), 0u);
  EXPECT_EQ(heard.events[1].operation, task.id.value);
}

TEST_F(EventMakerTest, AReasonHasTheNameThatTheSampleGaveItToo) {
  store::Finish finish;
  finish.history = {{{}, "ExternalDeviceCreationError", "HTTP status 500"},
                    {{}, "ExternalDeviceDeletedError", "HTTP status 501"},
                    {{}, "DeviceTwinCheckFail", "EUI must have 16 characters, applicationKey is missing, b is missing"},
                    {{}, "ExternalDeviceCreationFailed", "HTTP status 400"}};
  maker.recorded(task, finish, store::State::kFailed);
  EXPECT_EQ(heard.properties(0).at("error"), "HTTP status 500");
  EXPECT_EQ(heard.properties(0).at("reason"), "HTTP status 500");
  EXPECT_EQ(heard.properties(1).at("errorMessage"), "HTTP status 501");
  EXPECT_EQ(heard.properties(2).at("missingProperty"), "applicationKey");
  EXPECT_EQ(heard.properties(3).size(), 5u) << "the sample sent no reason with it";
}

TEST_F(EventMakerTest, WhatCallersOfTheFacadeHadDoneIsToldAsTheSampleDoes) {
  store::NewWorkflow call;
  call.id = task.id;
  call.kind = "device";
  call.input = R"({"link":"thingpark","device":"lora-01","what":"created","tags":{"EUI":"1"}})";
  for (const char* line : {"IoTHubDeviceCreated", "IoTHubDeviceDeleted", "IoTHubDeviceDisabled", "IoTHubDeviceEnabled",
                           "IoTHubDeviceFound", "IoTHubDeviceAbsent", "IoTHubDeviceAdopted"}) {
    call.history = {{{}, line, "facade call of tp"}};
    maker.done_by_facade(call);
  }
  EXPECT_THAT(heard.names(), ElementsAre("IoTHubDeviceCreated", "IoTHubDeviceDeleted", "IoTHubDeviceDeleted"));
  EXPECT_THAT(heard.properties(0), UnorderedElementsAre(Pair("deviceId", "lora-01"), Pair("iothubname", "contoso"),
                                                        Pair("link", "thingpark"), Pair("task", task.id.value)));
  EXPECT_EQ(heard.properties(1).at("softDelete"), "false");
  EXPECT_EQ(heard.properties(2).at("softDelete"), "true");
}

TEST_F(EventMakerTest, AHubThatIsNoAzureHostIsCalledAsInTheConfiguration) {
  config.hubs[0].host = "localhost:8443";
  store::Finish finish;
  finish.history = {{{}, "ExternalDeviceDeleted", ""}};
  maker.recorded(task, finish, store::State::kDone);
  EXPECT_EQ(heard.properties(0).at("iothubname"), "default");
}

TEST_F(EventMakerTest, ARunIsStartedOnceAndEndsOnce) {
  maker.begun(run);
  run.epoch = 2;
  maker.begun(run);
  end(store::State::kWaiting, "a remote is away");
  clock.advance(std::chrono::seconds{5});
  end(store::State::kDone, "created 3");
  maker.begun(task);
  EXPECT_THAT(heard.names(), ElementsAre("RunStarted", "RunCompleted"));
  EXPECT_EQ(heard.properties(1).at("result"), "created 3");
  EXPECT_THAT(heard.events[1].measurements, ElementsAre(Pair("durationMs", 5000.0)));
}

TEST_F(EventMakerTest, ABlockedRunNamesItsRuleAndAPersonsAnswerItsName) {
  end(store::State::kBlocked, "would delete 40 %", "guard.deletes");
  maker.answered("RunApproved", run, "anna");
  end(store::State::kFailed, "the list is empty", "guard.shrink");
  end(store::State::kCancelled, "cancelled");
  EXPECT_THAT(heard.names(),
              ElementsAre("GuardTripped", "RunBlocked", "RunApproved", "GuardTripped", "RunFailed", "RunCancelled"));
  EXPECT_EQ(heard.properties(0).at("rule"), "deletes");
  EXPECT_EQ(heard.properties(2).at("by"), "anna");
}

TEST_F(EventMakerTest, OnlyAnAlarmIsToldOfLanesThatRest) {
  maker.rested({"external/tp", true, false, "429", Millis{5000}});
  maker.rested({"external/tp", false, false, "", {}});
  EXPECT_THAT(heard.names(), ElementsAre());
  maker.rested({"external/tp", true, true, "401", Millis{60'000}});
  maker.rested({"external/tp", false, false, "", {}});
  EXPECT_THAT(heard.names(), ElementsAre("LaneRests", "LaneRecovered"));
  EXPECT_EQ(heard.properties(0).at("reason"), "401");
}

TEST_F(EventMakerTest, HubsAndBacklogsAreToldInNumbers) {
  maker.unknown_hub("else", 7);
  maker.backlog("external/tp", 2000, Millis{90'000});
  EXPECT_THAT(heard.names(), ElementsAre("EventOfUnknownHub", "TaskBacklog"));
  EXPECT_THAT(heard.events[1].measurements, ElementsAre(Pair("tasks", 2000.0), Pair("oldestSeconds", 90.0)));
}

}  // namespace
}  // namespace twinstep::app
