#include "twinstep/api/key_gate.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "twinstep/api/router.h"
#include "twinstep/security/security_fixture.h"

namespace twinstep::api {
namespace {

using security::MadeKey;
using std::chrono::hours;
using std::chrono::seconds;

/// Says what the test tells it to.
class FakeVerifier final : public azure::TokenVerifier {
 public:
  Result<azure::VerifiedToken> verify(std::string_view jwt, const Call&) override {
    shown = jwt;
    return answer;
  }
  Result<azure::VerifiedToken> answer{azure::VerifiedToken{"grid", "tenant", "subject", {}}};
  std::string shown;
};

class KeyGateTest : public security::SecurityFixture {
 protected:
  KeyGateTest() {
    cache.open(switched);
    before_ = spdlog::default_logger();
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
    logger->set_level(spdlog::level::trace);
    spdlog::set_default_logger(logger);
    authenticator.use(std::make_shared<const security::InstanceKeys>(Secret("server secret")));
  }
  ~KeyGateTest() override { spdlog::set_default_logger(before_); }

  MadeKey ready(const std::string& name, std::vector<Scope> scopes) {
    MadeKey out = make(name, with(std::move(scopes)));
    EXPECT_TRUE(cache.refresh({}));
    return out;
  }
  static http::ServerRequest request(std::string path, std::string query = {}, std::vector<http::Header> headers = {}) {
    http::ServerRequest out;
    out.method = "GET";
    out.path = std::move(path);
    out.query = std::move(query);
    out.target = out.path + (out.query.empty() ? "" : "?" + out.query);
    out.headers = std::move(headers);
    out.headers.push_back({"Host", "sync.example"});
    out.remote_address = "192.0.2.1";
    return out;
  }
  static http::ServerRequest bearer(const Secret& key, std::string path = "/x") {
    return request(std::move(path), {}, {{"Authorization", "Bearer " + std::string(key.reveal())}});
  }
  struct Answer {
    int status = 200;
    std::string code, body, retry_after, challenge;
    PrincipalPtr who;
  };
  Answer admit(const http::ServerRequest& one, Scope scope) { return told(gate.admit(one, scope)); }
  static Answer told(tl::expected<PrincipalPtr, http::ServerResponse> admitted) {
    Answer out;
    if (admitted) {
      out.who = *admitted;
      return out;
    }
    out.status = admitted.error().status;
    out.body = admitted.error().body;
    out.code = std::string(json::string_or(json::parse(out.body, "answer")->as_object(), "code"));
    for (const http::Header& one : admitted.error().headers) {
      if (one.name == "Retry-After") out.retry_after = one.value;
      if (one.name == "WWW-Authenticate") out.challenge = one.value;
    }
    return out;
  }

