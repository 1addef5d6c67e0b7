// The simulated ThingPark: token, list, create, change, delete and its refusals.
#include "sims/thingpark_sim.h"
#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using http::ServerResponse;

constexpr const char* kDevices = "/core/latest/api/devices";

class ThingParkTest : public ::testing::Test {
 protected:
  static ServerResponse token_call(ThingParkSim& at, const std::string& query = "",
                                   const std::string& secret = "demo-secret") {
    return at.handle(make_request("POST", "/admin/latest/api/oauth/token", query, {},
                                  "grant_type=client_credentials&client_id=demo%2Fclient&client_secret=" + secret));
  }
  static std::string token(ThingParkSim& at, const std::string& query = "") {
    return text_of(body_of(token_call(at, query)), "access_token");
  }
  static ServerResponse ask(ThingParkSim& at, const std::string& method, const std::string& rest = "",
                            const std::string& query = "", const std::string& body = "") {
    return at.handle(make_request(method, kDevices + rest, query, {{"Authorization", "Bearer " + token(at)}}, body));
  }
  static std::string otaa(const std::string& eui, const std::string& name = "n") {
    return fmt::format(
        R"({{"name":"{}","EUI":"{}","activationType":"OTAA","deviceProfileId":"P","applicationEUI":"70B3D57ED0000001",)"
        R"("applicationKey":"00112233445566778899AABBCCDDEEFF"}})",
        name, eui);
  }
  static void fill(ThingParkSim& at, int count) {
    for (int i = 0; i < count; ++i)
      ASSERT_TRUE(at.add({{"name", fmt::format("n{}", i)},
                          {"EUI", fmt::format("{:016X}", i)},
                          {"applicationKey", "secret"},
                          {"deviceProfileId", "P"}}));
  }

  FakeClock clock;
  ThingParkSim sim{{}, clock};
};

TEST_F(ThingParkTest, HandsOutTheSameTokenUnlessARenewalIsAskedFor) {
  const std::string first = token(sim);
  EXPECT_EQ(token(sim), first);
  clock.advance(std::chrono::hours{24});
  EXPECT_EQ(body_of(token_call(sim)).at("expires_in"), 6 * 24 * 3600) << "what is left, not the whole";
  const std::string renewed = token(sim, "renewToken=true");
  EXPECT_NE(renewed, first);
  EXPECT_EQ(token(sim), renewed);
  clock.advance(std::chrono::hours{24 * 8});
  EXPECT_NE(token(sim), renewed);
}

TEST_F(ThingParkTest, OnlyTheKnownClientGetsATokenAndOnlyAValidTokenGetsIn) {
  EXPECT_EQ(token_call(sim, "", "wrong").status, 401);
  EXPECT_EQ(sim.handle(make_request("POST", "/oauth/token", "", {}, "grant_type=password")).status, 400);
  const std::string query = "grant_type=client_credentials&client_id=demo%2Fclient&client_secret=demo-secret";
  EXPECT_EQ(sim.handle(make_request("POST", "/oauth/token", query)).status, 200) << "the fields may be in the query";
  const auto list = [&](std::vector<http::Header> headers) {
    return sim.handle(make_request("GET", kDevices, "", std::move(headers))).status;
  };
  EXPECT_EQ(list({}), 401);
  EXPECT_EQ(list({{"Authorization", "Bearer nonsense"}}), 401);
  const std::string given = token(sim);
  EXPECT_EQ(list({{"Authorization", "Bearer " + given}}), 200);
  clock.advance(std::chrono::hours{24 * 7});
  EXPECT_EQ(list({{"Authorization", "Bearer " + given}}), 401) << "expired";
}

