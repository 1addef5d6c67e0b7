#include "twinstep/api/durable_functions.h"

#include <set>

#include "twinstep/api/api_fixture.h"

namespace twinstep::api {
namespace {

using namespace std::chrono_literals;

constexpr const char* kStart = "/api/IoTHubSynchronizer_HttpListener";

class DurableFunctions : public ApiFixture {
 protected:
  std::string instance(const store::WorkflowId& id, std::string end = {}) {
    return "/runtime/webhooks/durabletask/instances/" + id.value + end;
  }
  std::string status_of(const store::WorkflowId& id) {
    return std::string(json_of(get(instance(id))).at("runtimeStatus").as_string());
  }
};

TEST_F(DurableFunctions, TheStarterAnswersAsTheSampleDid) {
  const auto answer = get(kStart);
  EXPECT_EQ(answer.status, 202);
  const json::value body = json_of(answer);
  const std::string id(body.at("id").as_string());
  EXPECT_EQ(id.size(), 32u);
  const std::string url = "http://sync.example:8080/runtime/webhooks/durabletask/instances/" + id;
  EXPECT_EQ(json::write(body), json::write(json::object{{"id", id},
                                                        {"statusQueryGetUri", url},
                                                        {"sendEventPostUri", url + "/raiseEvent/{eventName}"},
                                                        {"terminatePostUri", url + "/terminate?reason={text}"},
                                                        {"purgeHistoryDeleteUri", url}}));
  EXPECT_EQ(header(answer, "Location"), url);
  EXPECT_EQ(header(answer, "Retry-After"), "10");
  const auto again = post(kStart);
  EXPECT_EQ(again.status, 202);
  EXPECT_EQ(json_of(again).at("id"), json::value(id)) << "the active one is the answer";
  EXPECT_EQ(store.find(store::WorkflowId(id), {})->key, "run/default");
}

TEST_F(DurableFunctions, AddressesFollowHowTheClientCame) {
  EXPECT_TRUE(header(send("GET", kStart, "", {{"X-Forwarded-Proto", "https"}}), "Location").starts_with("https://"));
  http::ServerRequest request;
  request.tls = true;
  request.headers = {{"Host", "[::1]:8443"}};
  EXPECT_EQ(base_url(request), "https://[::1]:8443");
  request.headers = {{"Host", "evil.example/x?"}};
  EXPECT_EQ(base_url(request), "");
}

TEST_F(DurableFunctions, TheStarterTakesTheNamedLinkTheDefaultOrTheOnlyOne) {
  const std::string field(json_of(get(std::string(kStart) + "?link=field")).at("id").as_string());
  EXPECT_EQ(store.find(store::WorkflowId(field), {})->kind, "sweep");
  EXPECT_EQ(code_of(get(std::string(kStart) + "?link=nope")), "api.unknown-link");
  config.links[0].name = "one";
  const auto which = get(kStart);
  EXPECT_EQ(which.status, 400);
  EXPECT_NE(which.body.find("one, field"), std::string::npos) << which.body;
  config.links.pop_back();
  EXPECT_EQ(get(kStart).status, 202);
  config.links.clear();
  EXPECT_EQ(get(kStart).status, 400);
}

TEST_F(DurableFunctions, ASwitchedOffSynchronizerAnswers400WithoutABody) {
  config.synchronizer_enabled = false;
  const auto answer = get(kStart);
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.body, "");
  EXPECT_TRUE(store.list({}, {})->empty());
}

TEST_F(DurableFunctions, AClientPollsUntilItHasEnded) {
  const store::WorkflowId id(std::string(json_of(get(kStart)).at("id").as_string()));
  const auto pending = get(instance(id, "?taskHub=DurableFunctionsHub&connection=Storage&code=KEY"));
  EXPECT_EQ(pending.status, 202);
  EXPECT_EQ(header(pending, "Location"), "http://sync.example:8080" + instance(id));
  EXPECT_EQ(header(pending, "Retry-After"), "5");
  EXPECT_EQ(json_of(pending).at("runtimeStatus"), "Pending");
  const auto claimed = claim("run/contoso");
  EXPECT_EQ(status_of(id), "Running");
  finish(claimed, store::State::kDone, "ok");
  const auto done = get(instance(id));
  EXPECT_EQ(done.status, 200);
  EXPECT_EQ(json::write(json_of(done)), json::write(json::object{{"name", "IoTHubSynchronizer_Orchestration"},
                                                                 {"instanceId", id.value},
                                                                 {"runtimeStatus", "Completed"},
                                                                 {"input", {{"link", "default"}, {"trigger", "http"}}},
                                                                 {"customStatus", nullptr},
                                                                 {"output", "ok"},
                                                                 {"createdTime", "2023-11-14T22:13:20Z"},
                                                                 {"lastUpdatedTime", "2023-11-14T22:13:20Z"}}));
  EXPECT_TRUE(json_of(get(instance(id, "?showInput=false"))).at("input").is_null());
  EXPECT_EQ(get(instance(store::WorkflowId("nope"))).status, 404);
}

TEST_F(DurableFunctions, AFailedOneAnswers500UnlessTheClientSaysOtherwise) {
  const auto id = failed_task("default", "dev-1", "x");
  EXPECT_EQ(get(instance(id)).status, 500);
  EXPECT_EQ(get(instance(id, "?returnInternalServerErrorOnFailure=false")).status, 200);
  EXPECT_EQ(json_of(get(instance(id))).at("output"), "refused");
}

TEST_F(DurableFunctions, ABlockedRunIsRunningAndSaysSo) {
  const auto id = blocked_run();
  const auto answer = get(instance(id));
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(json_of(answer).at("runtimeStatus"), "Running");
  EXPECT_EQ(json::write(json_of(answer).at("customStatus")),
            R"({"state":"blocked","text":"700 deletes, 100 are allowed"})");
}

TEST_F(DurableFunctions, HistoryIsShownWhenAskedFor) {
  const auto id = blocked_run();
  EXPECT_FALSE(json_of(get(instance(id))).as_object().contains("historyEvents"));
  const auto events = json_of(get(instance(id, "?showHistory=true"))).at("historyEvents");
  ASSERT_EQ(events.as_array().size(), 2u);
  EXPECT_EQ(events.at_pointer("/0/EventType"), "ExecutionStarted");
  EXPECT_EQ(events.at_pointer("/1/FunctionName"), "compared");
  EXPECT_FALSE(events.at_pointer("/1").as_object().contains("Result"));
  ASSERT_TRUE(store.cancel(id, "no", {}));
  const auto all = json_of(get(instance(id, "?showHistory=true&showHistoryOutput=true"))).at("historyEvents");
  EXPECT_EQ(all.as_array().back().at("OrchestrationStatus"), "Terminated");
  EXPECT_EQ(all.as_array().back().at("Result"), "no");
}

TEST_F(DurableFunctions, TerminateEndsItOnce) {
  const auto id = start(task("default", "dev-1"));
  const auto answer = post(instance(id, "/terminate?reason=wrong%20list"));
  EXPECT_EQ(answer.status, 202);
  EXPECT_EQ(answer.body, "");
  EXPECT_EQ(store.find(id, {})->status, "terminated by http: wrong list");
  EXPECT_EQ(status_of(id), "Terminated");
  EXPECT_EQ(post(instance(id, "/terminate")).status, 410);
  EXPECT_EQ(post(instance(store::WorkflowId("nope"), "/terminate")).status, 404);
}

TEST_F(DurableFunctions, ApproveAndRejectAnswerABlockedRun) {
  const auto id = blocked_run();
  EXPECT_EQ(post(instance(id, "/raiseEvent/Approve"), R"({"plan":"p0"})").status, 409);
  EXPECT_EQ(post(instance(id, "/raiseEvent/Approve")).status, 400) << "an approval names the plan";
  EXPECT_EQ(store.find(id, {})->state, store::State::kBlocked);
  EXPECT_EQ(post(instance(id, "/raiseEvent/APPROVE"), R"({"plan":"p1"})").status, 202);
  EXPECT_EQ(store.find(id, {})->state, store::State::kWaiting);
  EXPECT_EQ(json_of(get("/api/v1/runs/" + id.value)).at_pointer("/approved/plan"), "p1");
  finish(claim("run/contoso"), store::State::kDone);
  EXPECT_EQ(post(instance(id, "/raiseEvent/approve")).status, 410);

  const auto other = blocked_run();
  EXPECT_EQ(post(instance(other, "/raiseEvent/reject"), R"({"by":"anna"})").status, 202);
  EXPECT_EQ(store.find(other, {})->status, "rejected by anna");
}

TEST_F(DurableFunctions, OtherEventsAndEarlyApprovalsAreOnlyRecorded) {
  const auto id = start(task("default", "dev-1"));
  EXPECT_EQ(post(instance(id, "/raiseEvent/Approve"), "true").status, 202);
  EXPECT_EQ(post(instance(id, "/raiseEvent/Hello"), R"({"key":"s3cret"})").status, 202);
  EXPECT_EQ(store.find(id, {})->state, store::State::kWaiting);
  const auto history = store.history(id, {}).value();
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[1].what, "EventRaised");
  EXPECT_EQ(history[1].detail, "Hello") << "never what is in it";
  EXPECT_EQ(post(instance(id, "/raiseEvent/Hello"), "{").status, 400);
  EXPECT_EQ(send("POST", instance(id, "/raiseEvent/Hello"), "x=1", {{"Content-Type", "text/plain"}}).status, 400);
  EXPECT_EQ(post(instance(store::WorkflowId("nope"), "/raiseEvent/Hello")).status, 404);
}