  std::ostringstream log;
  std::shared_ptr<spdlog::logger> before_;
  Authenticator authenticator{cache, clock};
  KeyGate gate{authenticator, [] { return false; }, {}};
  std::string jwt = "eyJh.eyJz.c2ln";
  Secret unknown{"tsk_0123456789ab_" + std::string(43, 'A')};
};

TEST_F(KeyGateTest, AKeyWorksInEachOfItsThreePlaces) {
  const MadeKey made = ready("tp", {Scope::kRead});
  const std::string text(made.text.reveal());
  for (const auto& one : {request("/x", {}, {{"X-Functions-Key", text}}), request("/x", "code=" + text),
                          request("/x", "a=1&CODE=" + text), request("/x", "%63ode=" + text), bearer(made.text),
                          request("/x", {}, {{"authorization", "bearer  " + text}}),
                          request("/x", "code=" + text, {{"x-functions-key", text}})}) {
    const Answer answer = admit(one, Scope::kRead);
    ASSERT_EQ(answer.status, 200) << one.target << answer.body;
    EXPECT_EQ(answer.who->name, "tp");
    EXPECT_EQ(answer.who->key_id, made.key.id);
  }
}

TEST_F(KeyGateTest, ThePrincipalHasWhatTheKeyAllowsAndNothingMore) {
  security::Rights rights = facade();
  rights.hubs = {"contoso"};
  rights.ids = {"lora-*"};
  const MadeKey made = make("tp", rights);
  ASSERT_TRUE(cache.refresh({}));
  const Answer answer = admit(bearer(made.text), Scope::kFacade);
  ASSERT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.who->may(DeviceAction::kCreate, "contoso", "lora-1"));
  EXPECT_FALSE(answer.who->may(DeviceAction::kDelete, "contoso", "lora-1"));
  EXPECT_FALSE(answer.who->may(DeviceAction::kCreate, "contoso", "x"));
  for (const Scope scope : {Scope::kEvents, Scope::kRead, Scope::kOperate, Scope::kAdmin}) {
    const Answer refused = admit(bearer(made.text), scope);
    EXPECT_EQ(refused.status, 403);
    EXPECT_EQ(refused.code, "auth.scope");
    EXPECT_NE(refused.body.find(to_string(scope)), std::string::npos);
  }
}

TEST_F(KeyGateTest, NoneAndUnknownAndEndedOnesAre401) {
  const MadeKey revoked = ready("one", {Scope::kRead});
  ASSERT_TRUE(keys.revoke("one", {}));
  const MadeKey old = ready("two", {Scope::kRead});
  ASSERT_TRUE(keys.rotate("two", Millis{0}, {}));
  const MadeKey expired = make("three", with({Scope::kRead}), Millis{1000});
  ASSERT_TRUE(cache.refresh({}));
  clock.advance(seconds{1});
  const std::vector<std::pair<http::ServerRequest, std::string>> all{
      {request("/x"), "auth.no-key"},
      {request("/x", "code="), "auth.no-key"},
      {bearer(unknown), "auth.unknown"},
      {request("/x", "code=hunter2"), "auth.unknown"},
      {bearer(revoked.text), "auth.ended"},
      {bearer(old.text), "auth.ended"},
      {bearer(expired.text), "auth.ended"},
      {bearer(Secret(jwt)), "auth.unknown"},
      {request("/x", {}, {{"Authorization", "Basic eDp5"}}), "auth.no-key"}};
  for (const auto& [one, code] : all) {
    const Answer answer = admit(one, Scope::kRead);
    EXPECT_EQ(answer.status, 401) << one.target;
    EXPECT_EQ(answer.code, code);
    EXPECT_EQ(answer.challenge, "Bearer");
  }
  EXPECT_EQ(authenticator.counts().denied, all.size());
}

TEST_F(KeyGateTest, TwoDifferentCredentialsAreRefused) {
  const MadeKey one = ready("one", {Scope::kRead}), two = ready("two", {Scope::kRead});
  const std::string a(one.text.reveal()), b(two.text.reveal());
  for (const auto& request :
       {request("/x", "code=" + a, {{"x-functions-key", b}}), request("/x", "code=" + a + "&code=" + b),
        request("/x", "code=" + a, {{"Authorization", "Bearer " + jwt}}),
        request("/x", {}, {{"x-functions-key", a}, {"x-functions-key", b}})}) {
    const Answer answer = admit(request, Scope::kRead);
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.code, "auth.two-credentials");
  }
}

TEST_F(KeyGateTest, TheWebhookRefusesForGoodOnlyWhatCanNeverSucceed) {
  const MadeKey revoked = ready("one", {Scope::kEvents});
  EXPECT_EQ(admit(request("/hook"), Scope::kEvents).status, 503) << "the first key was made a moment ago";
  ASSERT_TRUE(keys.revoke("one", {}));
  const MadeKey rotated = ready("two", {Scope::kEvents});
  ASSERT_TRUE(keys.rotate("two", Millis{hours{1}}, {}));
  ASSERT_TRUE(cache.refresh({}));
  EXPECT_EQ(admit(bearer(rotated.text), Scope::kEvents).status, 200) << "within the overlap";
  EXPECT_EQ(admit(bearer(revoked.text), Scope::kEvents).code, "auth.ended-lately");
  EXPECT_EQ(admit(bearer(revoked.text), Scope::kEvents).status, 503);
  EXPECT_FALSE(admit(bearer(revoked.text), Scope::kEvents).retry_after.empty());
  clock.advance(hours{2});
  EXPECT_EQ(admit(bearer(rotated.text), Scope::kEvents).status, 503);
  clock.advance(hours{24});
  for (const auto& one : {request("/hook"), bearer(revoked.text), bearer(rotated.text), bearer(unknown)})
    EXPECT_EQ(admit(one, Scope::kEvents).status, 401);
}

TEST_F(KeyGateTest, AnUnknownKeyAtTheWebhookIsToldSoOnlyAfterALookIntoTheStore) {
  ready("one", {Scope::kRead});
  clock.advance(Millis{500});
  EXPECT_EQ(admit(bearer(unknown), Scope::kEvents).status, 503) << "read just before the request came";
  clock.advance(seconds{2});
  EXPECT_EQ(admit(bearer(unknown), Scope::kEvents).status, 401);
}

