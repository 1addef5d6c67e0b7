#include "twinstep/azure/token_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <future>
#include <mutex>

#include "twinstep/azure/test_issuer.h"
#include "twinstep/base/fake_clock.h"

namespace twinstep::azure {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;

const TestKey& first_key() {
  static const TestKey one("key-1");
  return one;
}
const TestKey& second_key() {
  static const TestKey one("key-2");
  return one;
}

/// The tenant's metadata and keys.
class Issuer final : public http::Client {
 public:
  Result<http::Response> send(const http::Request& request, const Call&) override {
    std::function<void()> before;
    {
      std::scoped_lock lock(mutex);
      urls.push_back(request.url);
      before = entered;
    }
    if (before) before();
    std::scoped_lock lock(mutex);
    if (trouble) return fail(*trouble);
    if (request.url == metadata_url)
      return http::Response{
          status,
          {},
          metadata.empty() ? json::write(json::object{{"issuer", issuer}, {"jwks_uri", jwks_uri}}) : metadata};
    if (request.url != jwks_uri) return http::Response{404, {}, ""};
    json::array list;
    for (const TestKey* key : keys) list.push_back(key->jwk());
    return http::Response{status, {}, jwks.empty() ? json::write(json::object{{"keys", list}}) : jwks};
  }
  size_t fetches() {
    std::scoped_lock lock(mutex);
    return static_cast<size_t>(std::count(urls.begin(), urls.end(), metadata_url));
  }

  std::mutex mutex;  // guards what requests read and write
  std::string authority = "https://login.microsoftonline.com";
  std::string issuer = fmt::format("{}/{}/v2.0", authority, kTestTenant);
  std::string metadata_url = issuer + "/.well-known/openid-configuration";
  std::string jwks_uri = fmt::format("{}/{}/discovery/v2.0/keys", authority, kTestTenant);
  std::string metadata, jwks;
  int status = 200;
  std::vector<const TestKey*> keys{&first_key()};
  std::optional<Error> trouble;
  std::function<void()> entered;
  std::vector<std::string> urls;
};

Error connection_refused() {
  return {.kind = ErrorKind::kUnavailable, .what = "connection refused", .code = "http.no-connection"};
}

class TokenVerifierTest : public testing::Test {
 protected:
  Issuer issuer;
  FakeClock clock;
  Call call;
  EntraTrust trust{.tenant = kTestTenant, .audiences = {kTestAudience}};
  std::unique_ptr<TokenVerifier> verifier;

  json::object claims() const { return sample_claims(clock.system_now()); }
  template <class T>
  json::object with(const char* name, const T& value) const {
    json::object out = claims();
    out[name] = value_of(value);
    return out;
  }
  json::object without(const char* name) const {
    json::object out = claims();
    out.erase(name);
    return out;
  }
  json::object second_version() const {
    json::object out = without("appid");
    out["ver"] = "2.0";
    out["iss"] = value_of(issuer.issuer);
    out["azp"] = value_of(kEventGridApplication);
    return out;
  }
  int64_t now() const { return std::chrono::floor<seconds>(clock.system_now()).time_since_epoch().count(); }

