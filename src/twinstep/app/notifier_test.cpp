// Who is told of what, and how often: one store, one or two processes.
#include "twinstep/app/notifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/json/json.h"
#include "twinstep/store/store_subject.h"
#include "twinstep/telemetry/fake_web.h"

namespace twinstep::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class NoSink final : public obs::EventSink {
 public:
  void emit(const obs::Event& event) noexcept override { names.push_back(event.name); }
  std::vector<std::string> names;
};

class NotifierTest : public testing::Test {
 protected:
  NotifierTest() {
    telemetry::NoticeOptions hook;
    hook.url = Secret("https://example.org/hook");
    config.notices.push_back(hook);
    config::Link link;
    link.name = "one";
    link.external = "tp";
    config.links.push_back(link);
    config.telemetry.backlog_tasks = 10;
  }
  Notifier& make() {
    notifier.emplace(config, *database, events, web, "host-1", subject->clock(), rng);
    return *notifier;
  }
  void round() {
    notifier->look({});
    notifier->tell({});
  }
  void advance(std::chrono::nanoseconds span) { subject->advance(*database, span); }
  store::WorkflowId add(const std::string& kind, const std::string& lane, const std::string& id) {
    store::NewWorkflow one;
    one.id = store::WorkflowId(id);
    one.kind = kind;
    one.lane = lane;
    one.key = kind + "/" + id;
    one.input = R"({"link":"one"})";
    EXPECT_TRUE(workflows.start({one}, {}));
    return one.id;
  }
  store::WorkflowId blocked_run() {
    const auto id = add("run", "run/hub", "r1");
    const auto claim = workflows.claim("run/hub", "me", 1, Millis{60'000}, {}).value().at(0).workflow;
    store::Finish finish;
    finish.state = store::State::kBlocked;
    finish.due_in = Millis{3'600'000};
    finish.status = "blocked: it would delete 3 of 4";
    finish.error_code = "guard.deletes";
    EXPECT_TRUE(workflows.finish(claim, finish, {}));
    return id;
  }
  json::value body(size_t request) { return json::parse(web.requests.at(request).body, "it").value(); }
  std::string field(size_t request, std::string_view name) {
    return std::string(json::string_or(body(request).as_object(), name));
  }

  std::unique_ptr<store::Subject> subject = store::SqliteSubject::in_memory();
  std::unique_ptr<store::Database> database = subject->open();
  store::WorkflowStore workflows{*database};
  config::Config config;
  NoSink sink;
  EventMaker events{config, sink, subject->clock()};
  telemetry::FakeWeb web;
  Rng rng{3};
  std::optional<Notifier> notifier;
};

TEST_F(NotifierTest, ABlockedRunIsToldOnceAndItsEndToo) {
  make();
  const auto run = blocked_run();
  round();
  round();
  ASSERT_EQ(web.requests.size(), 1u);
  EXPECT_EQ(field(0, "action"), "trigger");
  EXPECT_EQ(field(0, "kind"), "blocked");
  EXPECT_EQ(field(0, "run"), "r1");
  EXPECT_EQ(field(0, "link"), "one");
  EXPECT_EQ(field(0, "text"), "blocked: it would delete 3 of 4");
  ASSERT_TRUE(workflows.cancel(run, "rejected by anna", {}));
  round();
  round();
  ASSERT_EQ(web.requests.size(), 2u);
  EXPECT_EQ(field(1, "action"), "resolve");
  EXPECT_EQ(field(1, "key"), field(0, "key"));
  EXPECT_THAT(field(1, "text"), HasSubstr("cancelled"));
}

TEST_F(NotifierTest, OfTwoProcessesOneTells) {
  make();
  Notifier other(config, *database, events, web, "host-2", subject->clock(), rng);
  blocked_run();
  notifier->look({});
  other.look({});
  other.tell({});
  notifier->tell({});
  EXPECT_EQ(web.requests.size(), 1u);
  Notifier restarted(config, *database, events, web, "host-1", subject->clock(), rng);
  restarted.look({});
  restarted.tell({});
  EXPECT_EQ(web.requests.size(), 1u) << "nor does one that was started again";
}

TEST_F(NotifierTest, AChannelThatIsAwayHearsItLater) {
  make();
  web.answer(503);
  web.breaks(ErrorKind::kTimeout);
  blocked_run();
  round();
  round();
  EXPECT_EQ(web.requests.size(), 1u) << "not before its wait is over";
  for (int i = 0; i < 5; ++i) {
    advance(std::chrono::seconds{30});
    round();
  }
  EXPECT_EQ(web.requests.size(), 3u) << "twice in vain, then said, then not again";
}

TEST_F(NotifierTest, ItIsSaidAgainEveryDayWhileItLasts) {
  make();
  blocked_run();
  round();
  advance(std::chrono::hours{25});
  round();
  EXPECT_EQ(web.requests.size(), 2u);
  EXPECT_EQ(field(1, "action"), "trigger");
}

TEST_F(NotifierTest, RefusedCredentialsAreAnAlarmUntilTheyAreAccepted) {
  make();
  notifier->rested({"external/tp", true, false, "429", Millis{5'000}});
  round();
  EXPECT_EQ(web.requests.size(), 0u) << "to be slowed down is no alarm";
  notifier->rested({"external/tp", true, true, "401: wrong secret", Millis{60'000}});
  ASSERT_TRUE(workflows.pause("external/tp", Millis{60'000}, "401", {}));
  round();
  advance(std::chrono::minutes{5});
  round();
  ASSERT_EQ(web.requests.size(), 1u);
  EXPECT_EQ(field(0, "kind"), "alarm");
  EXPECT_EQ(field(0, "severity"), "critical");
  EXPECT_THAT(field(0, "text"), HasSubstr("401: wrong secret"));
  notifier->rested({"external/tp", false, false, "", {}});
  round();
  EXPECT_EQ(field(1, "action"), "resolve");
}

TEST_F(NotifierTest, TheAlarmOfAProcessThatDiedEndsWhenNobodyRestsTheLane) {
  make();
  notifier->rested({"external/tp", true, true, "401", Millis{60'000}});
  ASSERT_TRUE(workflows.pause("external/tp", Millis{60'000}, "401", {}));
  round();
  make();
  advance(std::chrono::minutes{1});
  round();
  EXPECT_EQ(web.requests.size(), 1u);
  ASSERT_TRUE(workflows.resume("external/tp", {}));
  round();
  ASSERT_EQ(web.requests.size(), 2u);
  EXPECT_EQ(field(1, "action"), "resolve");
}

TEST_F(NotifierTest, ABacklogBeginsAtItsLimitAndEndsAtHalfOfIt) {
  make();
  for (int i = 0; i < 9; ++i) add("device", "external/tp", "t" + std::to_string(i));
  round();
  EXPECT_EQ(web.requests.size(), 0u);
  add("device", "external/tp", "t9");
  for (int i = 0; i < 3; ++i) {
    advance(std::chrono::seconds{11});
    round();
  }
  ASSERT_EQ(web.requests.size(), 1u);
  EXPECT_EQ(field(0, "kind"), "backlog");
  EXPECT_EQ(field(0, "lane"), "external/tp");
  EXPECT_THAT(sink.names, ElementsAre("TaskBacklog"));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(workflows.cancel(store::WorkflowId("t" + std::to_string(i)), "x", {}));
  advance(std::chrono::seconds{11});
  round();
  EXPECT_EQ(web.requests.size(), 1u) << "six are more than half";
  for (int i = 4; i < 6; ++i) ASSERT_TRUE(workflows.cancel(store::WorkflowId("t" + std::to_string(i)), "x", {}));
  advance(std::chrono::seconds{11});
  round();
  ASSERT_EQ(web.requests.size(), 2u);
  EXPECT_EQ(field(1, "action"), "resolve");
}

TEST_F(NotifierTest, OneOldTaskIsABacklogToo) {
  make();
  add("device", "external/tp", "t");
  round();
  advance(std::chrono::minutes{16});
  round();
  EXPECT_EQ(web.requests.size(), 1u);
}

TEST_F(NotifierTest, WhoDoesNotWantTheEndIsNotToldIt) {
  config.notices[0].recovery = false;
  make();
  const auto run = blocked_run();
  round();
  ASSERT_TRUE(workflows.cancel(run, "x", {}));
  round();
  EXPECT_EQ(web.requests.size(), 1u);
  EXPECT_EQ(database->ask("SELECT count(*) FROM notice", {}, {})->number(0, 0), 0);
}

TEST_F(NotifierTest, EventsOfUnknownHubsAreToldAtOnceAndThenWhenTheyHaveDoubled) {
  config.notices.clear();
  config.telemetry.file = "stdout";
  make();
  std::map<std::string, uint64_t> counts{{"else", 1}};
  std::mutex mutex;
  notifier->start([&] {
    std::scoped_lock lock(mutex);
    return counts;
  });
  notifier->stop();
  for (uint64_t n : {1u, 2u, 3u, 4u}) {
    counts["else"] = n;
    notifier->look({});
  }
  EXPECT_THAT(sink.names, ElementsAre("EventOfUnknownHub", "EventOfUnknownHub", "EventOfUnknownHub"));
}

}  // namespace
}  // namespace twinstep::app