TEST_F(KeyGateTest, WhileTheStoreIsAwayKnownKeysWorkAndUnknownOnesAre503) {
  const MadeKey made = ready("one", {Scope::kRead});
  clock.advance(seconds{5});
  switched.away = true;
  EXPECT_EQ(admit(bearer(made.text), Scope::kRead).status, 200);
  const Answer answer = admit(bearer(unknown), Scope::kRead);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.code, "auth.keys-away");
  EXPECT_FALSE(answer.retry_after.empty());
}

TEST_F(KeyGateTest, BeforeTheStoreWasEverReadNobodyIsRefusedForGood) {
  switched.away = true;
  EXPECT_EQ(admit(request("/x"), Scope::kRead).status, 503);
  EXPECT_EQ(admit(bearer(unknown), Scope::kEvents).status, 503);
}

TEST_F(KeyGateTest, AKeyThatAsksTooOftenIsToldWhenToComeAgain) {
  security::Rights rights = with({Scope::kRead});
  rights.rate = "2/s";
  const MadeKey made = make("tp", rights);
  const MadeKey other = ready("other", {Scope::kRead});
  ASSERT_EQ(admit(bearer(made.text), Scope::kRead).status, 200);
  ASSERT_EQ(admit(bearer(made.text), Scope::kRead).status, 200);
  const Answer limited = admit(bearer(made.text), Scope::kRead);
  EXPECT_EQ(limited.status, 429);
  EXPECT_EQ(limited.code, "auth.rate");
  EXPECT_EQ(limited.retry_after, "1");
  EXPECT_EQ(admit(bearer(other.text), Scope::kRead).status, 200) << "each key has its own limit";
  clock.advance(Millis{500});
  EXPECT_EQ(admit(bearer(made.text), Scope::kRead).status, 200);
  EXPECT_EQ(authenticator.counts().limited, 1u);
}

TEST_F(KeyGateTest, ARequestThatIsManyUsesUpAsMuchOfTheRate) {
  security::Rights rights = with({Scope::kRead});
  rights.rate = "2/s";
  const MadeKey made = make("tp", rights);
  const MadeKey other = ready("other", {Scope::kRead});
  const Answer first = admit(bearer(made.text), Scope::kRead);
  ASSERT_EQ(first.status, 200);
  ASSERT_TRUE(first.who->charge);
  first.who->charge(99);
  EXPECT_EQ(admit(bearer(made.text), Scope::kRead).retry_after, "50");
  clock.advance(seconds{50});
  EXPECT_EQ(admit(bearer(made.text), Scope::kRead).status, 200);
  EXPECT_FALSE(admit(bearer(other.text), Scope::kRead).who->charge) << "it has no rate";
}

TEST_F(KeyGateTest, RetryAfterIsTrue) {
  security::Rights rights = with({Scope::kRead});
  rights.rate = "6/m";
  const MadeKey made = make("tp", rights);
  ASSERT_TRUE(cache.refresh({}));
  ASSERT_EQ(admit(bearer(made.text), Scope::kRead).status, 200);
  ASSERT_EQ(admit(bearer(made.text), Scope::kRead).retry_after, "10");
  clock.advance(seconds{10});
  EXPECT_EQ(admit(bearer(made.text), Scope::kRead).status, 200);
}

TEST_F(KeyGateTest, EntraTokensAreForTheWebhookAndOnlyWhereTheyAreTrusted) {
  ready("one", {Scope::kRead});
  clock.advance(hours{25});
  EXPECT_EQ(admit(bearer(Secret(jwt)), Scope::kEvents).code, "auth.no-trust");
  auto verifier = std::make_shared<FakeVerifier>();
  authenticator.trust(verifier);
  const Answer answer = admit(bearer(Secret(jwt)), Scope::kEvents);
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(verifier->shown, jwt);
  EXPECT_EQ(answer.who->name, "entra/grid");
  EXPECT_FALSE(answer.who->has(Scope::kRead));
  EXPECT_EQ(admit(bearer(Secret(jwt)), Scope::kRead).status, 401);
  verifier->answer = fail(ErrorKind::kDenied, "token.audience", "made for somebody else");
  EXPECT_EQ(admit(bearer(Secret(jwt)), Scope::kEvents).status, 401);
  verifier->answer = fail(ErrorKind::kUnavailable, "token.keys-away", "the keys cannot be had");
  EXPECT_EQ(admit(bearer(Secret(jwt)), Scope::kEvents).status, 503);
}