TEST_F(DurableFunctions, OnlyWhatHasEndedIsPurged) {
  const auto id = start(task("default", "dev-1"));
  EXPECT_EQ(send("DELETE", instance(id)).status, 404);
  finish(claim("external/thingpark"), store::State::kDone);
  const auto answer = send("DELETE", instance(id));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"({"instancesDeleted":1})");
  EXPECT_EQ(send("DELETE", instance(id)).status, 404);
}

TEST_F(DurableFunctions, RewindTriesAFailedOneAgain) {
  const auto id = failed_task("default", "dev-1", "x");
  EXPECT_EQ(post(instance(id, "/rewind?reason=again")).status, 202);
  EXPECT_EQ(store.find(id, {})->state, store::State::kWaiting);
  EXPECT_EQ(post(instance(id, "/rewind")).status, 400) << "not failed";
  finish(claim("external/thingpark"), store::State::kDone);
  EXPECT_EQ(post(instance(id, "/rewind")).status, 410);
  EXPECT_EQ(post(instance(store::WorkflowId("nope"), "/rewind")).status, 404);
}

TEST_F(DurableFunctions, RestartStartsAnotherOneWithTheSameInput) {
  const auto id = failed_task("default", "dev-1", "x");
  const auto answer = post(instance(id, "/restart"));
  EXPECT_EQ(answer.status, 202);
  const store::WorkflowId anew(std::string(json_of(answer).at("id").as_string()));
  EXPECT_NE(anew, id);
  EXPECT_EQ(store.find(anew, {})->input, R"({"what":"created"})");
  EXPECT_EQ(json_of(post(instance(id, "/restart"))).at("id"), json::value(anew.value))
      << "the active one is the answer";
  EXPECT_EQ(post(instance(store::WorkflowId("nope"), "/restart")).status, 400);
  const auto foreign = failed_task("removed-link", "dev-1", "x");
  EXPECT_EQ(code_of(post(instance(foreign, "/restart"))), "api.unknown-link");
}

