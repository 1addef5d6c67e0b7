// What the hub tells about: devices that came or went by its API, and nothing else.
#include "sims/control.h"
#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

class HubEventsTest : public HubTest {
 protected:
  HubEventsTest() {
    hub.on_change = [this](HubChange change, const std::string& id, const Entity& e) {
      told.push_back((change == HubChange::kCreated ? "+" : "-") + id);
      tags.push_back(e.tags);
    };
  }
  std::vector<std::string> take() {
    tags.clear();
    return std::exchange(told, {});
  }
  using Told = std::vector<std::string>;
  std::vector<std::string> told, tags;
};

TEST_F(HubEventsTest, SingleCallsThatCreateAndDelete) {
  create("a");
  ask("PATCH", "/twins/a", R"({"tags":{"site":"east"}})");
  EXPECT_EQ(ask("DELETE", "/devices/a", "", "*").status, 204);
  EXPECT_EQ(tags, (Told{"", R"({"site":"east"})"})) << "a deleted device is told with its last tags";
  EXPECT_EQ(take(), (Told{"+a", "-a"}));
}

TEST_F(HubEventsTest, ChangesAndRefusalsAreNotTold) {
  create("a");
  take();
  EXPECT_EQ(ask("PUT", "/devices/a", R"({"deviceId":"a","status":"disabled"})", "*").status, 200);
  EXPECT_EQ(ask("PATCH", "/twins/a", R"({"tags":{"x":1}})").status, 200);
  EXPECT_EQ(ask("PUT", "/twins/a", R"({"tags":{"x":2}})").status, 200);
  EXPECT_EQ(ask("PUT", "/devices/a", R"({"deviceId":"a"})").status, 409);
  EXPECT_EQ(ask("PUT", "/devices/x", R"({"deviceId":"y"})").status, 400);
  EXPECT_EQ(ask("PUT", "/devices/x", R"({"deviceId":"x"})", "*").status, 404);
  EXPECT_EQ(ask("DELETE", "/devices/a").status, 412);
  EXPECT_EQ(ask("DELETE", "/devices/a", "", "AAAA").status, 412);
  EXPECT_EQ(ask("DELETE", "/devices/none", "", "*").status, 404);
  EXPECT_EQ(ask("PUT", "/devices/a/modules/m", R"({"deviceId":"a","moduleId":"m"})").status, 200);
  EXPECT_EQ(ask("DELETE", "/devices/a/modules/m", "", "*").status, 204);
  hub.seed_device("seed", true, false, "");
  EXPECT_EQ(take(), Told{});
}

TEST_F(HubEventsTest, OfABulkCallWhatWasDone) {
  create("old");
  create("gone");
  create("kept");
  take();
  ask("POST", "/devices",
      R"([{"id":"new","importMode":"create","tags":{"t":1}},{"id":"old","importMode":"create"},
          {"id":"upserted","importMode":"createOrUpdate"},{"id":"kept","importMode":"createOrUpdate"},
          {"id":"gone","importMode":"delete"},{"id":"none","importMode":"delete"},
          {"id":"old","moduleId":"m","importMode":"create"}])");
  EXPECT_EQ(tags.front(), R"({"t":1})");
  EXPECT_EQ(take(), (Told{"+new", "+upserted", "-gone"}));
  ask("POST", "/devices",
      R"([{"id":"kept","importMode":"update"},{"id":"new","importMode":"updateTwin","tags":{"t":2}},
          {"id":"upserted","importMode":"deleteIfMatchETag","eTag":"AAAA"},{"id":"old","moduleId":"m","importMode":"delete"}])");
  EXPECT_EQ(take(), Told{});
}

TEST_F(HubEventsTest, OfAnImportWhatWasDone) {
  create("gone");
  create("kept");
  take();
  import(hub, R"({"id":"made","importMode":"create","status":"enabled"}
{"id":"kept","importMode":"create","status":"enabled"}
{"id":"kept","importMode":"update","status":"disabled"}
{"id":"gone","importMode":"delete","status":"enabled"}
{"id":"none","importMode":"delete","status":"enabled"}
broken
)");
  EXPECT_EQ(take(), (Told{"+made", "-gone"}));
}

TEST_F(HubEventsTest, ARegistryPutInByHandIsToldOnlyOnDemand) {
  FaultBox faults{1};
  ThingParkSim thingpark{{}, clock};
  EventGridSim events{{}, clock, direct};
  Control control{hub, thingpark, events, faults, nullptr, nullptr};
  const auto load = [&](const char* method, const char* query, const char* lines) {
    return control.handle(make_request(method, "/hub/devices", query, {}, lines)).status;
  };
  EXPECT_EQ(load("PUT", "", "{\"id\":\"a\"}\n{\"id\":\"b\"}"), 200);
  EXPECT_EQ(load("POST", "events=false", "{\"id\":\"c\"}"), 200);
  EXPECT_EQ(take(), Told{});
  EXPECT_EQ(load("PUT", "events=true", "{\"id\":\"b\"}\n{\"id\":\"d\"}"), 200);
  EXPECT_EQ(take(), (Told{"-a", "-c", "+d"}));
  EXPECT_EQ(load("POST", "events=true", "{\"id\":\"b\"}\n{\"id\":\"e\"}"), 200);
  EXPECT_EQ(take(), Told{"+e"});
  EXPECT_EQ(load("PUT", "events=true", "{\"id\":\"z\"}\nbroken"), 400);
  EXPECT_EQ(take(), Told{});
}

}  // namespace
}  // namespace twinstep::sims