TEST_F(KeyGateTest, AtTheWebhookAKeyBesideATokenCountsAlone) {
  const MadeKey made = ready("one", {Scope::kEvents});
  const auto both = request("/hook", "code=" + std::string(made.text.reveal()), {{"Authorization", "Bearer " + jwt}});
  EXPECT_EQ(admit(both, Scope::kEvents).who->name, "one");
}

TEST_F(KeyGateTest, AnAddressOfAnInstanceOpensThatInstanceAlone) {
  const MadeKey made = ready("starter", {Scope::kOperate});
  Principal who;
  who.key_id = made.key.id;
  const std::string base = "/runtime/webhooks/durabletask/instances/run-1";
  const auto ask = [&](std::string method, std::string path, bool operate, Scope scope) {
    auto one = request(std::move(path), "code=" + authenticator.address_key(who, "run-1", operate));
    one.method = std::move(method);
    return admit(one, scope).status;
  };
  EXPECT_EQ(ask("GET", base, false, Scope::kRead), 200);
  EXPECT_EQ(ask("GET", "//Runtime/webhooks/durabletask/INSTANCES/run%2D1/", false, Scope::kRead), 200)
      << "as the router reads it";
  EXPECT_EQ(ask("POST", base + "/terminate", true, Scope::kOperate), 200);
  EXPECT_EQ(ask("POST", base + "/raiseEvent/Approve", true, Scope::kOperate), 200);
  EXPECT_EQ(ask("DELETE", base, true, Scope::kOperate), 200);
  EXPECT_EQ(ask("GET", base, true, Scope::kRead), 200);
  EXPECT_EQ(ask("POST", base + "/terminate", false, Scope::kOperate), 403) << "the one of the status only reads";
  EXPECT_EQ(ask("GET", "/runtime/webhooks/durabletask/instances/run-2", true, Scope::kRead), 401);
  EXPECT_EQ(ask("GET", "/runtime/webhooks/durabletask/instances", true, Scope::kRead), 401);
  EXPECT_EQ(ask("POST", base + "/restart", true, Scope::kOperate), 401) << "that would start another one";
  EXPECT_EQ(ask("GET", "/api/v1/runs/run-1", true, Scope::kRead), 401);
  EXPECT_EQ(ask("GET", base, true, Scope::kAdmin), 403);
  ASSERT_TRUE(keys.revoke("starter", {}));
  ASSERT_TRUE(cache.refresh({}));
  EXPECT_EQ(ask("GET", base, false, Scope::kRead), 401) << "a revoked key takes its addresses with it";
  EXPECT_EQ(authenticator.address_key(Principal::everything("this machine"), "run-1", true), "");
}

class OpenGateTest : public KeyGateTest {
 protected:
  bool is_open = true;
  KeyGate listener{authenticator, [this] { return is_open; }, {"sync.corp"}};
  int with_host(std::string host) {
    auto one = request("/x");
    one.headers = {{"Host", std::move(host)}};
    return told(listener.admit(one, Scope::kAdmin)).status;
  }
};

TEST_F(OpenGateTest, WithoutKeysEverybodyOnThisMachineMayDoEverything) {
  auto one = request("/x");
  one.headers = {{"Host", "127.0.0.1:8080"}};
  const Answer answer = told(listener.admit(one, Scope::kAdmin));
  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(answer.who->name, "this machine");
  EXPECT_TRUE(answer.who->key_id.empty());
  is_open = false;
  ready("one", {Scope::kRead});
  EXPECT_EQ(told(listener.admit(one, Scope::kAdmin)).status, 401) << "from loopback too: a proxy's callers all do";
}

TEST_F(OpenGateTest, AnOpenListenerAnswersToTheNamesOfThisMachineOnly) {
  for (const char* host : {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "127.1.2.3", "[::1]",
                           "[::1]:8080", "localhost.", "sync.corp", "Sync.Corp:443"})
    EXPECT_EQ(with_host(host), 200) << host;
  for (const char* host : {"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "",
                           "192.0.2.7", "xlocalhost", "[::2]", "::1"})
    EXPECT_EQ(with_host(host), 403) << host;
}

