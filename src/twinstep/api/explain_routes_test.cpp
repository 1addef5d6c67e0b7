#include "twinstep/api/explain_routes.h"

#include "twinstep/api/api_fixture.h"

namespace twinstep::api {
namespace {

using namespace std::chrono_literals;
using What = ExternalSide::What;

class Explain : public ApiFixture {
 protected:
  void set(HubSide hub, What external) { sides = {std::move(hub), ExternalSide{external, "dev-1"}}; }
  HubSide present(std::string owner = "default") {
    HubSide out;
    out.exists = out.enabled = true;
    out.owner = std::move(owner);
    return out;
  }
  std::string why_of(std::string link = "default") {
    const auto answer = json_of(get("/api/v1/explain/dev-1?link=" + link));
    return std::string(answer.at_pointer("/links/0/why").as_string());
  }
};

TEST_F(Explain, SaysWhatADeviceWaitsForAndWhenItIsLookedAtAgain) {
  start(task("default", "dev-1"));
  EXPECT_EQ(why_of(), "a task is due at 2023-11-14T22:13:20Z");
  const auto claimed = claim("external/thingpark");
  EXPECT_EQ(why_of(), "a task is working on it now");
  finish(claimed, store::State::kWaiting, "waits for the tags applicationKey, EUI", 5min);
  EXPECT_EQ(why_of(), "waits for the tags applicationKey, EUI; looks again at 2023-11-14T22:18:20Z");
  ASSERT_TRUE(store.pause("external/thingpark", 10min, "credentials were refused", {}));
  EXPECT_EQ(why_of(), "lane external/thingpark rests until 2023-11-14T22:23:20Z: credentials were refused");
}

TEST_F(Explain, SaysHowTheSidesStand) {
  set(present(), What::kFound);
  EXPECT_EQ(why_of(), "in step: both sides have it");
  set({}, What::kAbsent);
  EXPECT_EQ(why_of(), "in step: neither side has it");
  set(present(), What::kAbsent);
  EXPECT_EQ(why_of(), "only in the hub: the next run (none is scheduled) deletes it");
  ASSERT_TRUE(store.plan_schedule("default", "0 * * * *", clock.system_now() + 1h, SystemTime::max(), {}));
  EXPECT_EQ(why_of(), "only in the hub: the run at 2023-11-14T23:13:20Z deletes it");
  config.links[0].deletes = config::Deletes::kNever;
  EXPECT_EQ(why_of(), "only in the hub, and kept there: link default says deletes: never");
  set(present("another"), What::kAbsent);
  EXPECT_EQ(why_of(), "left alone: in the hub only, and not made by link default");
  EXPECT_EQ(why_of("field"), "only in the hub: the next run (none is scheduled) creates it in thingpark");
  set({}, What::kFound);
  EXPECT_EQ(why_of(), "only in thingpark: the run at 2023-11-14T23:13:20Z creates it in the hub");
  EXPECT_NE(why_of("field").find("deletes it only if twinstep created it there"), std::string::npos);
  HubSide edge = present();
  edge.edge = true;
  set(edge, What::kAbsent);
  EXPECT_EQ(why_of(), "left alone: Edge device");
}

TEST_F(Explain, SaysWhatIsNotKnown) {
  set(present(), What::kCannotLookUp);
  EXPECT_EQ(why_of(), "in the hub; thingpark cannot be asked for this device alone, the run compares it");
  sides.external = fail(ErrorKind::kTimeout, "http.timeout", "no answer in 10 s");
  EXPECT_EQ(why_of(), "not known: thingpark cannot be asked now: no answer in 10 s");
  sides.hub = fail(ErrorKind::kDenied, "hub.denied", "the hub refused the key");
  EXPECT_EQ(why_of(), "not known: the hub cannot be read now: the hub refused the key");
  const auto answer = json_of(get("/api/v1/explain/dev-1?link=default"));
  EXPECT_EQ(answer.at_pointer("/links/0/hub/state"), "unknown");
  EXPECT_EQ(answer.at_pointer("/links/0/external/error"), "no answer in 10 s");
}

TEST_F(Explain, AFailedTaskIsNamedUnlessTheSidesAgreeMeanwhile) {
  const auto id = failed_task("default", "dev-1", "external.refused");
  set(present(), What::kAbsent);
  EXPECT_EQ(why_of(), "its last task failed: refused; `twinstep retry " + id.value + "` tries it again");
  set(present(), What::kFound);
  EXPECT_EQ(why_of(), "in step: both sides have it");
}

TEST_F(Explain, ShowsAllLinksWithTasksLedgerAndRuns) {
  const auto old = start(task("field", "dev-1"));
  const auto claimed = claim("external/thingpark");
  store::Finish done;
  done.ledger = store::LedgerEntry{"field", "dev-1", DeviceId("dev-1"), true, R"({"ref":"7"})"};
  ASSERT_TRUE(store.finish(claimed.workflow, done, {}));
  const auto active = start(task("field", "dev-1"));
  mentions.push_back({store::WorkflowId("r1"), {DeviceId("dev-1"), "create", "failed", "429"}, clock.system_now()});
  const auto answer = json_of(get("/api/v1/explain/dev-1"));
  ASSERT_EQ(answer.at("links").as_array().size(), 2u);
  const auto& field = answer.at_pointer("/links/1");
  EXPECT_EQ(field.at("activeTask").at("id"), json::value(active.value));
  EXPECT_EQ(field.at("lastTasks").as_array().at(0).at("id"), json::value(old.value));
  EXPECT_EQ(field.at("ledger").at("tags").at("ref"), "7");
  EXPECT_TRUE(answer.at_pointer("/links/0/ledger").is_null());
  EXPECT_EQ(answer.at_pointer("/runs/0/reason"), "429");
}

TEST_F(Explain, TheHubIsAskedInTheSpellingThatTheLedgerKnows) {
  start(task("default", "0004A30B001A2B3C"));
  store::Finish done;
  done.ledger = store::LedgerEntry{"default", "0004A30B001A2B3C", DeviceId("00-04-a3-0b-00-1a-2b-3c"), true, "{}"};
  ASSERT_TRUE(store.finish(claim("external/thingpark").workflow, done, {}));
  get("/api/v1/explain/0004A30B001A2B3C?link=default");
  EXPECT_EQ(looked_at.value, "00-04-a3-0b-00-1a-2b-3c");
  EXPECT_EQ(code_of(get("/api/v1/explain/dev%20one")), "api.bad-device");
}

}  // namespace
}  // namespace twinstep::api
