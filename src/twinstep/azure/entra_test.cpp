#include "twinstep/azure/entra.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <future>
#include <thread>

#include "twinstep/azure/scripted_client.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class EntraTest : public testing::Test {
 protected:
  ScriptedClient http;
  FakeClock clock;
  Call call;
  EntraApplication application{"contoso.onmicrosoft.com", "app-1"};

  std::unique_ptr<TokenSource> by_secret() {
    return std::move(*make_client_secret_source(application, Secret("s3cr3t&+value"), http, clock));
  }
  std::unique_ptr<TokenSource> by_identity(ManagedIdentity identity = {}) {
    return std::move(*make_managed_identity_source(std::move(identity), http, clock));
  }
  seconds life(const AccessToken& token) const {
    return std::chrono::duration_cast<seconds>(token.expires - clock.steady_now());
  }
  seconds renewal(const AccessToken& token) const {
    return std::chrono::duration_cast<seconds>(token.renew_at - clock.steady_now());
  }
};

TEST_F(EntraTest, AClientSecretIsExchangedAsAForm) {
  http.then(200, {}, R"({"token_type":"Bearer","expires_in":3599,"access_token":"abc.def"})");
  const auto token = by_secret()->token(call);
  ASSERT_TRUE(token) << token.error().what;
  EXPECT_EQ(token->value.reveal(), "abc.def");
  EXPECT_EQ(life(*token), seconds{3599});
  EXPECT_EQ(renewal(*token), seconds{3299});
  const auto& request = http.requests.at(0);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.url, "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token");
  EXPECT_EQ(ScriptedClient::header(request, "Content-Type"), "application/x-www-form-urlencoded");
  EXPECT_EQ(request.body,
            "grant_type=client_credentials&client_id=app-1&client_secret=s3cr3t%26%2Bvalue&"
            "scope=https%3A%2F%2Fiothubs.azure.net%2F.default");
  EXPECT_EQ(request.repeat, http::Repeat::kAlways);
}

TEST_F(EntraTest, LifetimesAreReadInEveryFormThatOccurs) {
  const auto now = std::chrono::floor<seconds>(clock.system_now()).time_since_epoch().count();
  struct Row {
    std::string members;
    int64_t life, renewal;
  };
  const std::vector<Row> rows{
      {R"("expires_in":"3600")", 3600, 3300},
      {R"("expires_in":86400)", 86400, 43200},
      {R"("expires_in":86400,"refresh_in":"1000")", 86400, 1000},
      {R"("expires_in":400,"refresh_in":500)", 400, 300},
      {fmt::format(R"("expires_on":"{}")", now + 3600), 3600, 3300},
      {fmt::format(R"("expires_on":{})", now + 3600), 3600, 3300},
      {fmt::format(R"("expires_on":"{}")", format_iso_seconds(clock.system_now() + seconds{3600})), 3600, 3300},
      {fmt::format(R"("expires_on":"{}")", format_http_date(clock.system_now() + seconds{3600})), 3600, 3300},
      {fmt::format(R"("expires_in":"3600","expires_on":"{}")", now - 5), 3600, 3300},
  };
  for (const Row& row : rows) {
    http.then(200, {}, fmt::format(R"({{"access_token":"t",{}}})", row.members));
    const auto token = by_secret()->token(call);
    ASSERT_TRUE(token) << row.members << token.error().what;
    EXPECT_EQ(life(*token).count(), row.life) << row.members;
    EXPECT_EQ(renewal(*token).count(), row.renewal) << row.members;
  }
}

TEST_F(EntraTest, AnswersWithoutAUsableTokenAreCorruptAndNotRepeated) {
  for (const char* body :
       {"<html>", "[]", R"({"expires_in":3600})", R"({"access_token":"t0k3n"})",
        R"({"access_token":"t0k3n\r\nX: y","expires_in":3600})", R"({"access_token":"t0k3n","expires_in":0})",
        R"({"access_token":"t0k3n","expires_in":3600,"token_type":"mac"})"}) {
    http.then(200, {}, body);
    const auto token = by_secret()->token(call);
    ASSERT_FALSE(token) << body;
    EXPECT_EQ(token.error().kind, ErrorKind::kCorrupt) << body;
    EXPECT_THAT(token.error().what, Not(HasSubstr("t0k3n")));
  }
}

