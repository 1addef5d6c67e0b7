#include "twinstep/azure/token_verifier.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>

#include "twinstep/azure/jwt.h"
#include "twinstep/azure/key_ring.h"
#include "twinstep/base/encoding.h"
#include "twinstep/http/text.h"

namespace twinstep::azure {
namespace {

constexpr int64_t kSkew = 300;                 // clocks differ
constexpr int64_t kLastSecond = 253402300799;  // of the year 9999
constexpr size_t kMaxRemembered = 64;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = http::lower(c);
  return out;
}

bool is_guid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = http::lower(text[i]);
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

/// GUIDs without case, everything else as it is.
bool same_id(std::string_view a, std::string_view b) {
  return is_guid(a) && is_guid(b) ? lower(a) == lower(b) : a == b;
}

std::string host_of(std::string_view authority) { return lower(authority.substr(std::string_view("https://").size())); }

/// v1 tokens have an issuer of their own, also where the authority is another one.
/// Source  the issuers that azure-sdk-for-java knows (AADJwtIssuerValidator).
std::string_view old_issuer(std::string_view host) {
  const bool china = host == "login.partner.microsoftonline.cn" || host == "login.chinacloudapi.cn";
  return china ? "https://sts.chinacloudapi.cn" : "https://sts.windows.net";
}

tl::unexpected<Error> denied(const char* code, std::string what) {
  return fail(ErrorKind::kDenied, code, std::move(what));
}

/// From when until when, in seconds.
struct Span {
  int64_t begin = 0, end = 0;
};

Result<Span> span_of(const json::object& claims) {
  const auto read = [&](const char* name) -> std::optional<int64_t> {
    const json::value* v = json::find(claims, name);
    if (!v || !v->is_int64() || v->as_int64() < 0 || v->as_int64() > kLastSecond) return std::nullopt;
    return v->as_int64();
  };
  const auto end = read("exp");
  if (!end) return denied("token.malformed", "the token is malformed: exp is not a time in whole seconds");
  const auto begin = claims.contains("nbf") ? read("nbf") : 0;
  if (!begin) return denied("token.malformed", "the token is malformed: nbf is not a time in whole seconds");
  return Span{*begin, *end};
}

class EntraVerifier final : public TokenVerifier {
 public:
  EntraVerifier(EntraTrust trust, http::Client& client, Clock& clock)
      : trust_(std::move(trust)),
        tenant_(lower(trust_.tenant)),
        old_issuer_(fmt::format("{}/{}/", old_issuer(host_of(trust_.authority)), tenant_)),
        new_issuer_(fmt::format("https://{}/{}/v2.0", host_of(trust_.authority), tenant_)),
        clock_(clock),
        ring_({new_issuer_ + "/.well-known/openid-configuration", new_issuer_,
               trust_.keys_host.empty() ? host_of(trust_.authority) : trust_.keys_host},
              client, clock) {}

  Result<VerifiedToken> verify(std::string_view jwt, const Call& call) override {
    const std::string digest = sha256(jwt);
    if (const auto known = remembered(digest)) {
      TRY_ASSIGN(const KeyRing::Found key, ring_.find(known->key_id, call));
      if (key.edition == known->edition) {
        TRY(in_time(known->span));
        return known->token;
      }
    }
    TRY_ASSIGN(const Jwt token, parse_jwt(jwt));
    const auto& allowed = trust_.algorithms;
    if (std::find(allowed.begin(), allowed.end(), token.algorithm) == allowed.end())
      return denied("token.algorithm", "the token is signed by an algorithm that is not allowed");
    // What the token says is looked at before its key is looked for, so that only those who know tenant and audience
    // can make us fetch keys. None of it is believed until the signature is good.
    TRY_ASSIGN(Known good, read(token.claims));
    TRY_ASSIGN(const KeyRing::Found found, ring_.find(token.key_id, call));
    if (!signature_is_good(token, found.key))
      return denied("token.bad-signature", "the token's signature is not that of its key");
    good.key_id = token.key_id;
    good.edition = found.edition;
    TRY(in_time(good.span));
    remember(digest, good);
    return good.token;
  }

 private:
  struct Known {
    VerifiedToken token;
    Span span;
    std::string key_id;
    uint64_t edition = 0;
  };