TEST_F(DurableFunctions, SuspendAndResumeAreRefusedWithTheReason) {
  const auto id = start(task("default", "dev-1"));
  for (const char* end : {"/suspend", "/resume"}) {
    EXPECT_EQ(post(instance(id, end)).status, 400);
    EXPECT_EQ(post(instance(store::WorkflowId("nope"), end)).status, 404);
  }
  ASSERT_TRUE(store.cancel(id, "", {}));
  EXPECT_EQ(post(instance(id, "/suspend")).status, 410);
  EXPECT_EQ(get(instance(id, "/other")).status, 404);
}

TEST_F(DurableFunctions, InstancesAreListedByTimeAndStatusWithAToken) {
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) {
    ids.push_back(i == 1 ? failed_task("default", "dev-1", "x").value
                         : start(task("default", "dev-" + std::to_string(i))).value);
    clock.advance(1h);
  }
  const std::string list = "/runtime/webhooks/durabletask/instances";
  const auto ids_of = [](const http::ServerResponse& answer) {
    std::vector<std::string> out;
    const json::value all = json_of(answer);
    for (const auto& one : all.as_array()) out.emplace_back(one.at("instanceId").as_string());
    return out;
  };
  const auto first = get(list + "?top=3&showInput=false");
  EXPECT_EQ(ids_of(first), (std::vector{ids[3], ids[2], ids[1]}));
  const std::string token = header(first, "x-ms-continuation-token");
  ASSERT_FALSE(token.empty());
  const auto second = send("GET", list + "?top=3", "", {{"x-ms-continuation-token", token}});
  EXPECT_EQ(ids_of(second), (std::vector{ids[0]}));
  EXPECT_EQ(header(second, "x-ms-continuation-token"), "");
  EXPECT_EQ(ids_of(get(list + "?runtimeStatus=Failed,Completed")), (std::vector{ids[1]}));
  EXPECT_EQ(ids_of(get(list + "?createdTimeFrom=2023-11-14T23:00:00Z&createdTimeTo=2023-11-15T00:30:00Z")),
            (std::vector{ids[2], ids[1]}));
  EXPECT_EQ(get(list + "?createdTimeFrom=yesterday").status, 400);
  EXPECT_EQ(get(list + "?top=none").status, 400);
}

}  // namespace
}  // namespace twinstep::api