TEST_F(ThingParkTest, PagesHoldAHundredAndTheEndIs404OrEmpty) {
  fill(sim, 250);
  EXPECT_EQ(list_of(ask(sim, "GET", "", "pageIndex=1")).size(), 100u);
  EXPECT_EQ(list_of(ask(sim, "GET", "", "pageIndex=3")).size(), 50u);
  EXPECT_EQ(ask(sim, "GET", "", "pageIndex=4").status, 404);
  EXPECT_EQ(list_of(ask(sim, "GET")).size(), 250u) << "without a page everything comes at once";
  EXPECT_EQ(ask(sim, "GET", "", "pageIndex=0").status, 400);
  EXPECT_EQ(ask(sim, "GET", "", "pageIndex=x").status, 400);
  ThingParkSim empty_end({.end_is_404 = false}, clock);
  EXPECT_EQ(ask(empty_end, "GET", "", "pageIndex=1").body, "[]");
  ThingParkSim none({}, clock);
  EXPECT_EQ(ask(none, "GET", "", "pageIndex=1").status, 404) << "also page 1 of an empty registry";
}

TEST_F(ThingParkTest, AListShowsFourMembersUnlessMoreIsAskedForAndNeverKeys) {
  ASSERT_EQ(ask(sim, "POST", "", "", otaa("0004a30b001c0530")).status, 201);
  const auto brief = list_of(ask(sim, "GET", "", "pageIndex=1"))[0].as_object();
  EXPECT_EQ(brief.size(), 3u) << json::write(brief);
  EXPECT_EQ(brief.at("EUI"), "0004A30B001C0530");
  const auto full = list_of(ask(sim, "GET", "", "pageIndex=1&extendedInfo=true"))[0].as_object();
  EXPECT_EQ(full.at("deviceProfileId"), "P");
  EXPECT_FALSE(full.contains("applicationKey"));
  ThingParkSim open({.show_keys = true}, clock);
  ASSERT_EQ(ask(open, "POST", "", "", otaa("0004A30B001C0530")).status, 201);
  EXPECT_TRUE(list_of(ask(open, "GET", "", "extendedInfo=true"))[0].as_object().contains("applicationKey"));
}

TEST_F(ThingParkTest, ADeviceIsFoundByItsEuiInAnyCase) {
  fill(sim, 3);
  EXPECT_EQ(list_of(ask(sim, "GET", "", "deviceEUI=0000000000000002")).size(), 1u);
  ASSERT_EQ(ask(sim, "POST", "", "", otaa("ABCDEF0123456789")).status, 201);
  EXPECT_EQ(list_of(ask(sim, "GET", "", "deviceEUI=abcdef0123456789")).size(), 1u);
  EXPECT_EQ(ask(sim, "GET", "", "deviceEUI=FFFFFFFFFFFFFFFF").body, "[]");
}

TEST_F(ThingParkTest, ACreateIsCheckedAndAnswersTheDeviceWithItsRef) {
  const auto made = ask(sim, "POST", "", "", otaa("0004a30b001c0530", "lora-1"));
  ASSERT_EQ(made.status, 201);
  EXPECT_EQ(body_of(made).at("EUI"), "0004A30B001C0530");
  EXPECT_EQ(text_of(body_of(made), "ref").find_first_not_of("0123456789"), std::string::npos);
  for (
      const char* bad :
      {"{}", "[]", "no json", R"({"name":"n","EUI":"00","activationType":"OTAA","deviceProfileId":"P"})",
       R"({"name":"n","EUI":"0004A30B001C0531","activationType":"MAGIC","deviceProfileId":"P"})",
       R"({"name":"n","EUI":"0004A30B001C0531","activationType":"ABP","deviceProfileId":"P","networkAddress":"01020304"})"})
    EXPECT_EQ(ask(sim, "POST", "", "", bad).status, 400) << bad;
  EXPECT_EQ(ask(sim, "POST", "", "", otaa("0004A30B001C053")).status, 400);
  EXPECT_EQ(ask(sim, "POST", "", "", otaa("0004A30B001C05ZZ")).status, 400);
  EXPECT_EQ(
      ask(sim, "POST", "", "",
          R"({"name":"n","EUI":"0004A30B001C0532","activationType":"ABP","deviceProfileId":"P","networkAddress":"01020304",)"
          R"("networkSessionKey":"00112233445566778899AABBCCDDEEFF","applicationSessionKeyRules":[{"sourcePorts":"*"}]})")
          .status,
      201);
  EXPECT_EQ(sim.device_count(), 2u);
}

