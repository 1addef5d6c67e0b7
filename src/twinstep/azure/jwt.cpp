#include "twinstep/azure/jwt.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <array>

#include "twinstep/base/encoding.h"
#include "twinstep/base/freed.h"

namespace twinstep::azure {
namespace {

constexpr int kLeastBits = 2048;
constexpr int kMostBits = 8192;  // a larger one would only cost time
constexpr size_t kMaxKeys = 100;
constexpr size_t kMaxKeyId = 256;

struct Algorithm {
  std::string_view name;
  const EVP_MD* (*digest)();
  bool pss;
};
constexpr std::array kAlgorithms{Algorithm{"RS256", EVP_sha256, false}, Algorithm{"RS384", EVP_sha384, false},
                                 Algorithm{"RS512", EVP_sha512, false}, Algorithm{"PS256", EVP_sha256, true},
                                 Algorithm{"PS384", EVP_sha384, true},  Algorithm{"PS512", EVP_sha512, true}};

const Algorithm* find_algorithm(std::string_view name) {
  const auto found =
      std::find_if(kAlgorithms.begin(), kAlgorithms.end(), [&](const auto& a) { return a.name == name; });
  return found == kAlgorithms.end() ? nullptr : &*found;
}

using Number = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, Freed<OSSL_PARAM_BLD_free>>;
using Parameters = std::unique_ptr<OSSL_PARAM, Freed<OSSL_PARAM_free>>;

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

/// Without padding, and with no second spelling of the same bytes (RFC 7515, section 2).
Result<std::string> base64url_decode(std::string_view text) {
  std::string standard(text);
  for (char& c : standard) {
    if (c == '+' || c == '/' || c == '=') return fail(ErrorKind::kInvalid, "encoding.base64", "not valid base64url");
    if (c == '-') c = '+';
    if (c == '_') c = '/';
  }
  standard.append((4 - standard.size() % 4) % 4, '=');
  return base64_decode(standard);
}

uint64_t members_of(const json::value& v) {
  uint64_t count = 0;
  if (const json::array* items = v.if_array())
    for (const auto& item : *items) count += members_of(item);
  if (const json::object* members = v.if_object())
    for (const auto& member : *members) count += 1 + members_of(member.value());
  return count;
}

/// A member that stands there twice is read once: then there are more colons than members. `text` is valid JSON.
bool has_member_twice(std::string_view text, const json::value& read) {
  uint64_t colons = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (inside && text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      inside = !inside;
    else if (!inside && text[i] == ':')
      ++colons;
  }
  return colons != members_of(read);
}

std::optional<json::object> object_of(std::string_view part) {
  const auto text = base64url_decode(part);
  if (!text) return std::nullopt;
  auto parsed = json::parse(*text, "a part of the token");
  if (!parsed || !parsed->is_object() || has_member_twice(*text, *parsed)) return std::nullopt;
  return std::move(parsed->as_object());
}

tl::unexpected<Error> malformed(std::string_view why) {
  return fail(ErrorKind::kDenied, "token.malformed", fmt::format("the token is malformed: {}", why));
}

Number number_of(const json::object& o, std::string_view member) {
  const auto bytes = base64url_decode(json::string_or(o, member));
  if (!bytes || bytes->empty() || bytes->size() > kMostBits / 8 + 1) return nullptr;
  return Number(BN_bin2bn(bytes_of(*bytes), static_cast<int>(bytes->size()), nullptr));
}

/// Null when the members make no usable RSA key.
std::shared_ptr<EVP_PKEY> rsa_key(const json::object& o) {
  const Number n = number_of(o, "n");
  const Number e = number_of(o, "e");
  if (!n || !e || BN_num_bits(n.get()) < kLeastBits || BN_num_bits(n.get()) > kMostBits || !BN_is_odd(n.get()))
    return nullptr;
  // Small exponents are signs of an old attack rather than of a key of Entra ID; large ones make checking slow.
  if (!BN_is_odd(e.get()) || BN_num_bits(e.get()) < 17 || BN_num_bits(e.get()) > 32) return nullptr;
  const Builder builder(OSSL_PARAM_BLD_new());
  if (!builder || OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) != 1 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) != 1)
    return nullptr;
  const Parameters parameters(OSSL_PARAM_BLD_to_param(builder.get()));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  EVP_PKEY* key = nullptr;
  if (!parameters || !context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY, parameters.get()) != 1) {
    ERR_clear_error();
    return nullptr;
  }
  return {key, EVP_PKEY_free};
}

