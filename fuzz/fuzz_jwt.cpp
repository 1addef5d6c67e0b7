// Tokens of strangers. The first line says what follows: a token, claims that a good key signs, or a set of keys.
#include <algorithm>

#include "check.h"
#include "twinstep/azure/jwt.h"
#include "twinstep/azure/test_issuer.h"
#include "twinstep/azure/token_verifier.h"
#include "twinstep/base/fake_clock.h"

using namespace twinstep;
using fuzz::check;

namespace {

// Of a key that is gone: nobody can sign with it any more, so that its one token is the only good one there is.
constexpr const char* kLostKey =
    "n7VFWSm93qeK7qJMb8nCJIkAXCRWbSprifDj1SJWp7iBeblkPk8IqYPA4C2r90ovxF6NW22nBI6k2GPP_vGD5qxOJruhM_C1X5k34-Nuc-"
    "hOwPIre2L_ZY5bA_viaWBjGRVCwFuNFCaY5uIVZanLDx58r8Gl4SwCnmY2q5l3OpjF3H5NdmbYeWKGJkCGaaV-vf1Zc-"
    "LJiyJFinQl8EjeUTtBzopz9HBewAo6T48j3jgidXivE_ZZgA2t0OhoGz2A1Okep_"
    "GXDteXhjl2Bjsqz6BMMx8DafoSR9b4xhaSqNfWOM3cY7Cy0ddsHBvk9pOtWpHut9yUMhrPy-i6SIn5OQ";
constexpr const char* kOnlyToken = "55edde31097b192806be25f9d691c12e439ef838a6ef6d609c8f1b2ec35293e0";  // SHA-256

json::object lost_key() {
  return {{"kty", "RSA"}, {"use", "sig"}, {"kid", "fuzz-key"}, {"n", kLostKey}, {"e", "AQAB"}};
}

const azure::TestKey& own_key() {
  static const azure::TestKey key("own-key");
  return key;
}

/// Answers as the tenant does.
class Issuer final : public http::Client {
 public:
  Result<http::Response> send(const http::Request& request, const Call&) override {
    const std::string base = fmt::format("https://login.microsoftonline.com/{}/v2.0", azure::kTestTenant);
    if (request.url.ends_with("openid-configuration"))
      return http::Response{200, {}, fmt::format(R"({{"issuer":"{}","jwks_uri":"{}/keys"}})", base, base)};
    return http::Response{200, {}, json::write(json::object{{"keys", json::array{lost_key(), own_key().jwk()}}})};
  }
};

struct Trusted {
  FakeClock clock;
  Issuer issuer;
  std::unique_ptr<azure::TokenVerifier> verifier =
      azure::make_entra_verifier({.tenant = azure::kTestTenant, .audiences = {azure::kTestAudience}}, issuer, clock);

  Result<azure::VerifiedToken> verify(std::string_view text) { return verifier->verify(text, {}); }
};

Trusted& trusted() {
  static Trusted one;
  return one;
}

/// What must hold of any claims that were believed, said in another way than the verifier does.
void check_claims(std::string_view text) {
  const auto read = json::parse(text, "claims");
  check(read && read->is_object(), "what was believed is a JSON object");
  const auto word = [&](const char* name) { return json::string_or(read->as_object(), name); };
  // Both are GUIDs, which have no case.
  const auto lower = [](std::string_view from) {
    std::string out(from);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
  };
  check(lower(word("aud")) == azure::kTestAudience, "the audience is ours");
  check(lower(word("tid")) == azure::kTestTenant, "the tenant is ours");
  const bool old = word("iss") == fmt::format("https://sts.windows.net/{}/", azure::kTestTenant);
  check(old || word("iss") == fmt::format("https://login.microsoftonline.com/{}/v2.0", azure::kTestTenant),
        "the issuer is the tenant");
  check(lower(word(old ? "appid" : "azp")) == azure::kEventGridApplication, "the application is Event Grid");
  const auto exp = json::need_int(read->as_object(), "exp");
  check(exp && *exp > 1'700'000'000 - 300, "it has not expired");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest = fuzz::text_of(data, size);
  const std::string_view kind = fuzz::take_line(rest);
  if (kind == "token") {
    const auto token = azure::parse_jwt(rest);
    check(!token || rest.size() <= azure::kMaxJwtBytes, "a token has a limited size");
    const bool good = hex_encode(sha256(rest)) == kOnlyToken;
    check(trusted().verify(rest).has_value() == good, "the one good token is believed, and no other text");
  } else if (kind == "claims") {
    const auto token = trusted().verify(own_key().sign(R"({"alg":"RS256","kid":"own-key"})", rest));
    if (token) check_claims(rest);
    if (!token) check(token.error().code.starts_with("token."), "a refusal says what is wrong");
  } else {
    const auto keys = azure::parse_jwt_keys(rest);
    if (!keys) return 0;
    static const std::string text = own_key().sign(R"({"alg":"RS256","kid":"own-key"})", "{}");
    static const auto token = azure::parse_jwt(text);
    for (const azure::JwtKey& key : *keys) {
      check(!key.id.empty(), "a key has a name");
      check(!azure::signature_is_good(*token, key), "a key of somebody else never fits");
    }
  }
  return 0;
}