TEST_F(ThingParkTest, ADuplicateEuiIsAConflictWithADxBody) {
  ASSERT_EQ(ask(sim, "POST", "", "", otaa("0004A30B001C0530")).status, 201);
  const auto again = ask(sim, "POST", "", "", otaa("0004a30b001c0530", "other"));
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(body_of(again).at("code"), 409);
  EXPECT_TRUE(body_of(again).contains("message"));
  EXPECT_TRUE(body_of(again).contains("errorId"));
  ThingParkSim other({.duplicate_status = 400}, clock);
  ask(other, "POST", "", "", otaa("0004A30B001C0530"));
  EXPECT_EQ(ask(other, "POST", "", "", otaa("0004A30B001C0530")).status, 400);
}

TEST_F(ThingParkTest, ADeviceIsReadChangedAndDeletedByItsRef) {
  const std::string ref = "/" + text_of(body_of(ask(sim, "POST", "", "", otaa("0004A30B001C0530"))), "ref");
  EXPECT_EQ(ask(sim, "GET", ref).status, 200);
  EXPECT_EQ(body_of(ask(sim, "PUT", ref, "", R"({"name":"new"})")).at("name"), "new");
  EXPECT_EQ(ask(sim, "PUT", ref, "", R"({"applicationKey":"00"})").status, 400);
  EXPECT_EQ(ask(sim, "PUT", ref, "", R"({"EUI":"0004A30B001C0531"})").status, 400);
  EXPECT_EQ(ask(sim, "PATCH", ref, "", "{}").status, 405);
  EXPECT_EQ(ask(sim, "DELETE", ref).status, 204);
  EXPECT_EQ(ask(sim, "DELETE", ref).status, 404);
  EXPECT_EQ(ask(sim, "GET", ref).status, 404);
  EXPECT_EQ(ask(sim, "POST", "", "", otaa("0004A30B001C0530")).status, 201) << "the EUI is free again";
}

TEST_F(ThingParkTest, CallsAboveTheRateAreRefusedUntilTimeHasPassed) {
  ThingParkSim busy({.rate_per_second = 10}, clock);
  const std::string given = token(busy);
  const auto call = [&] {
    return busy.handle(make_request("GET", kDevices, "", {{"Authorization", "Bearer " + given}}));
  };
  for (int i = 0; i < 9; ++i) EXPECT_EQ(call().status, 200) << i;
  const auto refused = call();
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(header(refused, "Retry-After"), "1");
  clock.advance(std::chrono::milliseconds{200});
  EXPECT_EQ(call().status, 200);
  EXPECT_EQ(call().status, 200);
  EXPECT_EQ(call().status, 429);
}

TEST_F(ThingParkTest, AClockAheadEndsTokensEarlyAndShowsInTheDate) {
  ThingParkSim ahead({.token_lifetime = std::chrono::hours{1}, .clock_skew = std::chrono::minutes{10}}, clock);
  const std::string given = token(ahead);
  clock.advance(std::chrono::minutes{51});
  const auto r = ahead.handle(make_request("GET", kDevices, "", {{"Authorization", "Bearer " + given}}));
  EXPECT_EQ(r.status, 401);
  EXPECT_EQ(header(r, "Date"), format_http_date(clock.system_now() + std::chrono::minutes{10}));
  EXPECT_EQ(header(ask(sim, "GET"), "Date"), "") << "else the server's own";
}

}  // namespace
}  // namespace twinstep::sims
