#include "twinstep/api/api_fixture.h"
#include "twinstep/security/key_store.h"

namespace twinstep::api {
namespace {

class KeyRoutes : public ApiFixture {
 protected:
  /// The text of a key belongs into the answer that made it, and nowhere else.
  static std::string text_of(const http::ServerResponse& answer) {
    return std::string(json::string_or(json_of(answer).as_object(), "key"));
  }
};

TEST_F(KeyRoutes, AKeyIsMadeShownOnceListedRotatedAndRevoked) {
  const auto answer = post("/api/v1/keys", R"({"name":"tp","hubs":["contoso"],"ids":["lora-*"],"may":["create"],
    "rate":"10/s","expires":"90d"})");
  ASSERT_EQ(answer.status, 201) << answer.body;
  EXPECT_EQ(header(answer, "Cache-Control"), "no-store");
  const std::string text = text_of(answer);
  ASSERT_TRUE(security::KeyText::parse(text));
  EXPECT_EQ(keys_changed, 1);

  const auto listed = get("/api/v1/keys");
  EXPECT_EQ(listed.body.find(text.substr(17)), std::string::npos);
  const json::value one = json_of(listed).at_pointer("/items/0");
  EXPECT_EQ(one.at("name"), "tp");
  EXPECT_EQ(one.at("state"), "active");
  EXPECT_EQ(one.at("scopes"), (json::array{"facade"}));
  EXPECT_EQ(one.at("may"), (json::array{"create"}));
  EXPECT_EQ(one.at("rate"), "10/s");
  EXPECT_EQ(one.at("createdBy"), "test");

  const auto rotated = post("/api/v1/keys/tp/rotate", R"({"overlap":"1h"})");
  ASSERT_EQ(rotated.status, 200) << rotated.body;
  EXPECT_NE(text_of(rotated), text);
  EXPECT_FALSE(json_of(rotated).at("previousUntil").is_null());

  const auto revoked = post("/api/v1/keys/tp/revoke");
  EXPECT_EQ(json_of(revoked).at("state"), "revoked");
  EXPECT_EQ(keys_changed, 3);
  EXPECT_EQ(post("/api/v1/keys/tp/revoke").status, 404);
  EXPECT_EQ(code_of(post("/api/v1/keys/" + std::string(one.at("id").as_string()) + "/rotate")), "key.revoked");
}

TEST_F(KeyRoutes, WhatIsWrongWithARequestIsSaid) {
  for (const auto& [body, code] : {std::pair{R"({"name":"tp","scopes":["everything"]})", "key.scope"},
                                   {R"({"name":"a b"})", "key.name"},
                                   {R"({"name":"tp","scopes":"admin"})", "api.bad-body"},
                                   {R"({"name":"tp","scopes":["read"],"ids":["x"]})", "key.not-facade"},
                                   {R"({"name":"tp","rate":"fast"})", "key.rate"},
                                   {R"({"nam":"tp"})", "api.bad-body"},
                                   {R"({"name":"tp","scopes":[]})", "key.scope"},
                                   {R"({"name":"tp","may":[]})", "key.action"}}) {
    const auto answer = post("/api/v1/keys", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(code_of(answer), code) << body;
  }
  ASSERT_EQ(post("/api/v1/keys", R"({"name":"tp"})").status, 201);
  EXPECT_EQ(post("/api/v1/keys", R"({"name":"tp"})").status, 409);
  EXPECT_EQ(keys_changed, 1);
}

/// Comes with a key.
class KeyHolder final : public Gate {
 public:
  tl::expected<PrincipalPtr, http::ServerResponse> admit(const http::ServerRequest&, Scope) override {
    Principal who = Principal::everything("tp");
    who.key_id = "0123456789ab";
    return std::make_shared<const Principal>(std::move(who));
  }
};

TEST_F(KeyRoutes, AddressesOfAnInstanceCarryACodeForWhoCameWithAKey) {
  gate = std::make_unique<KeyHolder>();
  const auto started = post("/api/IoTHubSynchronizer_HttpListener?code=tsk_hidden");
  ASSERT_EQ(started.status, 202);
  const json::value body = json_of(started);
  const std::string id(body.at("id").as_string());
  const std::string base = "http://sync.example:8080/runtime/webhooks/durabletask/instances/" + id;
  EXPECT_EQ(body.at("statusQueryGetUri").as_string(), base + "?code=r-0123456789ab-" + id);
  EXPECT_EQ(body.at("terminatePostUri").as_string(), base + "/terminate?reason={text}&code=o-0123456789ab-" + id);
  EXPECT_EQ(body.at("sendEventPostUri").as_string(), base + "/raiseEvent/{eventName}?code=o-0123456789ab-" + id);
  EXPECT_EQ(header(started, "Location"), base + "?code=r-0123456789ab-" + id);
  EXPECT_EQ(started.body.find("tsk_"), std::string::npos) << "never the key that was shown";
  EXPECT_EQ(header(get("/runtime/webhooks/durabletask/instances/" + id), "Location"),
            base + "?code=r-0123456789ab-" + id);
  gate = open_gate("test");
  EXPECT_EQ(json_of(post("/api/IoTHubSynchronizer_HttpListener")).at("statusQueryGetUri").as_string(), base)
      << "who needs no key needs no code";
}

TEST_F(KeyRoutes, HistoryNamesTheKeyWhateverTheBodySays) {
  const auto run = blocked_run();
  gate = std::make_unique<KeyHolder>();
  ASSERT_EQ(post("/api/v1/runs/" + run.value + "/reject", R"({"by":"somebody"})").status, 200);
  EXPECT_NE(get("/api/v1/runs/" + run.value).body.find("somebody (key tp)"), std::string::npos);
}

TEST_F(KeyRoutes, CodeIsNoUnknownParameterAndIsNeverRepeated) {
  EXPECT_EQ(get("/api/v1/links?code=tsk_hunter2").status, 200);
  for (const char* target :
       {"/api/v1/links?code%3Dtsk_hunter2=1", "/api/v1/links?x=1&code=hunter2", "/api/v1/nothing%3Fcode=hunter2",
        "/api/v1/links/x%253Fcode%253Dhunter2", "/api/v1/runs?limit=tsk_hunter2&code=hunter2", "/tsk_hunter2",
        "/api/v1/runs?state=code%3Dhunter2"}) {
    const auto answer = get(target);
    EXPECT_GE(answer.status, 400) << target;
    EXPECT_EQ(answer.body.find("hunter2"), std::string::npos) << answer.body;
  }
  const auto page = get("/api/v1/runs?limit=1&code=tsk_hunter2");
  EXPECT_EQ(page.body.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::api
