#include "twinstep/api/link_routes.h"

#include "twinstep/api/api_fixture.h"

namespace twinstep::api {
namespace {

using namespace std::chrono_literals;

class LinkRoutes : public ApiFixture {};

TEST_F(LinkRoutes, ShowHowEachLinkStands) {
  ASSERT_TRUE(store.plan_schedule("default", "0 * * * *", clock.system_now() + 1h, SystemTime::max(), {}));
  const auto id = json_of(post("/api/v1/links/default/runs")).at("id");
  auto links = json_of(get("/api/v1/links"));
  ASSERT_EQ(links.at("items").as_array().size(), 2u);
  const auto& link = links.at_pointer("/items/0");
  EXPECT_EQ(link.at("activeRun").at("id"), id);
  EXPECT_TRUE(link.at("lastRun").is_null());
  EXPECT_EQ(link.at("next"), "2023-11-14T23:13:20.000Z");
  EXPECT_TRUE(links.at_pointer("/items/1/next").is_null());

  finish(claim("run/contoso"), store::State::kDone, "nothing to do");
  ASSERT_TRUE(store.pause("external/thingpark", 5min, "credentials were refused", {}));
  const auto after = json_of(get("/api/v1/links/default"));
  EXPECT_TRUE(after.at("activeRun").is_null());
  EXPECT_EQ(after.at("lastRun").at("status"), "nothing to do");
  EXPECT_EQ(after.at_pointer("/paused/0/reason"), "credentials were refused");
}

TEST_F(LinkRoutes, AnUnknownLinkIsNamedWithTheNearestOne) {
  const auto answer = get("/api/v1/links/defualt");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(code_of(answer), "api.unknown-link");
  EXPECT_NE(answer.body.find("did you mean 'default'"), std::string::npos) << answer.body;
}

TEST_F(LinkRoutes, StartARunOnceForOneKeyAndSayWhatTheAnswerIs) {
  const auto first = post("/api/v1/links/default/runs", "", {{"Idempotency-Key", "deploy-7"}});
  EXPECT_EQ(first.status, 202);
  EXPECT_EQ(json_of(first).at("outcome"), "started");
  const std::string id(json_of(first).at("id").as_string());
  EXPECT_EQ(header(first, "Location"), "/api/v1/runs/" + id);
  EXPECT_EQ(json_of(post("/api/v1/links/default/runs")).at("outcome"), "skipped");
  finish(claim("run/contoso"), store::State::kDone);
  const auto again = json_of(post("/api/v1/links/default/runs", "", {{"Idempotency-Key", "deploy-7"}}));
  EXPECT_EQ(again.at("outcome"), "known");
  EXPECT_EQ(again.at("id"), json::value(id));
  EXPECT_EQ(json_of(post("/api/v1/links/field/runs", "", {{"Idempotency-Key", "deploy-7"}})).at("outcome"), "started")
      << "keys of links are apart";
  EXPECT_EQ(code_of(post("/api/v1/links/field/runs", "", {{"Idempotency-Key", std::string(201, 'x')}})),
            "api.bad-parameter");
}

TEST_F(LinkRoutes, ALaneThatRestsCanBeResumed) {
  ASSERT_TRUE(store.pause("external/thingpark", 5min, "credentials were refused", {}));
  EXPECT_EQ(json_of(get("/api/v1/lanes")).at("items").as_array().size(), 1u);
  EXPECT_EQ(post("/api/v1/lanes/external%2Fthingpark/resume").status, 200);
  EXPECT_TRUE(json_of(get("/api/v1/lanes")).at("items").as_array().empty());
  EXPECT_EQ(code_of(post("/api/v1/lanes/external%2Fthingpark/resume")), "api.not-paused");
  ASSERT_TRUE(store.pause("external/thingpark", 5min, "credentials were refused", {}));
  clock.advance(6min);
  EXPECT_TRUE(json_of(get("/api/v1/lanes")).at("items").as_array().empty()) << "it rests no more";
}

TEST_F(LinkRoutes, WhatIsNotKnownIsRefusedByName) {
  for (const char* target : {"/api/v1/links?lnik=x", "/api/v1/runs?limti=5", "/api/v1/tasks?kind=device",
                             "/api/v1/explain/dev-1?links=default"}) {
    const auto answer = get(target);
    EXPECT_EQ(answer.status, 400) << target;
    EXPECT_EQ(code_of(answer), "api.unknown-parameter") << target;
  }
  EXPECT_EQ(code_of(get("/api/v1/runs?limit=5&limit=6")), "api.bad-parameter");
  EXPECT_EQ(code_of(post("/api/v1/links/default/runs", R"({"x":1})")), "api.bad-body");
  EXPECT_EQ(code_of(post("/api/v1/links/default/runs", "[]")), "api.bad-body");
  EXPECT_EQ(code_of(post("/api/v1/links/default/runs", "{")), "api.bad-body");
}

TEST_F(LinkRoutes, APageOfAnotherSiteCannotChangeAnything) {
  const auto answer = post("/api/v1/links/default/runs", "", {{"Origin", "https://evil.example"}});
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(code_of(answer), "api.cross-site");
  EXPECT_EQ(code_of(post("/api/v1/links/default/runs", "", {{"Origin", "null"}})), "api.cross-site");
  EXPECT_TRUE(json_of(get("/api/v1/runs")).at("items").as_array().empty());
  EXPECT_EQ(post("/api/v1/links/default/runs", "", {{"Origin", "http://sync.example:8080"}}).status, 202);
}

}  // namespace
}  // namespace twinstep::api