  Result<Known> read(const json::object& claims) const {
    const auto text = [&](const char* name) { return json::string_or(claims, name); };
    const std::string_view version = text("ver");
    const bool old = version == "1.0";
    if (!old && version != "2.0") return denied("token.malformed", "the token is malformed: ver is not 1.0 or 2.0");
    if (text("iss") != (old ? old_issuer_ : new_issuer_))
      return denied("token.issuer", fmt::format("the token was not issued by tenant {}", tenant_));
    if (!same_id(text("tid"), tenant_)) return denied("token.tenant", fmt::format("tid is not tenant {}", tenant_));
    const bool for_us = std::any_of(trust_.audiences.begin(), trust_.audiences.end(),
                                    [&](const auto& audience) { return same_id(text("aud"), audience); });
    if (!for_us)
      return denied("token.audience", "the token was made for another audience than serve.webhook.entra.audience");
    const std::string_view application = text(old ? "appid" : "azp");
    if (!same_id(application, trust_.application))
      return denied("token.application", fmt::format("the token is not one of application {}", trust_.application));
    Known out;
    TRY_ASSIGN(out.span, span_of(claims));
    out.token.app_id = lower(application);
    out.token.tenant = tenant_;
    out.token.subject = text("sub");
    out.token.expires = SystemTime{std::chrono::seconds{out.span.end}};
    return out;
  }

  Status in_time(const Span& span) const {
    const int64_t now = std::chrono::floor<std::chrono::seconds>(clock_.system_now()).time_since_epoch().count();
    if (now >= span.end + kSkew)
      return fail(
          ErrorKind::kUnavailable, "token.expired",
          fmt::format("the token expired {} s ago; if every token does, check this machine's clock", now - span.end));
    if (now < span.begin - kSkew)
      return fail(
          ErrorKind::kUnavailable, "token.not-yet-valid",
          fmt::format("the token is not valid before {} s from now; check this machine's clock", span.begin - now));
    return {};
  }

  std::optional<Known> remembered(const std::string& digest) const {
    std::scoped_lock lock(mutex_);
    const auto found = remembered_.find(digest);
    if (found == remembered_.end()) return std::nullopt;
    return found->second;
  }

  void remember(const std::string& digest, const Known& known) {
    std::scoped_lock lock(mutex_);
    if (remembered_.size() >= kMaxRemembered) remembered_.clear();
    remembered_[digest] = known;
  }

  const EntraTrust trust_;
  const std::string tenant_, old_issuer_, new_issuer_;
  Clock& clock_;
  KeyRing ring_;
  mutable std::mutex mutex_;  // guards all below
  // Event Grid sends one token for a day with every delivery: its signature is checked once. By SHA-256 of the token.
  std::map<std::string, Known> remembered_;
};

}  // namespace

Status check(const EntraTrust& trust) {
  const auto bad = [](std::string_view why) {
    return fail(ErrorKind::kInvalid, "token.bad-settings", std::string(why));
  };
  if (!is_guid(trust.tenant)) return bad("tenant must be the tenant's GUID: its name is not a part of the issuer's");
  if (trust.audiences.empty()) return bad("audience is missing: the id or App ID URI of the webhook's application");
  for (const std::string& audience : trust.audiences)
    if (audience.empty()) return bad("audience is empty");
  if (!is_guid(trust.application)) return bad("application must be the GUID of the application that sends the events");
  const std::string_view authority = trust.authority;
  if (!authority.starts_with("https://") || authority.size() <= 8 ||
      authority.find_first_of("/?#@\\ ", 8) != std::string_view::npos)
    return bad("authority must be https:// and a host, such as https://login.microsoftonline.com");
  if (trust.algorithms.empty() ||
      !std::all_of(trust.algorithms.begin(), trust.algorithms.end(), [](const auto& a) { return is_rsa_algorithm(a); }))
    return bad("algorithms must be of RS256, RS384, RS512, PS256, PS384 and PS512");
  return {};
}

std::unique_ptr<TokenVerifier> make_entra_verifier(EntraTrust trust, http::Client& client, Clock& clock) {
  if (const auto good = check(trust); !good) throw std::invalid_argument(good.error().what);
  return std::make_unique<EntraVerifier>(std::move(trust), client, clock);
}

}  // namespace twinstep::azure