TEST_F(EntraTest, RefusalsSayTheNumberAndWhatToDoAndNothingSecret) {
  struct Row {
    int status;
    std::string error;
    int number;
    ErrorKind kind;
    std::string says;
  };
  const std::vector<Row> rows{{401, "invalid_client", 7000215, ErrorKind::kDenied, "not its id"},
                              {401, "invalid_client", 7000222, ErrorKind::kDenied, "expired"},
                              {400, "unauthorized_client", 700016, ErrorKind::kDenied, "client id and tenant"},
                              {400, "invalid_request", 90002, ErrorKind::kInvalid, "tenant is not known"},
                              {400, "invalid_request", 70021, ErrorKind::kInvalid, "federated credential"},
                              {400, "invalid_scope", 1002012, ErrorKind::kInvalid, "scope"},
                              {401, "invalid_client", 1, ErrorKind::kDenied, "check client id and secret"},
                              {400, "temporarily_unavailable", 90033, ErrorKind::kUnavailable, "AADSTS90033"},
                              {503, "server_error", 0, ErrorKind::kUnavailable, "503 server_error"},
                              {429, "throttled", 0, ErrorKind::kThrottled, "429"}};
  for (const Row& row : rows) {
    http.then(
        row.status, {{"Retry-After", "11"}},
        fmt::format(R"({{"error":"{}","error_description":"AADSTS: secret s3cr3t&+value is wrong","error_codes":[{}],)"
                    R"("trace_id":"0a-1b","correlation_id":"c"}})",
                    row.error, row.number));
    const auto token = by_secret()->token(call);
    ASSERT_FALSE(token);
    const Error& error = token.error();
    EXPECT_EQ(error.kind, row.kind) << row.number << row.error;
    EXPECT_THAT(error.what, HasSubstr(row.says));
    EXPECT_THAT(error.what, HasSubstr("application app-1 of tenant contoso.onmicrosoft.com"));
    EXPECT_THAT(error.what, Not(HasSubstr("s3cr3t")));
    if (row.number > 0) {
      EXPECT_EQ(error.code, fmt::format("entra.AADSTS{}", row.number));
    }
    EXPECT_EQ(error.request_id, "0a-1b");
    EXPECT_EQ(error.retry_after, seconds{11});
  }
}

TEST_F(EntraTest, AnAnswerOfSomebodyElseIsNotTakenForARefusal) {
  http.then(407, {}, "<html>proxy wants s3cr3t&+value</html>");
  const auto token = by_secret()->token(call);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().code, "entra.http-407");
  EXPECT_THAT(token.error().what, HasSubstr("proxy"));
  EXPECT_THAT(token.error().what, Not(HasSubstr("s3cr3t")));
}

TEST_F(EntraTest, SettingsThatWouldSendASecretInTheClearAreRefused) {
  const auto code = [&](EntraApplication a) {
    const auto made = make_client_secret_source(std::move(a), Secret("x"), http, clock);
    return made ? std::string("made") : made.error().code;
  };
  EXPECT_EQ(code({"t", "c", "http://login.example.com"}), "entra.bad-settings");
  EXPECT_EQ(code({"t", "c", "http://localhost.example.com"}), "entra.bad-settings");
  EXPECT_EQ(code({"t", "c", "https://user@login.example.com"}), "entra.bad-settings");
  EXPECT_EQ(code({"t", "c", "http://127.0.0.1:8443/"}), "made");
  EXPECT_EQ(code({"t", "c", "https://login.microsoftonline.us/"}), "made");
  EXPECT_EQ(code({"", "c"}), "entra.bad-settings");
  EXPECT_EQ(code({"../x", "c"}), "entra.bad-settings");
  EXPECT_EQ(code({"t", ""}), "entra.bad-settings");
  EXPECT_FALSE(make_client_secret_source({"t", "c"}, Secret(), http, clock));
  EXPECT_FALSE(make_workload_identity_source({"t", "c"}, "", http, clock));
}

TEST_F(EntraTest, TheFederatedTokenIsReadAnewForEachRequest) {
  const std::string path = fmt::format("{}twinstep-entra-{}", testing::TempDir(), ::getpid());
  std::remove(path.c_str());
  const auto source = std::move(*make_workload_identity_source(application, path, http, clock));
  const auto missing = source->token(call);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, "entra.token-file");
  EXPECT_THAT(missing.error().what, HasSubstr(path));
  for (const char* jwt : {"first.jwt+", "second.jwt"}) {
    std::ofstream(path, std::ios::trunc) << jwt << "\n";
    http.then(200, {}, R"({"access_token":"t","expires_in":3600})");
    ASSERT_TRUE(source->token(call));
  }
  std::ofstream(path, std::ios::trunc) << "\n";
  EXPECT_FALSE(source->token(call));
  std::remove(path.c_str());
  ASSERT_EQ(http.requests.size(), 2u);
  EXPECT_THAT(http.requests[0].body,
              HasSubstr("&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&"
                        "client_assertion=first.jwt%2B&scope="));
  EXPECT_THAT(http.requests[1].body, HasSubstr("client_assertion=second.jwt&"));
}

