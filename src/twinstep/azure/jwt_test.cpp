#include "twinstep/azure/jwt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/azure/test_issuer.h"

namespace twinstep::azure {
namespace {

using testing::HasSubstr;
using testing::Not;

const TestKey& key() {
  static const TestKey one("k1");
  return one;
}

std::string set_of(const std::vector<json::object>& keys) {
  json::array list;
  for (const auto& one : keys) list.push_back(one);
  return json::write(json::object{{"keys", list}});
}

JwtKey public_key(const TestKey& from) {
  auto keys = parse_jwt_keys(set_of({from.jwk()}));
  if (!keys || keys->size() != 1) throw std::runtime_error("the key cannot be read");
  return keys->front();
}

TEST(Jwt, AGoodTokenIsReadWhole) {
  const std::string text =
      key().sign(R"({"alg":"RS256","kid":"k1","typ":"JWT"})", R"({"aud":"a","n":[{"b":1},{"b":2}]})");
  const auto token = parse_jwt(text);
  ASSERT_TRUE(token) << token.error().what;
  EXPECT_EQ(token->algorithm, "RS256");
  EXPECT_EQ(token->key_id, "k1");
  EXPECT_EQ(json::string_or(token->claims, "aud"), "a");
  EXPECT_EQ(token->signed_part, text.substr(0, text.rfind('.')));
  EXPECT_TRUE(signature_is_good(*token, public_key(key())));
}

TEST(Jwt, EveryRsaAlgorithmIsCheckedByItsOwnRules) {
  const JwtKey good = public_key(key());
  for (const std::string algorithm : {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}) {
    EXPECT_TRUE(is_rsa_algorithm(algorithm));
    for (const std::string signer : {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}) {
      const std::string text = key().sign(fmt::format(R"({{"alg":"{}","kid":"k1"}})", algorithm), "{}", signer);
      const auto token = parse_jwt(text);
      ASSERT_TRUE(token);
      EXPECT_EQ(signature_is_good(*token, good), signer == algorithm) << algorithm << " signed as " << signer;
    }
  }
  for (const char* other : {"none", "None", "NONE", "HS256", "HS384", "ES256", "EdDSA", "rs256", "RS256 ", "RS1", ""})
    EXPECT_FALSE(is_rsa_algorithm(other)) << other;
}

TEST(Jwt, ASignatureHoldsForItsBytesAndItsKeyOnly) {
  const JwtKey good = public_key(key());
  const std::string text = key().sign(R"({"alg":"RS256","kid":"k1"})", R"({"aud":"a"})");
  const Jwt token = *parse_jwt(text);
  EXPECT_FALSE(signature_is_good(token, public_key(TestKey("k1")))) << "another key of the same name";
  Jwt changed = token;
  const std::string other = "x" + std::string(token.signed_part.substr(1));
  changed.signed_part = other;
  EXPECT_FALSE(signature_is_good(changed, good));
  for (size_t i = 0; i < token.signature.size(); i += 51) {
    changed = token;
    changed.signature[i] = static_cast<char>(changed.signature[i] ^ 1);
    EXPECT_FALSE(signature_is_good(changed, good)) << i;
  }
  changed = token;
  changed.signature.pop_back();
  EXPECT_FALSE(signature_is_good(changed, good));
  changed.signature = token.signature + '\0';
  EXPECT_FALSE(signature_is_good(changed, good));
  changed.signature.assign(256, '\0');
  EXPECT_FALSE(signature_is_good(changed, good));
  JwtKey bound = good;
  bound.algorithm = "RS512";
  EXPECT_FALSE(signature_is_good(token, bound)) << "a key may say what it is for";
}

TEST(Jwt, WhatIsNotExactlyATokenIsMalformed) {
  const std::string header = R"({"alg":"RS256","kid":"k1"})";
  const std::string good = key().sign(header, R"({"aud":"s3cr3t"})");
  ASSERT_TRUE(parse_jwt(good));
  const std::string claims = base64url(R"({"aud":"s3cr3t"})");
  const auto with_header = [&](std::string_view text) { return base64url(text) + "." + claims + ".c2ln"; };
  const auto with_claims = [&](std::string_view text) { return base64url(header) + "." + base64url(text) + ".c2ln"; };
  const std::vector<std::string> bad{
      "",
      "a",
      "..",
      good + ".",
      good + "=",
      good + "\n",
      " " + good,
      good.substr(0, good.rfind('.')),
      good.substr(0, good.rfind('.') + 1),
      "." + good,
      with_header(""),
      with_header("[]"),
      with_header("\"RS256\""),
      with_header(R"({"kid":"k1"})"),
      with_header(R"({"alg":"RS256"})"),
      with_header(R"({"alg":"RS256","kid":""})"),
      with_header(R"({"alg":"RS256","kid":7})"),
      with_header(R"({"alg":["RS256"],"kid":"k1"})"),
      with_header(R"({"alg":"RS256","kid":"k1","crit":["exp"]})"),
      with_header(R"({"alg":"RS256","kid":"k1","crit":[]})"),
      with_header(R"({"alg":"none","alg":"RS256","kid":"k1"})"),
      with_header(R"({"alg":"RS256","kid":"k1"} x)"),
      with_header(R"({"alg":"RS256","kid":"k1",})"),
      with_header(fmt::format(R"({{"alg":"RS256","kid":"{}"}})", std::string(257, 'k'))),
      with_claims(""),
      with_claims("[]"),
      with_claims("null"),
      with_claims(R"({"aud":"a","aud":"s3cr3t"})"),
      with_claims(R"({"aud":"a","\u0061ud":"s3cr3t"})"),
      with_claims(R"({"x":[{"aud":"a","aud":"s3cr3t"}]})"),
      with_claims("{\"aud\":\"\xff\"}"),
      with_claims(std::string(70, '[') + std::string(70, ']')),
      // The same bytes spelled in another way: padding, the alphabet of plain base64, bits that mean nothing.
      base64url(header) + "." + claims + ".c2lnbg==",
      base64url(header) + "." + claims + ".c2l+",
      base64url(header) + "." + claims + ".c2l/",
      base64url(header) + "." + claims + ".c2lnbh",
      base64url(header) + "." + claims + ".c",
      base64url(header) + "." + claims + ".c2 n",
  };
  for (const std::string& text : bad) {
    const auto token = parse_jwt(text);
    ASSERT_FALSE(token) << text;
    EXPECT_EQ(token.error().kind, ErrorKind::kDenied);
    EXPECT_EQ(token.error().code, "token.malformed");
    EXPECT_THAT(token.error().what, Not(HasSubstr("s3cr3t")));
  }
  EXPECT_TRUE(parse_jwt(with_claims(R"({"a":"x:\":{","b":{"a":1},"c":[{"a":1},{"a":2}]})")))
      << "no member is there twice";
}

TEST(Jwt, ATokenHasALimitedSize) {
  const std::string small =
      key().sign(R"({"alg":"RS256","kid":"k1"})", fmt::format(R"({{"a":"{}"}})", std::string(11'000, 'x')));
  ASSERT_LT(small.size(), kMaxJwtBytes);
  EXPECT_TRUE(parse_jwt(small));
  const std::string large =
      key().sign(R"({"alg":"RS256","kid":"k1"})", fmt::format(R"({{"a":"{}"}})", std::string(12'500, 'x')));
  ASSERT_GT(large.size(), kMaxJwtBytes);
  EXPECT_FALSE(parse_jwt(large));
}

TEST(JwtKeys, KeysThatCannotServeAreLeftOut) {
  const json::object good = key().jwk();
  const auto with = [&](const char* member, const auto& value) {
    json::object changed = good;
    changed[member] = value_of(value);
    if (changed[member].is_null()) changed.erase(member);
    return changed;
  };
  const auto count = [](const std::vector<json::object>& keys) {
    const auto read = parse_jwt_keys(set_of(keys));
    return read ? static_cast<int>(read->size()) : -1;
  };
  EXPECT_EQ(count({good}), 1);
  EXPECT_EQ(count({with("use", nullptr)}), 1);
  EXPECT_EQ(count({with("alg", "RS256")}), 1);
  EXPECT_EQ(count({with("key_ops", json::array{"verify"})}), 1);
  const std::vector<json::object> bad{with("kty", "oct"),
                                      with("kty", "EC"),
                                      with("use", "enc"),
                                      with("use", 1),
                                      with("alg", "HS256"),
                                      with("alg", "RSA-OAEP"),
                                      with("key_ops", json::array{"encrypt"}),
                                      with("kid", nullptr),
                                      with("kid", ""),
                                      with("n", nullptr),
                                      with("n", ""),
                                      with("n", "AQAB"),
                                      with("n", base64url(std::string(256, '\xfe'))),   // even
                                      with("n", base64url(std::string(2000, '\xff'))),  // 16,000 bits
                                      with("e", nullptr),
                                      with("e", "AQ"),                               // 1
                                      with("e", "Aw"),                               // 3
                                      with("e", "AQAA"),                             // even
                                      with("e", base64url(std::string(9, '\xff'))),  // 72 bits
                                      with("n", "not base64!"),
                                      TestKey("weak", 1024).jwk()};
  for (const json::object& one : bad) {
    EXPECT_EQ(count({one}), 0) << json::write(one);
    json::object other = good;
    other["kid"] = "k2";
    EXPECT_EQ(count({one, other}), 1) << "a bad key does no harm to the good ones";
  }
  for (const char* text : {"", "<html>", "[]", "{}", R"({"keys":{}})", R"({"keys":null})"}) {
    const auto read = parse_jwt_keys(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().kind, ErrorKind::kCorrupt);
  }
  EXPECT_EQ(count(std::vector<json::object>(101, good)), -1);
}

TEST(JwtKeys, OfTwoWithOneNameTheFirstCounts) {
  const auto keys = parse_jwt_keys(set_of({key().jwk(), TestKey("k1").jwk()}));
  ASSERT_EQ(keys->size(), 1u);
  const std::string text = key().sign(R"({"alg":"RS256","kid":"k1"})", "{}");
  EXPECT_TRUE(signature_is_good(*parse_jwt(text), keys->front()));
}

}  // namespace
}  // namespace twinstep::azure
