#include "twinstep/api/run_routes.h"

#include <set>

#include "twinstep/api/api_fixture.h"

namespace twinstep::api {
namespace {

class RunRoutes : public ApiFixture {};

TEST_F(RunRoutes, ListNewestFirstPageByPage) {
  std::set<std::string> started;
  for (int i = 0; i < 7; ++i) {
    clock.advance(Millis{1});
    started.insert(std::string(json_of(post("/api/v1/links/default/runs")).at("id").as_string()));
    finish(claim("run/contoso"), store::State::kDone);
  }
  post("/api/v1/links/field/runs");
  start(task("default", "dev-1"));
  std::set<std::string> seen;
  std::string target = "/api/v1/runs?link=default&limit=3";
  int pages = 0;
  for (; !target.empty() && pages < 10; ++pages) {
    const json::value answer = json_of(get(target));
    for (const auto& one : answer.at("items").as_array()) {
      EXPECT_EQ(one.at("link"), "default");
      EXPECT_TRUE(seen.insert(std::string(one.at("id").as_string())).second);
    }
    target = answer.at("next").is_null() ? "" : std::string(answer.at("next").as_string());
  }
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(seen, started);
  EXPECT_EQ(json_of(get("/api/v1/runs")).at("items").as_array().size(), 8u) << "runs and sweeps, no tasks";
  EXPECT_EQ(json_of(get("/api/v1/runs?state=waiting")).at("items").as_array().size(), 1u);
  EXPECT_EQ(json_of(get("/api/v1/runs?state=waiting")).at_pointer("/items/0/kind"), "sweep");
}

TEST_F(RunRoutes, RefusePagesThatMakeNoSense) {
  EXPECT_EQ(code_of(get("/api/v1/runs?limit=0")), "api.bad-parameter");
  EXPECT_EQ(code_of(get("/api/v1/runs?limit=10x")), "api.bad-parameter");
  EXPECT_EQ(code_of(get("/api/v1/runs?state=finished")), "api.bad-parameter");
  EXPECT_EQ(code_of(get("/api/v1/runs?before=gone")), "api.bad-parameter") << "an empty page would end the list";
  EXPECT_EQ(code_of(get("/api/v1/runs?link=nope")), "api.unknown-link");
}

TEST_F(RunRoutes, ShowARunWithItsPlanReportAndHistory) {
  const auto id = blocked_run();
  const auto run = json_of(get("/api/v1/runs/" + id.value));
  EXPECT_EQ(run.at("state"), "blocked");
  EXPECT_EQ(run.at_pointer("/plan/plan"), "p1");
  EXPECT_EQ(run.at_pointer("/plan/counts/deletes"), 700);
  EXPECT_TRUE(run.at("approved").is_null());
  EXPECT_EQ(run.at("waitsFor"), "a person: 700 deletes, 100 are allowed");
  EXPECT_EQ(run.at_pointer("/history/0/what"), "compared");
  EXPECT_EQ(run.at_pointer("/input/trigger"), "api");
  EXPECT_EQ(get("/api/v1/runs/nope").status, 404);
}

TEST_F(RunRoutes, ATaskIsNoRunAndTheAnswerSaysWhereItIs) {
  const auto id = start(task("default", "dev-1"));
  const auto answer = get("/api/v1/runs/" + id.value);
  EXPECT_EQ(answer.status, 404);
  EXPECT_NE(answer.body.find("/api/v1/tasks/" + id.value), std::string::npos);
  EXPECT_EQ(post("/api/v1/runs/" + id.value + "/cancel").status, 404);
  EXPECT_EQ(store.find(id, {})->state, store::State::kWaiting);
}

TEST_F(RunRoutes, OnlyThePlanThatIsNamedIsApproved) {
  const auto id = blocked_run();
  const std::string path = "/api/v1/runs/" + id.value + "/approve";
  EXPECT_EQ(code_of(post(path)), "api.bad-body");
  EXPECT_EQ(code_of(post(path, R"({"plan":"p0"})")), "api.other-plan");
  EXPECT_EQ(store.find(id, {})->state, store::State::kBlocked);
  const auto answer = post(path, R"({"plan":"p1","by":"anna"})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(json_of(answer).at("state"), "waiting");
  EXPECT_EQ(json_of(answer).at_pointer("/approved/by"), "anna");
  EXPECT_EQ(json_of(answer).at_pointer("/approved/plan"), "p1");
  EXPECT_EQ(post(path, R"({"plan":"p1"})").status, 409);
  EXPECT_EQ(decisions, std::vector<std::string>{"RunApproved " + id.value + " anna"});
}

TEST_F(RunRoutes, ABlockedRunIsRejectedAndARunThatIsNotBlockedIsNot) {
  const auto id = blocked_run();
  const auto answer = post("/api/v1/runs/" + id.value + "/reject", R"({"by":"anna"})");
  EXPECT_EQ(json_of(answer).at("state"), "cancelled");
  EXPECT_EQ(json_of(answer).at("status"), "rejected by anna");
  EXPECT_EQ(decisions, std::vector<std::string>{"RunRejected " + id.value + " anna"});
  const std::string other(json_of(post("/api/v1/links/default/runs")).at("id").as_string());
  EXPECT_EQ(code_of(post("/api/v1/runs/" + other + "/reject")), "store.not-blocked");
}

TEST_F(RunRoutes, ARunIsCancelledAndTriedAgain) {
  const std::string id(json_of(post("/api/v1/links/default/runs")).at("id").as_string());
  EXPECT_EQ(json_of(post("/api/v1/runs/" + id + "/cancel", R"({"by":"anna"})")).at("status"), "cancelled by anna");
  EXPECT_EQ(code_of(post("/api/v1/runs/" + id + "/cancel")), "store.ended");
  EXPECT_EQ(json_of(post("/api/v1/runs/" + id + "/retry")).at("state"), "waiting");
}

TEST_F(RunRoutes, GiveTheDevicesOfARunByOutcomeAndPage) {
  const auto id = blocked_run();
  for (int i = 0; i < 5; ++i)
    outcomes.push_back({DeviceId("dev-" + std::to_string(i)), "create", i % 2 ? "failed" : "done", "because"});
  const std::string path = "/api/v1/runs/" + id.value + "/devices";
  const auto first = json_of(get(path + "?outcome=done&limit=2"));
  EXPECT_EQ(first.at("items").as_array().size(), 2u);
  EXPECT_EQ(first.at("next"), json::value(path + "?outcome=done&limit=2&after=dev-2"));
  const auto last = json_of(get(std::string(first.at("next").as_string())));
  EXPECT_EQ(last.at_pointer("/items/0/device"), "dev-4");
  EXPECT_TRUE(last.at("next").is_null());
  EXPECT_EQ(code_of(get(path + "?outcome=good")), "api.bad-parameter");
  EXPECT_EQ(get("/api/v1/runs/nope/devices").status, 404);
}

TEST_F(RunRoutes, GiveThePlanAsItIsKeptAndRefuseOneThatIsTooLarge) {
  const auto id = blocked_run();
  const std::string path = "/api/v1/runs/" + id.value + "/plan";
  EXPECT_EQ(code_of(get(path)), "store.no-plan");
  plans[id.value] = R"({"id":"p1","changes":[]})";
  EXPECT_EQ(get(path).body, plans[id.value]);
  plans[id.value] = std::string((64u << 20) + 1, ' ');
  const auto answer = get(path);
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("/devices"), std::string::npos) << answer.body;
}

}  // namespace
}  // namespace twinstep::api
