#pragma once

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "twinstep/base/clock.h"
#include "twinstep/base/encoding.h"
#include "twinstep/json/json.h"

/// For tests: an issuer of tokens with real RSA keys, which knows nothing of how they are read.
namespace twinstep::azure {

inline std::string base64url(std::string_view bytes) {
  std::string out = base64_encode(bytes);
  while (out.ends_with('=')) out.pop_back();
  for (char& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

class TestKey {
 public:
  explicit TestKey(std::string id, unsigned bits = 2048) : id_(std::move(id)), key_(EVP_RSA_gen(bits), EVP_PKEY_free) {
    if (!key_) throw std::runtime_error("no RSA key could be made");
  }

  const std::string& id() const { return id_; }

  /// As an issuer publishes it.
  json::object jwk() const {
    return {{"kty", "RSA"},
            {"use", "sig"},
            {"kid", id_},
            {"x5t", id_},
            {"n", base64url(number(OSSL_PKEY_PARAM_RSA_N))},
            {"e", base64url(number(OSSL_PKEY_PARAM_RSA_E))}};
  }

  std::string signature(std::string_view text, std::string_view algorithm = "RS256") const {
    EVP_PKEY_CTX* context = nullptr;
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    const std::string_view size = algorithm.substr(2);
    const EVP_MD* md = size == "256" ? EVP_sha256() : size == "384" ? EVP_sha384() : EVP_sha512();
    bool good = EVP_DigestSignInit(digest.get(), &context, md, nullptr, key_.get()) == 1;
    if (algorithm.starts_with("PS"))
      good = good && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    size_t length = 0;
    good = good && EVP_DigestSign(digest.get(), nullptr, &length, bytes, text.size()) == 1;
    std::string out(length, '\0');
    good = good &&
           EVP_DigestSign(digest.get(), reinterpret_cast<unsigned char*>(out.data()), &length, bytes, text.size()) == 1;
    if (!good) throw std::runtime_error("no signature could be made");
    out.resize(length);
    return out;
  }

  /// Header and claims as texts, so that they may be anything.
  std::string sign(std::string_view header, std::string_view claims, std::string_view algorithm = "RS256") const {
    const std::string text = base64url(header) + "." + base64url(claims);
    return text + "." + base64url(signature(text, algorithm));
  }
  std::string sign(const json::object& claims) const {
    return sign(json::write(json::object{{"typ", "JWT"}, {"alg", "RS256"}, {"kid", id_}, {"x5t", id_}}),
                json::write(claims));
  }

 private:
  std::string number(const char* name) const {
    BIGNUM* n = nullptr;
    if (EVP_PKEY_get_bn_param(key_.get(), name, &n) != 1) throw std::runtime_error("the key has no number");
    std::string out(static_cast<size_t>(BN_num_bytes(n)), '\0');
    BN_bn2bin(n, reinterpret_cast<unsigned char*>(out.data()));
    BN_free(n);
    return out;
  }

  std::string id_;
  std::shared_ptr<EVP_PKEY> key_;
};

/// Texts of every kind are values too.
template <class T>
json::value value_of(const T& from) {
  if constexpr (std::is_convertible_v<T, std::string_view> && !std::is_null_pointer_v<T>)
    return json::value(json::string(std::string_view(from)));
  else
    return json::value(from);
}

inline constexpr const char* kTestTenant = "ab1f708d-50f6-404c-a006-d71b2ac7a606";
inline constexpr const char* kTestAudience = "018b2aca-ae48-4d53-9d1c-3b5f4b6d8f51";

/// The claims of the token that the documentation of Event Grid shows, made now. Source  azure.md 2.5
inline json::object sample_claims(SystemTime now) {
  const int64_t second = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  return {{"aud", kTestAudience},
          {"iss", fmt::format("https://sts.windows.net/{}/", kTestTenant)},
          {"iat", second - 300},
          {"nbf", second - 300},
          {"exp", second + 86'100},
          {"aio", "E2ZgYLj1Yd"},
          {"appid", "4962773b-9cdb-44cf-a8bf-237846a00ab7"},
          {"appidacr", "2"},
          {"idp", fmt::format("https://sts.windows.net/{}/", kTestTenant)},
          {"oid", "4b4b8be5-7f5f-4c4e-9a1f-1f0d6f7b6c55"},
          {"rh", "0.AR8A"},
          {"sub", "4b4b8be5-7f5f-4c4e-9a1f-1f0d6f7b6c55"},
          {"tid", kTestTenant},
          {"uti", "Y0tNEOnO"},
          {"ver", "1.0"}};
}

}  // namespace twinstep::azure