TEST_F(EntraTest, TheMetadataServiceIsProbedOnceAndThenAsked) {
  http.then(400, {}, R"({"error":"bad_request_102"})");
  for (int i = 0; i < 2; ++i)
    http.then(200, {}, R"({"access_token":"t","expires_in":"3599","expires_on":"1787263531"})");
  ManagedIdentity identity;
  identity.client_id = "id-1";
  const auto source = by_identity(identity);
  ASSERT_TRUE(source->token(call));
  ASSERT_TRUE(source->token(call));
  ASSERT_EQ(http.requests.size(), 3u);
  EXPECT_TRUE(http.requests[0].headers.empty());
  EXPECT_LE(http.requests[0].try_timeout, Millis{2000});
  EXPECT_EQ(http.requests[1].method, "GET");
  EXPECT_EQ(http.requests[1].url,
            "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&"
            "resource=https%3A%2F%2Fiothubs.azure.net&client_id=id-1");
  EXPECT_EQ(ScriptedClient::header(http.requests[1], "Metadata"), "true");
}

TEST_F(EntraTest, OutsideOfAzureAManagedIdentityFailsAtOnceAndSaysWhy) {
  const auto token = by_identity()->token(call);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(token.error().code, "entra.no-metadata-service");
  EXPECT_THAT(token.error().what, HasSubstr("client secret or workload identity"));
  EXPECT_EQ(http.requests.size(), 1u);
  EXPECT_TRUE(clock.sleeps().empty());
}

TEST_F(EntraTest, TheMetadataServiceIsAskedAgainWhileItHasTrouble) {
  http.then(400);
  http.then(404);
  http.then(410);
  http.then(429, {{"Retry-After", "9"}});
  http.then(Error{.kind = ErrorKind::kTimeout, .what = "no answer", .code = "http.timeout"});
  http.then(200, {}, R"({"access_token":"t","expires_in":"3599"})");
  ASSERT_TRUE(by_identity()->token(call));
  EXPECT_THAT(clock.sleeps(), ElementsAre(seconds{2}, seconds{4}, seconds{9}, seconds{16}));
}

TEST_F(EntraTest, TheMetadataServiceIsNotAskedForEver) {
  http.then(400);
  for (int i = 0; i < 20; ++i) http.then(500, {}, R"({"error":"unknown"})");
  const auto token = by_identity()->token(call);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(http.requests.size(), 6u);
  http.requests.clear();
  call.deadline = clock.steady_now() + seconds{1};
  EXPECT_FALSE(by_identity()->token(call));
  EXPECT_EQ(http.requests.size(), 2u);
}

TEST_F(EntraTest, AMissingIdentityIsDeniedWithoutAskingAgain) {
  http.then(400);
  http.then(400, {}, R"({"error":"invalid_request","error_description":"Identity not found"})");
  const auto token = by_identity()->token(call);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().kind, ErrorKind::kDenied);
  EXPECT_THAT(token.error().what, HasSubstr("assign a managed identity"));
  EXPECT_EQ(http.requests.size(), 2u);
}

TEST_F(EntraTest, TheAppServiceEndpointIsAskedWithItsHeader) {
  http.then(200, {}, R"({"access_token":"t","expires_on":"1700003600"})");
  ManagedIdentity identity;
  identity.object_id = "o-1";
  identity.endpoint = "http://127.0.0.1:41234/msi/token/";
  identity.endpoint_header = Secret("h3ad3r");
  ASSERT_TRUE(by_identity(identity)->token(call));
  ASSERT_EQ(http.requests.size(), 1u);
  EXPECT_EQ(http.requests[0].url,
            "http://127.0.0.1:41234/msi/token/?api-version=2019-08-01&"
            "resource=https%3A%2F%2Fiothubs.azure.net&principal_id=o-1");
  EXPECT_EQ(ScriptedClient::header(http.requests[0], "X-IDENTITY-HEADER"), "h3ad3r");
  identity.endpoint_header = Secret();
  EXPECT_FALSE(make_managed_identity_source(identity, http, clock));
  ManagedIdentity twice;
  twice.client_id = "a";
  twice.resource_id = "b";
  EXPECT_FALSE(make_managed_identity_source(twice, http, clock));
}