/// Whether the key is one for checking RSA signatures; what `key_ops` and `use` leave out is allowed.
bool is_for_signatures(const json::object& o) {
  if (json::string_or(o, "kty") != "RSA") return false;
  if (o.contains("use") && json::string_or(o, "use") != "sig") return false;
  if (o.contains("alg") && !is_rsa_algorithm(json::string_or(o, "alg"))) return false;
  if (!o.contains("key_ops")) return true;
  const json::array* operations = json::array_at(o, "key_ops");
  return operations && std::any_of(operations->begin(), operations->end(),
                                   [](const json::value& v) { return v.is_string() && v.as_string() == "verify"; });
}

}  // namespace

Result<Jwt> parse_jwt(std::string_view text) {
  if (text.size() > kMaxJwtBytes) return malformed(fmt::format("it is larger than {} bytes", kMaxJwtBytes));
  const size_t first = text.find('.');
  const size_t second = first == std::string_view::npos ? first : text.find('.', first + 1);
  if (second == std::string_view::npos || text.find('.', second + 1) != std::string_view::npos)
    return malformed("it does not have three parts");
  const auto header = object_of(text.substr(0, first));
  if (!header) return malformed("its header cannot be read");
  if (header->contains("crit")) return malformed("its header asks for extensions");
  Jwt out;
  out.algorithm = json::string_or(*header, "alg");
  if (out.algorithm.empty()) return malformed("its header names no algorithm");
  out.key_id = json::string_or(*header, "kid");
  if (out.key_id.empty() || out.key_id.size() > kMaxKeyId) return malformed("its header names no key");
  auto claims = object_of(text.substr(first + 1, second - first - 1));
  if (!claims) return malformed("its claims cannot be read");
  auto signature = base64url_decode(text.substr(second + 1));
  if (!signature || signature->empty()) return malformed("its signature cannot be read");
  out.claims = std::move(*claims);
  out.signature = std::move(*signature);
  out.signed_part = text.substr(0, second);
  return out;
}

bool is_rsa_algorithm(std::string_view algorithm) { return find_algorithm(algorithm) != nullptr; }

Result<std::vector<JwtKey>> parse_jwt_keys(std::string_view text) {
  const auto bad = [](std::string_view why) {
    return fail(ErrorKind::kCorrupt, "token.bad-keys", fmt::format("the key set cannot be used: {}", why));
  };
  const auto parsed = json::parse(text, "it");
  if (!parsed) return bad("it is not JSON");
  const json::object* o = parsed->if_object();
  const json::array* list = o ? json::array_at(*o, "keys") : nullptr;
  if (!list) return bad("it has no list of keys");
  if (list->size() > kMaxKeys) return bad(fmt::format("it has more than {} keys", kMaxKeys));
  std::vector<JwtKey> out;
  for (const json::value& one : *list) {
    const json::object* key = one.if_object();
    if (!key || !is_for_signatures(*key)) continue;
    const std::string_view id = json::string_or(*key, "kid");
    const bool known = std::any_of(out.begin(), out.end(), [&](const JwtKey& other) { return other.id == id; });
    if (id.empty() || id.size() > kMaxKeyId || known) continue;
    if (auto made = rsa_key(*key))
      out.push_back({std::string(id), std::string(json::string_or(*key, "alg")), std::move(made)});
  }
  return out;
}

bool signature_is_good(const Jwt& token, const JwtKey& key) {
  const Algorithm* algorithm = find_algorithm(token.algorithm);
  if (!algorithm || (!key.algorithm.empty() && key.algorithm != token.algorithm)) return false;
  const DigestContext context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* of_key = nullptr;
  bool good = context && EVP_DigestVerifyInit(context.get(), &of_key, algorithm->digest(), nullptr, key.key.get()) == 1;
  // The padding is said in both cases; the salt of PS* is as long as the hash (RFC 7518, 3.5).
  good = good && EVP_PKEY_CTX_set_rsa_padding(of_key, algorithm->pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1;
  if (algorithm->pss) good = good && EVP_PKEY_CTX_set_rsa_pss_saltlen(of_key, RSA_PSS_SALTLEN_DIGEST) == 1;
  good = good && EVP_DigestVerify(context.get(), bytes_of(token.signature), token.signature.size(),
                                  bytes_of(token.signed_part), token.signed_part.size()) == 1;
  ERR_clear_error();  // a bad signature leaves an entry that would confuse TLS on this thread
  return good;
}

}  // namespace twinstep::azure
