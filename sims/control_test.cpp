// The control API of the simulators, and what it can set.
#include "sims/control.h"

#include <algorithm>

#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using http::ServerResponse;

class ControlTest : public HubTest {
 protected:
  ServerResponse call(const std::string& method, const std::string& path, const std::string& body = "",
                      const std::string& query = "") {
    return control.handle(make_request(method, path, query, {}, body));
  }
  FaultBox faults{1};
  ThingParkSim thingpark{{}, clock};
  std::vector<std::string> granted;
  EventGridSim events{{}, clock, direct};
  Control control{hub,
                  thingpark,
                  events,
                  faults,
                  [this](std::chrono::nanoseconds span) { clock.advance(span); },
                  [this](const std::vector<std::string>& names) { granted = names; }};
};

TEST_F(ControlTest, AHubRegistryComesBackAsItWentIn) {
  ask("POST", "/devices", R"([{"id":"a","importMode":"create","tags":{"t":1},"properties":{"desired":{"x":{"y":1}}}},
                              {"id":"b","importMode":"create","status":"disabled","statusReason":"off","capabilities":{"iotEdge":true}}])");
  ask("PATCH", "/twins/a", R"({"tags":{"u":2}})");
  ask("PUT", "/devices/a/modules/m", R"({"deviceId":"a","moduleId":"m","managedBy":"me"})");
  const std::string before = call("GET", "/hub/devices", "", "keys=true").body;
  EXPECT_EQ(std::count(before.begin(), before.end(), '\n'), 3);
  IotHubSim other(options(), clock, direct);
  Control second(other, thingpark, events, faults, nullptr, nullptr);
  const auto put = second.handle(make_request("PUT", "/hub/devices", "", {}, before));
  ASSERT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(body_of(put).at("devices"), 3);
  EXPECT_EQ(other.dump(true), before);
  EXPECT_EQ(call("GET", "/hub/devices").body.find("primaryKey\":\""), std::string::npos) << "keys only when asked for";
}

TEST_F(ControlTest, PutReplacesAndPostAddsBothAtOnceInQueries) {
  IotHubSimOptions o = options();
  o.index_lag = o.ghost_time = std::chrono::minutes{30};
  IotHubSim lagging(o, clock, direct);
  Control second(lagging, thingpark, events, faults, nullptr, nullptr);
  const auto count = [&] { return query(lagging, "SELECT COUNT() AS n FROM devices").body; };
  ask(lagging, "PUT", "/devices/old", R"({"deviceId":"old"})");
  EXPECT_EQ(second
                .handle(make_request("PUT", "/hub/devices", "", {},
                                     "{\"id\":\"a\"}\r\n\n{\"id\":\"b\",\"status\":\"disabled\"}"))
                .status,
            200);
  EXPECT_EQ(count(), R"([{"n":2}])");
  EXPECT_EQ(second.handle(make_request("POST", "/hub/devices", "", {}, R"({"id":"a","moduleId":"m"})")).status, 200);
  EXPECT_EQ(second.handle(make_request("POST", "/hub/devices", "", {}, R"({"id":"c"})")).status, 200);
  EXPECT_EQ(count(), R"([{"n":3}])");
  EXPECT_EQ(ask(lagging, "GET", "/devices/a/modules/m").status, 200);
  EXPECT_EQ(ask(lagging, "GET", "/devices/old").status, 404);
}

TEST_F(ControlTest, ABadLineIsNamedAndChangesNothing) {
  hub.seed_device("keep", true, false, "");
  for (const char* bad : {"{\"id\":\"a\"}\nbroken", "{\"id\":\"a\"}\n[]", "{\"id\":\"a\"}\n{\"id\":\"a\"}",
                          "{\"id\":\"a\"}\n{\"status\":\"enabled\"}", "{\"id\":\"a\"}\n{\"id\":\"x y\"}",
                          "{\"id\":\"a\"}\n{\"id\":\"b\",\"tags\":{\"a.b\":1}}",
                          "{\"id\":\"a\"}\n{\"id\":\"none\",\"moduleId\":\"m\"}"}) {
    const auto r = call("PUT", "/hub/devices", bad);
    EXPECT_EQ(r.status, 400) << bad;
    EXPECT_NE(text_of(body_of(r), "error").find("line 2"), std::string::npos) << r.body;
  }
  EXPECT_EQ(ask("GET", "/devices/keep").status, 200);
  EXPECT_EQ(ask("GET", "/devices/a").status, 404);
}

TEST_F(ControlTest, AThingParkRegistryIsReplacedAndAddedTo) {
  EXPECT_EQ(call("PUT", "/thingpark/devices", R"({"name":"a","EUI":"0004a30b00000001","ref":"77"}
{"name":"b","EUI":"0004A30B00000002"}
{"odd":true})")
                .status,
            200);
  EXPECT_EQ(thingpark.device_count(), 3u);
  const std::string before = call("GET", "/thingpark/devices").body;
  EXPECT_NE(before.find(R"("EUI":"0004A30B00000001")"), std::string::npos);
  EXPECT_EQ(call("POST", "/thingpark/devices", R"({"name":"a2","EUI":"0004A30B00000001","ref":"77"})").status, 200);
  EXPECT_EQ(thingpark.device_count(), 3u) << "the same ref is the same device";
  const auto twice = call("POST", "/thingpark/devices", R"({"name":"c","EUI":"0004A30B00000002"})");
  EXPECT_EQ(twice.status, 400);
  EXPECT_EQ(call("PUT", "/thingpark/devices", R"({"ref":"x1"})").status, 400);
  EXPECT_EQ(thingpark.device_count(), 3u);
  EXPECT_EQ(call("PUT", "/thingpark/devices", before).status, 200);
  EXPECT_EQ(call("GET", "/thingpark/devices").body, before);
  EXPECT_EQ(call("PUT", "/thingpark/devices").status, 200);
  EXPECT_EQ(thingpark.device_count(), 0u);
}