/// Counts fetches and gives what the test says.
class FakeTokens final : public TokenSource {
 public:
  explicit FakeTokens(Clock& clock) : clock_(clock) {}
  Result<AccessToken> token(const Call&) override {
    const int n = ++fetches;
    if (entered) entered();
    if (error) return fail(*error);
    const SteadyTime now = clock_.steady_now();
    return AccessToken{Secret(fmt::format("t{}", n)), now + seconds{3000}, now + seconds{3600}};
  }
  std::atomic<int> fetches = 0;
  std::optional<Error> error;
  std::function<void()> entered;

 private:
  Clock& clock_;
};

class TokenCacheTest : public testing::Test {
 protected:
  FakeClock clock;
  std::unique_ptr<FakeTokens> owned = std::make_unique<FakeTokens>(clock);
  FakeTokens& inner = *owned;
  std::shared_ptr<TokenSource> tokens = make_cached_token_source(std::move(owned), clock);

  std::string take(const Call& call = {}) {
    const auto token = tokens->token(call);
    return token ? std::string(token->value.reveal()) : token.error().code;
  }
};

TEST_F(TokenCacheTest, ATokenIsKeptUntilItsRenewalIsDue) {
  EXPECT_EQ(take(), "t1");
  clock.advance(seconds{2999});
  EXPECT_EQ(take(), "t1");
  clock.advance(seconds{1});
  EXPECT_EQ(take(), "t2");
  EXPECT_EQ(inner.fetches, 2);
}

TEST_F(TokenCacheTest, WhileTheOldTokenLivesAFailedRenewalHarmsNobody) {
  EXPECT_EQ(take(), "t1");
  inner.error = Error{.kind = ErrorKind::kUnavailable, .what = "down", .code = "entra.down"};
  clock.advance(seconds{3000});
  EXPECT_EQ(take(), "t1");
  clock.advance(seconds{29});
  EXPECT_EQ(take(), "t1");
  EXPECT_EQ(inner.fetches, 2) << "renewing is not tried with every request";
  clock.advance(seconds{1});
  EXPECT_EQ(take(), "t1");
  EXPECT_EQ(inner.fetches, 3);
  clock.advance(seconds{570});
  EXPECT_EQ(take(), "entra.down");
  inner.error.reset();
  EXPECT_EQ(take(), "t5");
}

TEST_F(TokenCacheTest, ManyCallersShareOneFetch) {
  std::promise<void> inside, go;
  inner.entered = [&] {
    inside.set_value();
    go.get_future().wait();
  };
  std::vector<std::future<std::string>> results;
  results.push_back(std::async(std::launch::async, [&] { return take(); }));
  inside.get_future().wait();
  for (int i = 0; i < 8; ++i) results.push_back(std::async(std::launch::async, [&] { return take(); }));
  go.set_value();
  for (auto& result : results) EXPECT_EQ(result.get(), "t1");
  EXPECT_EQ(inner.fetches, 1);
}

TEST_F(TokenCacheTest, WhoeverWaitsForAFetchHearsItsStopAndDeadline) {
  std::promise<void> inside, go;
  inner.entered = [&] {
    inside.set_value();
    go.get_future().wait();
  };
  auto first = std::async(std::launch::async, [&] { return take(); });
  inside.get_future().wait();
  EXPECT_EQ(take({clock.steady_now(), {}}), "entra.timeout");
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] { return take({SteadyTime::max(), stop.get_token()}); });
  stop.request_stop();
  EXPECT_EQ(waiting.get(), "cancelled");
  go.set_value();
  EXPECT_EQ(first.get(), "t1");
}

TEST_F(TokenCacheTest, ARefusedTokenIsReplacedUnlessItIsFresh) {
  const auto auth = make_bearer_authenticator(tokens);
  const auto sent = [&] {
    http::Request request;
    request.headers = {{"Authorization", "old"}};
    EXPECT_TRUE(auth->sign(request, {}));
    EXPECT_EQ(request.headers.size(), 1u);
    return request.headers.at(0).value;
  };
  EXPECT_EQ(sent(), "Bearer t1");
  EXPECT_FALSE(*auth->renew({}, {}));
  EXPECT_EQ(sent(), "Bearer t1");
  clock.advance(std::chrono::minutes{6});
  EXPECT_TRUE(*auth->renew({}, {}));
  EXPECT_EQ(sent(), "Bearer t2");
}

}  // namespace
}  // namespace twinstep::azure