TEST_F(OpenGateTest, PagesOfOtherSitesMayOnlyLook) {
  const auto from = [&](std::string method, Scope scope, std::vector<http::Header> headers) {
    auto one = request("/x");
    one.method = std::move(method);
    one.headers = std::move(headers);
    one.headers.push_back({"Host", "localhost:8080"});
    return told(listener.admit(one, scope));
  };
  const http::Header foreign{"Origin", "http://evil.example"}, ours{"Origin", "http://localhost:8080"};
  const http::Header image{"Sec-Fetch-Site", "cross-site"}, typed{"Sec-Fetch-Site", "none"};
  for (const Scope scope : {Scope::kEvents, Scope::kOperate, Scope::kAdmin, Scope::kFacade}) {
    EXPECT_EQ(from("POST", scope, {foreign}).code, "api.cross-site");
    EXPECT_EQ(from("POST", scope, {{"Origin", "null"}}).code, "api.cross-site");
    EXPECT_EQ(from("POST", scope, {{"Origin", "eventgrid.azure.net"}}).status, 200) << "a browser names a scheme too";
    EXPECT_EQ(from("POST", scope, {ours}).status, 200);
    EXPECT_EQ(from("POST", scope, {}).status, 200) << "no browser";
  }
  EXPECT_EQ(from("GET", Scope::kOperate, {image}).code, "api.cross-site") << "the sample starts its run by GET too";
  EXPECT_EQ(from("GET", Scope::kOperate, {typed}).status, 200);
  EXPECT_EQ(from("GET", Scope::kRead, {image}).status, 200) << "it cannot read the answer";
  EXPECT_EQ(from("GET", Scope::kFacade, {image}).status, 200);
}

TEST_F(KeyGateTest, ChangesAreWrittenDownWithWhoMadeThem) {
  const MadeKey made = ready("tp", {Scope::kOperate, Scope::kRead, Scope::kEvents});
  Router router;
  const auto answer = [](int status) {
    return [status](const http::ServerRequest&, const RouteMatch&) { return problem(status, "x", "y"); };
  };
  router.add("POST", "/change/{id}", Scope::kOperate, answer(409));
  router.add("GET", "/start", Scope::kOperate, answer(202));
  router.add("GET", "/look", Scope::kRead, answer(200));
  router.add("POST", "/hook", Scope::kEvents, answer(200));
  auto change = bearer(made.text, "/change/7");
  change.method = "POST";
  change.query = "code=" + std::string(made.text.reveal());
  EXPECT_EQ(router.handle(change, gate).status, 409);
  EXPECT_EQ(router.handle(bearer(made.text, "/start"), gate).status, 202);
  EXPECT_EQ(router.handle(bearer(made.text, "/look"), gate).status, 200);
  auto event = bearer(made.text, "/hook");
  event.method = "POST";
  EXPECT_EQ(router.handle(event, gate).status, 200);
  const std::string written = log.str();
  EXPECT_NE(written.find(fmt::format("audit.request who=\"tp\" key={} method=POST path=\"/change/7\" status=409 "
                                     "address=192.0.2.1",
                                     made.key.id)),
            std::string::npos)
      << written;
  EXPECT_NE(written.find("path=\"/start\" status=202"), std::string::npos);
  EXPECT_EQ(written.find("/look"), std::string::npos);
  EXPECT_EQ(written.find("/hook"), std::string::npos);
  EXPECT_EQ(written.find(made.text.reveal()), std::string::npos);
}

TEST_F(KeyGateTest, RefusalsAreLoggedAtMostOnceASecondForAnAddressAndWithoutWhatWasShown) {
  ready("one", {Scope::kRead});
  clock.advance(seconds{5});
  const auto lines = [&] {
    const std::string text = log.str();
    size_t out = 0;
    for (size_t at = 0; (at = text.find("auth.refused", at)) != std::string::npos; ++at) ++out;
    return out;
  };
  for (int i = 0; i < 20; ++i) admit(request("/x%3Fcode=hunter2\"\n", "code=hunter2"), Scope::kRead);
  EXPECT_EQ(lines(), 1u);
  auto elsewhere = request("/x");
  elsewhere.remote_address = "192.0.2.2";
  admit(elsewhere, Scope::kRead);
  EXPECT_EQ(lines(), 2u);
  clock.advance(seconds{1});
  admit(request("/x"), Scope::kRead);
  EXPECT_EQ(lines(), 3u);
  EXPECT_NE(log.str().find("unlogged=19"), std::string::npos) << log.str();
  EXPECT_EQ(log.str().find("hunter2"), std::string::npos);
  for (int i = 0; i < 5000; ++i) {
    elsewhere.remote_address = "2001:db8::" + std::to_string(i);
    admit(elsewhere, Scope::kRead);
  }
  EXPECT_LE(lines(), 1003u) << "what is remembered of addresses is bounded";
}

}  // namespace
}  // namespace twinstep::api