TEST_F(ControlTest, FaultsCountsAndTimeAreAtItsPlaces) {
  EXPECT_EQ(call("POST", "/faults", R"({"server":"hub","status":503})").status, 200);
  EXPECT_EQ(call("POST", "/faults", R"({"server":"hub"})").status, 400);
  EXPECT_EQ(call("POST", "/faults", "no json").status, 400);
  const auto through = [&](const char* path) {
    return faults.serve("hub", make_request("GET", path), [](const http::ServerRequest&) { return ServerResponse{}; })
        .status;
  };
  EXPECT_EQ(through("/devices/a"), 503);
  EXPECT_EQ(through("/devices/b"), 200);
  EXPECT_EQ(json::write(body_of(call("GET", "/requests"))), R"({"hub":{"GET /devices/{id}":{"200":1,"503":1}}})");
  EXPECT_EQ(body_of(call("GET", "/stats")).at("calls").at("hub GET 503"), 1);
  EXPECT_EQ(call("DELETE", "/requests").status, 200);
  EXPECT_EQ(call("GET", "/requests").body, "{}");
  call("POST", "/faults", R"({"times":-1,"status":500})");
  EXPECT_EQ(call("DELETE", "/faults").status, 200);
  EXPECT_EQ(through("/devices/a"), 200);
  const SystemTime before = clock.system_now();
  EXPECT_EQ(call("POST", "/advance", R"({"seconds":90})").status, 200);
  EXPECT_EQ(clock.system_now() - before, std::chrono::seconds{90});
  for (const char* bad : {"", "{}", R"({"seconds":-1})", R"({"seconds":"9"})", "[1]"})
    EXPECT_EQ(call("POST", "/advance", bad).status, 400) << bad;
  EXPECT_EQ(call("GET", "/nowhere").status, 404);
  EXPECT_EQ(call("PATCH", "/faults").status, 405);
}

TEST_F(HubTest, OperationsAreCountedByKindAndTimeByTheClockOfRates) {
  IotHubSimOptions o = options();
  o.throttle = true;
  IotHubSim busy(o, clock, direct);
  FaultBox faults{1};
  ThingParkSim thingpark{{}, clock};
  EventGridSim events{{}, clock, direct};
  Control control{busy, thingpark, events, faults, nullptr, nullptr};
  ask(busy, "POST", "/devices", R"([{"id":"a","importMode":"create"},{"id":"b","importMode":"create"}])");
  ask(busy, "GET", "/twins/a");
  clock.advance(std::chrono::seconds{30});
  const json::object stats = body_of(control.handle(make_request("GET", "/stats")));
  EXPECT_EQ(stats.at("operations").at("CRUD"), 2);
  EXPECT_EQ(stats.at("operations").at("TwinRead"), 1);
  EXPECT_EQ(stats.at("operations").at("Query"), 0);
  EXPECT_EQ(stats.at("seconds"), 30.0);
}

TEST_F(HubTest, ImportsArePacedAsTheTierHasIt) {
  std::string lines;
  for (int i = 0; i < 200; ++i)
    lines += fmt::format("{{\"id\":\"d{}\",\"importMode\":\"createOrUpdate\",\"status\":\"enabled\"}}\n", i);
  const auto seconds = [&](const std::string& tier, int units, double rate, bool throttle) {
    IotHubSimOptions o = options();
    o.tier = tier, o.units = units, o.import_rate = rate, o.throttle = throttle;
    o.job_queue = o.job_duration = std::chrono::milliseconds{0};
    IotHubSim paced(o, clock, direct);
    const SteadyTime from = clock.steady_now();
    EXPECT_EQ(import(paced, lines), "");
    EXPECT_EQ(paced.device_count(), 200u);
    return std::chrono::duration<double>(clock.steady_now() - from).count();
  };
  EXPECT_NEAR(seconds("S1", 1, 0, true), 120, 1);
  EXPECT_NEAR(seconds("S1", 4, 0, true), 30, 1);
  EXPECT_NEAR(seconds("S3", 1, 0, true), 2.4, 0.3);
  EXPECT_NEAR(seconds("S1", 1, 6'000, true), 2, 0.3);
  EXPECT_EQ(seconds("S1", 1, -1, true), 0);
  EXPECT_EQ(seconds("S1", 1, 0, false), 0);
}

TEST_F(ControlTest, IdentitiesGetAndLoseTheRightOnTheStorage) {
  EXPECT_EQ(call("PUT", "/storage/identities", R"(["system","/subscriptions/s/one"])").status, 200);
  EXPECT_THAT(granted, ::testing::ElementsAre("system", "/subscriptions/s/one"));
  for (const char* bad : {"{}", "[1]", "system", ""})
    EXPECT_EQ(call("PUT", "/storage/identities", bad).status, 400) << bad;
  EXPECT_EQ(granted.size(), 2u);
  EXPECT_EQ(call("PUT", "/storage/identities", "[]").status, 200);
  EXPECT_THAT(granted, ::testing::IsEmpty());
}

}  // namespace
}  // namespace twinstep::sims
