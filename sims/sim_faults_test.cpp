// Misbehaviour on command, and the throttle that needs no command.
#include "sims/sim_faults.h"

#include <algorithm>

#include "sims/test_support.h"
#include "sims/thingpark_sim.h"

namespace twinstep::sims {
namespace {

using http::ServerRequest;
using http::ServerResponse;

class FaultTest : public ::testing::Test {
 protected:
  void add(const char* text) {
    auto parsed = json::parse(text, "fault");
    ASSERT_TRUE(parsed);
    auto good = box.add(parsed->as_object());
    ASSERT_TRUE(good) << good.error().what;
  }
  ServerResponse ask(const std::string& path, const std::string& query = "", const std::string& method = "GET",
                     const std::string& server = "thingpark") {
    return box.serve(server, make_request(method, path, query), [this](const ServerRequest& r) {
      ++executed;
      ServerResponse out;
      out.body = r.target;
      return out;
    });
  }
  FaultBox box{1};
  int executed = 0;
};

TEST_F(FaultTest, ALostAnswerIsExecutedAndTimesRunOut) {
  add(R"({"server":"hub","method":"PUT","lost":true})");
  EXPECT_FALSE(ask("/d", "", "GET", "hub").fault.drop);
  EXPECT_FALSE(ask("/d", "", "PUT", "blob").fault.drop);
  EXPECT_TRUE(ask("/d", "", "PUT", "hub").fault.drop);
  EXPECT_EQ(executed, 3);
  EXPECT_FALSE(ask("/d", "", "PUT", "hub").fault.drop);
}

TEST_F(FaultTest, ADroppedCallIsNotExecuted) {
  add(R"({"drop":true})");
  EXPECT_TRUE(ask("/d").fault.drop);
  EXPECT_EQ(executed, 0);
}

TEST_F(FaultTest, AStatusComesWithBodyAndRetryAfterAfterSkippedCalls) {
  add(R"({"path":"/devices","skip":1,"times":2,"status":503,"body":"busy","retryAfter":7})");
  EXPECT_EQ(ask("/devices").status, 200);
  EXPECT_EQ(ask("/other").status, 200);
  const auto hit = ask("/devices");
  EXPECT_EQ(hit.status, 503);
  EXPECT_EQ(hit.body, "busy");
  EXPECT_EQ(header(hit, "Retry-After"), "7");
  EXPECT_EQ(ask("/devices").status, 503);
  EXPECT_EQ(ask("/devices").status, 200);
}

TEST_F(FaultTest, DelayAndCutGoToTheWire) {
  add(R"({"delayMs":250,"cutAfter":10})");
  const auto r = ask("/d");
  EXPECT_EQ(r.fault.delay, std::chrono::milliseconds{250});
  EXPECT_EQ(r.fault.cut_after, 10);
  EXPECT_EQ(executed, 1);
}

TEST_F(FaultTest, ForEverIsUntilCleared) {
  add(R"({"times":-1,"status":500})");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask("/d").status, 500);
  box.clear();
  EXPECT_EQ(ask("/d").status, 200);
}

TEST_F(FaultTest, AProbabilityHitsSomeCallsAndTheSameOnesForTheSameSeed) {
  const auto run = [](uint64_t seed) {
    FaultBox b(seed);
    EXPECT_TRUE(b.add({{"times", -1}, {"probability", 0.3}, {"status", 500}}));
    std::string out;
    for (int i = 0; i < 200; ++i)
      out +=
          b.serve("hub", make_request("GET", "/d"), [](const ServerRequest&) { return ServerResponse{}; }).status == 500
              ? 'x'
              : '.';
    return out;
  };
  const std::string one = run(1);
  EXPECT_GT(std::count(one.begin(), one.end(), 'x'), 30);
  EXPECT_LT(std::count(one.begin(), one.end(), 'x'), 90);
  EXPECT_EQ(one, run(1));
  EXPECT_NE(one, run(2));
}

TEST_F(FaultTest, PagesRepeatVanishEndOrAreNotFound) {
  add(R"({"page":"repeat","at":2})");
  EXPECT_EQ(ask("/devices", "pageIndex=1").body, "/devices?pageIndex=1");
  EXPECT_EQ(ask("/devices", "a=b&pageIndex=2&c=d").body, "/devices?a=b&pageIndex=1&c=d");
  add(R"({"page":"missing","at":2})");
  EXPECT_EQ(ask("/devices", "pageIndex=2").body, "/devices?pageIndex=3");
  add(R"({"page":"end","at":3})");
  EXPECT_EQ(ask("/devices", "pageIndex=3").body, "[]");
  add(R"({"page":"notFound","at":2})");
  EXPECT_EQ(ask("/devices", "pageIndex=2").status, 404);
  EXPECT_EQ(ask("/devices", "pageIndex=2").status, 200) << "once";
}

TEST_F(FaultTest, AShiftTakesADeviceOfPageOneAfterItWasServed) {
  FakeClock clock;
  ThingParkSim sim({}, clock);
  for (int i = 0; i < 201; ++i)
    ASSERT_TRUE(sim.add({{"name", fmt::format("n{:03}", i)}, {"EUI", fmt::format("{:016X}", i)}}));
  const std::string token = text_of(
      body_of(
          sim.handle(make_request("POST", "/oauth/token", "", {},
                                  "grant_type=client_credentials&client_id=demo/client&client_secret=demo-secret"))),
      "access_token");
  box.on_shift = [&] { sim.remove_first(); };
  add(R"({"shift":true})");
  std::set<std::string> seen;
  for (int page = 1; page <= 2; ++page) {
    const auto r = box.serve(
        "thingpark",
        make_request("GET", "/devices", fmt::format("pageIndex={}", page), {{"Authorization", "Bearer " + token}}),
        [&](const ServerRequest& q) { return sim.handle(q); });
    for (const json::value& d : list_of(r)) seen.insert(text_of(d.as_object(), "name"));
  }
  EXPECT_TRUE(seen.contains("n000")) << "page 1 still had it";
  EXPECT_FALSE(seen.contains("n100")) << "the shift hides the first of page 2";
  EXPECT_TRUE(seen.contains("n200"));
  EXPECT_EQ(sim.device_count(), 200u);
}

TEST_F(FaultTest, FaultsOfJobsWaitForAJobOfTheirKind) {
  add(R"({"failJob":"import"})");
  add(R"({"breakLine":3,"withId":true,"skip":1})");
  EXPECT_EQ(ask("/jobs/create", "", "POST", "hub").status, 200) << "no call is hit";
  EXPECT_FALSE(box.job_fault("export").fail);
  const JobFault second = box.job_fault("export");
  EXPECT_FALSE(second.fail);
  EXPECT_EQ(second.break_line, 3);
  EXPECT_TRUE(second.with_id);
  EXPECT_EQ(box.job_fault("export").break_line, 0);
  EXPECT_TRUE(box.job_fault("import").fail);
  EXPECT_FALSE(box.job_fault("import").fail);
}

TEST_F(FaultTest, UnknownMembersAndKindsAreRefused) {
  EXPECT_FALSE(box.add({{"serverr", "hub"}}));
  EXPECT_FALSE(box.add({{"server", "moon"}, {"drop", true}}));
  EXPECT_FALSE(box.add({{"page", "sideways"}}));
  EXPECT_FALSE(box.add({{"server", "hub"}})) << "a fault without an effect";
  EXPECT_FALSE(box.add({{"status", "500"}})) << "a number, not a text";
}

TEST_F(FaultTest, CallsAreCountedByServerRouteAndStatus) {
  add(R"({"path":"/devices/b","status":429})");
  ask("/devices/a%2Fb", "x=1", "GET", "hub");
  ask("/devices/b", "", "GET", "hub");
  ask("/devices/b/modules/m", "", "PUT", "hub");
  ask("/devices/query", "", "POST", "hub");
  ask("/acct/job/dev.txt", "comp=block&blockid=AA", "PUT", "blob");
  ask("/core/latest/api/devices/100001", "", "DELETE");
  ask("/core/latest/api/devices", "pageIndex=3");
  const json::object all = box.requests();
  const auto count = [&](const char* server, const char* route, const char* status) -> int64_t {
    const auto* routes = json::object_at(all, server);
    const auto* counts = routes == nullptr ? nullptr : json::object_at(*routes, route);
    return counts == nullptr ? 0 : json::int_or(*counts, status, 0);
  };
  EXPECT_EQ(count("hub", "GET /devices/{id}", "200"), 1) << json::write(all);
  EXPECT_EQ(count("hub", "GET /devices/{id}", "429"), 1);
  EXPECT_EQ(count("hub", "PUT /devices/{id}/modules/{id}", "200"), 1);
  EXPECT_EQ(count("hub", "POST /devices/query", "200"), 1);
  EXPECT_EQ(count("blob", "PUT /{container}/{blob}?comp=block", "200"), 1);
  EXPECT_EQ(count("thingpark", "DELETE /core/latest/api/devices/{id}", "200"), 1);
  EXPECT_EQ(count("thingpark", "GET /core/latest/api/devices", "200"), 1);
  box.reset_requests();
  EXPECT_TRUE(box.requests().empty());
}

TEST_F(HubTest, BulkTakesATokenPerEntryThenQueuesThenIsRefused) {
  IotHubSimOptions o = options();
  o.throttle = true;
  IotHubSim busy(o, clock, direct);
  int n = 0;
  const auto call = [&](int entries) {
    std::string all;
    for (int i = 0; i < entries; ++i)
      all += fmt::format(R"({}{{"id":"d{}","importMode":"create"}})", i == 0 ? "" : ",", n++);
    return ask(busy, "POST", "/devices", "[" + all + "]");
  };
  EXPECT_EQ(call(100).fault.delay.count(), 0);
  EXPECT_EQ(call(100).fault.delay.count(), 0);
  const auto queued = call(50);
  EXPECT_EQ(queued.status, 200);
  EXPECT_NEAR(static_cast<double>(queued.fault.delay.count()), 30'000, 100) << "fifty at a hundred a minute";
  const auto refused = call(100);
  EXPECT_EQ(error_of(refused), "429 ThrottlingBacklogTimeout");
  EXPECT_NE(refused.body.find("Operation type: CRUD"), std::string::npos);
  EXPECT_TRUE(refused.close);
  EXPECT_EQ(header(refused, "Retry-After"), "");
  EXPECT_EQ(busy.device_count(), 250u) << "a refused call does nothing";
  EXPECT_EQ(ask(busy, "GET", "/devices/d1").status, 200) << "reads have their own bucket";
  clock.advance(std::chrono::minutes{2});
  EXPECT_EQ(call(100).fault.delay.count(), 0) << "tokens grow again";
}

TEST_F(HubTest, RatesGrowWithTierAndUnitsAndTimeFactorShortensTheQueue) {
  const auto passes = [&](const char* tier, int units, double factor) {
    IotHubSimOptions o = options();
    o.throttle = true;
    o.tier = tier;
    o.units = units;
    o.time_factor = factor;
    IotHubSim busy(o, clock, direct);
    int calls = 0, longest = 0;
    for (; calls < 3'000; ++calls) {
      const auto r = query(busy, "SELECT * FROM devices");
      if (r.status == 429) break;
      longest = std::max(longest, static_cast<int>(r.fault.delay.count()));
    }
    return std::pair{calls, longest};
  };
  const auto [s1, s1_wait] = passes("S1", 1, 1);
  EXPECT_EQ(s1, 20 + 13);
  EXPECT_GT(s1_wait, 30'000);
  EXPECT_EQ(passes("S1", 3, 1).first, 3 * 20 + 40);
  EXPECT_GT(passes("S3", 1, 1).first, 1'000);
  EXPECT_LT(passes("S1", 1, 60).second, 1'000);
}

}  // namespace
}  // namespace twinstep::sims