  Result<VerifiedToken> verify(std::string_view jwt) {
    if (!verifier) verifier = make_entra_verifier(trust, issuer, clock);
    return verifier->verify(jwt, call);
  }
  /// "good", or the error's code.
  std::string says(std::string_view jwt) {
    const auto token = verify(jwt);
    return token ? "good" : token.error().code;
  }
  std::string says(const json::object& changed) { return says(first_key().sign(changed)); }
  std::string says_of_header(std::string_view header, std::string_view algorithm = "RS256") {
    return says(first_key().sign(header, json::write(claims()), algorithm));
  }
};

TEST_F(TokenVerifierTest, TheDocumentedTokenOfEventGridIsGood) {
  const auto token = verify(first_key().sign(claims()));
  ASSERT_TRUE(token) << token.error().what;
  EXPECT_EQ(token->app_id, kEventGridApplication);
  EXPECT_EQ(token->tenant, kTestTenant);
  EXPECT_EQ(token->subject, "4b4b8be5-7f5f-4c4e-9a1f-1f0d6f7b6c55");
  EXPECT_EQ(token->expires, std::chrono::floor<seconds>(clock.system_now()) + seconds{86'100});
  EXPECT_EQ(issuer.urls, (std::vector{issuer.metadata_url, issuer.jwks_uri}));
}

TEST_F(TokenVerifierTest, ATokenOfVersionTwoIsGoodToo) {
  EXPECT_EQ(says(second_version()), "good");
  EXPECT_EQ(says(without("nbf")), "good");
  EXPECT_EQ(says(with("roles", json::array{"AzureEventGridSecureWebhookSubscriber"})), "good");
}

TEST_F(TokenVerifierTest, EachSingleFaultIsRefusedForEver) {
  ASSERT_EQ(says(claims()), "good");
  const std::string other = "0" + std::string(kTestTenant).substr(1);
  struct Row {
    json::object claims;
    std::string code;
  };
  json::object mixed = second_version();
  mixed["iss"] = claims().at("iss");
  json::object old_claim = second_version();
  old_claim.erase("azp");
  old_claim["appid"] = value_of(kEventGridApplication);
  json::object other_azp = second_version();
  other_azp["azp"] = value_of(other);
  const std::vector<Row> rows{
      {with("iss", fmt::format("https://sts.windows.net/{}/", other)), "token.issuer"},
      {with("iss", fmt::format("https://sts.windows.net/{}", kTestTenant)), "token.issuer"},
      {with("iss", fmt::format("http://sts.windows.net/{}/", kTestTenant)), "token.issuer"},
      {with("iss", fmt::format("https://sts.windows.net.example.com/{}/", kTestTenant)), "token.issuer"},
      {with("iss", issuer.issuer), "token.issuer"},  // the issuer of version 2 in a token of version 1
      {mixed, "token.issuer"},
      {without("iss"), "token.issuer"},
      {with("iss", 1), "token.issuer"},
      {with("tid", other), "token.tenant"},
      {without("tid"), "token.tenant"},
      {with("aud", "api://" + std::string(kTestAudience)), "token.audience"},
      {with("aud", std::string(kTestAudience) + "/"), "token.audience"},
      {with("aud", json::array{kTestAudience}), "token.audience"},
      {with("aud", ""), "token.audience"},
      {without("aud"), "token.audience"},
      {with("appid", other), "token.application"},
      {with("appid", std::string(kEventGridGovernmentApplication)), "token.application"},
      {without("appid"), "token.application"},
      {old_claim, "token.application"},
      {other_azp, "token.application"},
      {with("ver", "3.0"), "token.malformed"},
      {with("ver", 1), "token.malformed"},
      {without("ver"), "token.malformed"},
      {without("exp"), "token.malformed"},
      {with("exp", std::to_string(now() + 3600)), "token.malformed"},
      {with("exp", static_cast<double>(now() + 3600) + 0.5), "token.malformed"},
      {with("exp", 1e300), "token.malformed"},
      {with("exp", INT64_MAX), "token.malformed"},
      {with("exp", UINT64_MAX), "token.malformed"},
      {with("exp", -1), "token.malformed"},
      {with("nbf", "now"), "token.malformed"},
      {with("nbf", nullptr), "token.malformed"},
      {with("nbf", INT64_MIN), "token.malformed"},
  };
  for (const Row& row : rows) {
    const auto token = verify(first_key().sign(row.claims));
    ASSERT_FALSE(token) << json::write(row.claims);
    EXPECT_EQ(token.error().code, row.code) << json::write(row.claims);
    EXPECT_EQ(token.error().kind, ErrorKind::kDenied);
  }
  EXPECT_EQ(issuer.fetches(), 1u) << "none of them is worth a look at the keys";
}

TEST_F(TokenVerifierTest, EveryOtherAlgorithmIsRefused) {
  ASSERT_EQ(says_of_header(R"({"alg":"RS256","kid":"key-1"})"), "good");
  const std::string payload = base64url(json::write(claims()));
  for (const char* algorithm :
       {"none", "None", "nOnE", "HS256", "HS512", "ES256", "RS512", "PS256", "rs256", "RS256x"}) {
    const std::string header = fmt::format(R"({{"alg":"{}","kid":"key-1"}})", algorithm);
    EXPECT_EQ(says_of_header(header), "token.algorithm") << algorithm;
    EXPECT_EQ(says(base64url(header) + "." + payload + "."), "token.malformed") << "without a signature";
  }
  // The classic: the public key, which everybody knows, as the secret of an HMAC.
  const std::string signed_part = base64url(R"({"alg":"HS256","kid":"key-1"})") + "." + payload;
  EXPECT_EQ(says(signed_part + "." + base64url(hmac_sha256(json::write(first_key().jwk()), signed_part))),
            "token.algorithm");
  EXPECT_EQ(says_of_header(R"({"alg":"RS256","kid":"key-1"})", "PS256"), "token.bad-signature");
  EXPECT_EQ(says_of_header(R"({"alg":"RS256","kid":"key-1","crit":["exp"],"exp":1})"), "token.malformed");
  EXPECT_EQ(says_of_header(R"({"alg":"RS256","kid":"key-1","kid":"key-2"})"), "token.malformed");
}

TEST_F(TokenVerifierTest, MoreAlgorithmsCanBeAllowedButNeverASecretOrNone) {
  trust.algorithms = {"RS256", "PS384"};
  EXPECT_EQ(says_of_header(R"({"alg":"PS384","kid":"key-1"})", "PS384"), "good");
  EXPECT_EQ(says_of_header(R"({"alg":"RS384","kid":"key-1"})", "RS384"), "token.algorithm");
  for (const char* bad : {"none", "HS256", "ES256", ""}) {
    trust.algorithms = {"RS256", bad};
    EXPECT_FALSE(check(trust)) << bad;
  }
}

TEST_F(TokenVerifierTest, AKeyThatTheHeaderBringsAlongIsNotUsed) {
  json::object header{
      {"alg", "RS256"}, {"kid", "key-1"}, {"jwk", second_key().jwk()}, {"jku", "https://evil.example/keys"}};
  EXPECT_EQ(says(second_key().sign(json::write(header), json::write(claims()))), "token.bad-signature");
  EXPECT_EQ(issuer.urls, (std::vector{issuer.metadata_url, issuer.jwks_uri}));
}

TEST_F(TokenVerifierTest, AForgedSignatureOfAKnownKeyIsRefusedForEver) {
  ASSERT_EQ(says(claims()), "good");
  const std::string header = R"({"alg":"RS256","kid":"key-1"})";
  EXPECT_EQ(says(second_key().sign(header, json::write(claims()))), "token.bad-signature");
  // Another payload under a good signature.
  const std::string good = first_key().sign(claims());
  const std::string other = first_key().sign(with("sub", "somebody else"));
  EXPECT_EQ(says(other.substr(0, other.rfind('.')) + good.substr(good.rfind('.'))), "token.bad-signature");
  EXPECT_EQ(issuer.fetches(), 1u);
}

TEST_F(TokenVerifierTest, TimesAreKeptWithFiveMinutesForClocksThatDiffer) {
  EXPECT_EQ(says(with("exp", now() - 299)), "good");
  EXPECT_EQ(says(with("exp", now() - 300)), "token.expired");
  EXPECT_EQ(says(with("nbf", now() + 300)), "good");
  EXPECT_EQ(says(with("nbf", now() + 301)), "token.not-yet-valid");
}

TEST_F(TokenVerifierTest, OnlyTimeAloneIsAReasonToAskForTheEventAgain) {
  for (const json::object& late :
       {with("exp", now() - 400), with("exp", now() - 30 * 86'400), with("nbf", now() + 4000)}) {
    const auto token = verify(first_key().sign(late));
    ASSERT_FALSE(token);
    EXPECT_EQ(token.error().kind, ErrorKind::kUnavailable) << token.error().code;
    EXPECT_THAT(token.error().what, HasSubstr("this machine's clock"));
    EXPECT_EQ(says(second_key().sign(R"({"alg":"RS256","kid":"key-1"})", json::write(late))), "token.bad-signature");
    json::object wrong = late;
    wrong["aud"] = "other";
    EXPECT_EQ(says(wrong), "token.audience");
  }
}

TEST_F(TokenVerifierTest, AKnownTokenStillExpires) {
  const std::string token = first_key().sign(with("exp", now() + 60));
  EXPECT_EQ(says(token), "good");
  clock.advance(seconds{359});
  EXPECT_EQ(says(token), "good");
  clock.advance(seconds{1});
  EXPECT_EQ(says(token), "token.expired");
}

TEST_F(TokenVerifierTest, AKnownTokenIsNoLongerGoodOnceItsKeyIsWithdrawn) {
  const std::string token = first_key().sign(with("exp", now() + 100 * 3600));
  EXPECT_EQ(says(token), "good");
  issuer.keys = {&second_key()};
  clock.advance(hours{24});
  EXPECT_EQ(says(token), "token.unknown-key");
  EXPECT_EQ(says(token), "token.keys-away") << "fetched just now, so it is not looked for again yet";
  clock.advance(minutes{5});
  EXPECT_EQ(says(token), "token.unknown-key");
}

TEST_F(TokenVerifierTest, AudiencesAreTakenAsConfiguredAndGuidsWithoutCase) {
  const std::string upper = "018B2ACA-AE48-4D53-9D1C-3B5F4B6D8F51";
  trust.audiences = {"api://webhook", upper};
  trust.tenant = "AB1F708D-50f6-404c-a006-d71b2ac7a606";
  EXPECT_EQ(says(claims()), "good");
  EXPECT_EQ(says(with("aud", "api://webhook")), "good");
  EXPECT_EQ(says(with("aud", "api://Webhook")), "token.audience");
  EXPECT_EQ(says(with("aud", "webhook")), "token.audience");
}

TEST_F(TokenVerifierTest, AzureGovernmentHasItsOwnApplicationAndAuthority) {
  issuer.authority = "https://login.microsoftonline.us";
  issuer.issuer = fmt::format("{}/{}/v2.0", issuer.authority, kTestTenant);
  issuer.metadata_url = issuer.issuer + "/.well-known/openid-configuration";
  issuer.jwks_uri = fmt::format("{}/{}/discovery/v2.0/keys", issuer.authority, kTestTenant);
  trust.authority = issuer.authority;
  trust.application = std::string(kEventGridGovernmentApplication);
  EXPECT_EQ(says(with("appid", trust.application)), "good");
  EXPECT_EQ(says(claims()), "token.application");
}

TEST_F(TokenVerifierTest, SettingsThatWouldTrustTooMuchAreRefused) {
  EXPECT_TRUE(check(trust));
  const auto refused = [&](auto change) {
    EntraTrust changed = trust;
    change(changed);
    const auto good = check(changed);
    EXPECT_THROW(make_entra_verifier(changed, issuer, clock), std::invalid_argument);
    return good ? std::string() : good.error().what;
  };
  EXPECT_THAT(refused([](auto& t) { t.tenant = "contoso.onmicrosoft.com"; }), HasSubstr("tenant"));
  EXPECT_THAT(refused([](auto& t) { t.tenant = "common"; }), HasSubstr("tenant"));
  EXPECT_THAT(refused([](auto& t) { t.tenant = ""; }), HasSubstr("tenant"));
  EXPECT_THAT(refused([](auto& t) { t.audiences = {}; }), HasSubstr("audience"));
  EXPECT_THAT(refused([](auto& t) { t.audiences = {"a", ""}; }), HasSubstr("audience"));
  EXPECT_THAT(refused([](auto& t) { t.application = ""; }), HasSubstr("application"));
  EXPECT_THAT(refused([](auto& t) { t.algorithms = {}; }), HasSubstr("algorithms"));
  for (const char* bad : {"", "https://", "http://login.example.com", "https://u@login.example.com",
                          "https://login.example.com/path", "login.example.com"})
    EXPECT_THAT(refused([&](auto& t) { t.authority = bad; }), HasSubstr("authority")) << bad;
}

TEST_F(TokenVerifierTest, KeysAreFetchedOnceADay) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(says(with("uti", i)), "good");
  EXPECT_EQ(issuer.fetches(), 1u);
  clock.advance(hours{24});
  EXPECT_EQ(says(claims()), "good");
  EXPECT_EQ(says(claims()), "good");
  EXPECT_EQ(issuer.fetches(), 2u);
}

TEST_F(TokenVerifierTest, ANewKeyIsFoundAtOnce) {
  EXPECT_EQ(says(claims()), "good");
  clock.advance(minutes{5});
  issuer.keys = {&first_key(), &second_key()};
  EXPECT_EQ(says(second_key().sign(claims())), "good");
  EXPECT_EQ(says(first_key().sign(claims())), "good");
  EXPECT_EQ(issuer.fetches(), 2u);
}

TEST_F(TokenVerifierTest, InventedKeysBringOneFetchInFiveMinutesAndLoseNoEvent) {
  EXPECT_EQ(says(claims()), "good");
  clock.advance(minutes{6});
  for (int i = 0; i < 200; ++i) {
    const auto token =
        verify(first_key().sign(fmt::format(R"({{"alg":"RS256","kid":"invented-{}"}})", i), json::write(claims())));
    ASSERT_FALSE(token);
    if (i == 0) {
      EXPECT_EQ(token.error().code, "token.unknown-key") << "it was looked for, and it is not there";
      EXPECT_EQ(token.error().kind, ErrorKind::kDenied);
    } else {
      EXPECT_EQ(token.error().code, "token.keys-away");
      EXPECT_EQ(token.error().kind, ErrorKind::kUnavailable);
      EXPECT_EQ(token.error().retry_after, minutes{5}) << "then it may be looked for";
    }
  }
  EXPECT_EQ(issuer.fetches(), 2u);
  EXPECT_EQ(says(claims()), "good") << "those with a known key go on";
}

TEST_F(TokenVerifierTest, WithoutKeysNothingIsDecided) {
  issuer.trouble = connection_refused();
  const auto token = verify(first_key().sign(claims()));
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(token.error().code, "token.keys-away");
  EXPECT_THAT(token.error().what, HasSubstr("connection refused"));
  EXPECT_EQ(token.error().retry_after, seconds{30});
  clock.advance(seconds{29});
  for (int i = 0; i < 50; ++i) EXPECT_EQ(says(claims()), "token.keys-away");
  EXPECT_EQ(issuer.urls.size(), 1u) << "an issuer that is away is not asked with every delivery";
  clock.advance(seconds{1});
  issuer.trouble.reset();
  EXPECT_EQ(says(claims()), "good");
}

TEST_F(TokenVerifierTest, OldKeysAreUsedWhileNewOnesCannotBeFetched) {
  json::object long_lived = with("exp", now() + 30 * 86'400);
  EXPECT_EQ(says(long_lived), "good");
  issuer.trouble = connection_refused();
  clock.advance(hours{24});
  EXPECT_EQ(says(long_lived), "good");
  EXPECT_EQ(says(second_key().sign(long_lived)), "token.keys-away");
  clock.advance(hours{6 * 24});
  EXPECT_EQ(says(long_lived), "good");
  clock.advance(seconds{1});
  EXPECT_EQ(says(long_lived), "token.keys-away") << "a key that was withdrawn must not count for ever";
}

TEST_F(TokenVerifierTest, AnswersThatAreNotTheTenantsKeysAreNotBelieved) {
  ASSERT_EQ(says(claims()), "good");
  const auto refetched = [&] {
    clock.advance(minutes{6});
    const auto token = verify(second_key().sign(claims()));
    EXPECT_FALSE(token);
    return token ? std::string() : token.error().what;
  };
  issuer.keys = {&second_key()};
  const std::string uri = issuer.jwks_uri;
  for (const char* elsewhere :
       {"http://login.microsoftonline.com/keys", "https://login.microsoftonline.com.evil.example/keys",
        "https://login.microsoftonline.com@evil.example/keys", "https://evil.example/#login.microsoftonline.com",
        "https://login.microsoftonline.com:444/keys", "file:///etc/passwd", ""}) {
    issuer.jwks_uri = elsewhere;
    EXPECT_THAT(refetched(), HasSubstr("names a key set that is not at")) << elsewhere;
  }
  EXPECT_EQ(std::count(issuer.urls.begin(), issuer.urls.end(), uri), 1) << "and nobody else is asked";
  issuer.jwks_uri = uri;
  issuer.issuer = "https://login.microsoftonline.com/{tenantid}/v2.0";
  EXPECT_THAT(refetched(), HasSubstr("another issuer"));
  issuer.issuer = fmt::format("{}/{}/v2.0", issuer.authority, kTestTenant);
  issuer.metadata = "<html>sign in</html>";
  EXPECT_THAT(refetched(), HasSubstr("not a JSON object"));
  issuer.metadata.clear();
  issuer.jwks = "<html>sign in</html>";
  EXPECT_THAT(refetched(), HasSubstr("not JSON"));
  issuer.jwks = R"({"keys":[]})";
  EXPECT_THAT(refetched(), HasSubstr("no usable key"));
  issuer.jwks.clear();
  issuer.status = 500;
  EXPECT_THAT(refetched(), HasSubstr("answered 500"));
  EXPECT_EQ(says(claims()), "good") << "the keys from before are still there";
}

TEST_F(TokenVerifierTest, ManyFirstDeliveriesShareOneFetch) {
  std::promise<void> inside, go;
  auto open = go.get_future().share();
  issuer.entered = [&, once = std::make_shared<std::once_flag>()] {
    std::call_once(*once, [&] { inside.set_value(); });
    open.wait();
  };
  verifier = make_entra_verifier(trust, issuer, clock);
  const std::string token = first_key().sign(claims());
  std::vector<std::future<std::string>> results;
  results.push_back(std::async(std::launch::async, [&] { return says(token); }));
  inside.get_future().wait();
  for (int i = 0; i < 8; ++i) results.push_back(std::async(std::launch::async, [&] { return says(token); }));
  go.set_value();
  for (auto& result : results) EXPECT_EQ(result.get(), "good");
  EXPECT_EQ(issuer.fetches(), 1u);
}

TEST_F(TokenVerifierTest, WhileKeysAreFetchedOnlyTheOneWhoFetchesWaits) {
  EXPECT_EQ(says(claims()), "good");
  clock.advance(minutes{6});
  std::promise<void> inside, go;
  issuer.keys = {&first_key(), &second_key()};
  issuer.entered = [&, once = std::make_shared<std::once_flag>()] {
    std::call_once(*once, [&] {
      inside.set_value();
      go.get_future().wait();
    });
  };
  auto slow = std::async(std::launch::async, [&] { return says(second_key().sign(claims())); });
  inside.get_future().wait();
  EXPECT_EQ(says(claims()), "good") << "a known key needs nothing";
  EXPECT_EQ(says(second_key().sign(with("uti", 2))), "token.keys-away");
  go.set_value();
  EXPECT_EQ(slow.get(), "good");
  EXPECT_EQ(says(second_key().sign(with("uti", 2))), "good");
  EXPECT_EQ(issuer.fetches(), 2u);
}

TEST_F(TokenVerifierTest, WhoeverWaitsForTheFirstKeysHearsItsStopAndDeadline) {
  std::promise<void> inside, go;
  issuer.entered = [&, once = std::make_shared<std::once_flag>()] {
    std::call_once(*once, [&] {
      inside.set_value();
      go.get_future().wait();
    });
  };
  verifier = make_entra_verifier(trust, issuer, clock);
  const std::string token = first_key().sign(claims());
  auto first = std::async(std::launch::async, [&] { return says(token); });
  inside.get_future().wait();
  EXPECT_EQ(verifier->verify(token, {clock.steady_now(), {}}).error().kind, ErrorKind::kTimeout);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(verifier->verify(token, {SteadyTime::max(), stop.get_token()}).error().kind, ErrorKind::kCancelled);
  go.set_value();
  EXPECT_EQ(first.get(), "good");
}

TEST_F(TokenVerifierTest, AFetchWhoseCallerGaveUpSaysNothingOfTheIssuer) {
  issuer.trouble = Error{.kind = ErrorKind::kCancelled, .what = "cancelled", .code = "cancelled"};
  EXPECT_EQ(verify(first_key().sign(claims())).error().kind, ErrorKind::kCancelled);
  issuer.trouble.reset();
  EXPECT_EQ(says(claims()), "good") << "the next one asks at once";
}

TEST_F(TokenVerifierTest, NothingOfATokenIsSaid) {
  json::object secret = with("aud", "s3cr3t-audience");
  const auto wrong = verify(first_key().sign(secret));
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().what, Not(HasSubstr("s3cr3t")));
  const auto unknown = verify(first_key().sign(R"({"alg":"RS256","kid":"s3cr3t-key"})", json::write(claims())));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, "token.unknown-key");
  EXPECT_THAT(unknown.error().what, Not(HasSubstr("s3cr3t")));
}

}  // namespace
}  // namespace twinstep::azure
