#include "twinstep/azure/entra_answers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "twinstep/azure/answer.h"
#include "twinstep/base/time_format.h"
#include "twinstep/json/json.h"

namespace twinstep::azure {
namespace {

constexpr int64_t kLongestLife = 7 * 24 * 3600;  // seconds; more is not believed

std::optional<int64_t> number_of(const json::value* v) {
  if (!v) return std::nullopt;
  if (const auto* n = v->if_int64()) return *n;
  if (const auto* n = v->if_double()) {
    if (std::isfinite(*n) && std::abs(*n) < 1e15) return static_cast<int64_t>(*n);
    return std::nullopt;
  }
  const auto* text = v->if_string();
  if (!text) return std::nullopt;
  int64_t n = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), n);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return n;
}

/// Seconds until the token ends. The relative form is preferred: it does not care about our clock.
std::optional<int64_t> life_of(const json::object& o, SystemTime now) {
  if (const auto in = number_of(json::find(o, "expires_in"))) return in;
  const json::value* on = json::find(o, "expires_on");
  const int64_t today = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  if (const auto seconds = number_of(on)) return *seconds - today;
  const auto* text = on ? on->if_string() : nullptr;
  if (!text) return std::nullopt;
  auto when = parse_iso({text->data(), text->size()});
  if (!when) when = parse_http_date({text->data(), text->size()});
  if (!when) return std::nullopt;
  return std::chrono::floor<std::chrono::seconds>(*when).time_since_epoch().count() - today;
}

bool sendable(std::string_view token) {
  return !token.empty() && std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

/// A word such as "invalid_client" or a GUID; anything else stays unsaid.
std::string word(std::string_view text) {
  const bool good =
      text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
      });
  return good ? std::string(text) : std::string();
}

struct Refusal {
  std::string error;
  int64_t number = 0;  // AADSTS number, 0 = none
  std::string request_id;
};

Refusal read_refusal(const http::Response& response) {
  Refusal out;
  const auto parsed = json::parse(response.body, "the answer");
  const json::object* o = parsed ? parsed->if_object() : nullptr;
  if (!o) return out;
  out.error = word(json::string_or(*o, "error"));
  out.request_id = word(json::string_or(*o, "trace_id"));
  if (const auto* codes = json::array_at(*o, "error_codes"); codes && !codes->empty()) {
    out.number = std::max<int64_t>(0, number_of(&codes->front()).value_or(0));
  }
  return out;
}

struct Advice {
  int64_t number;
  std::string_view text;
};

constexpr std::array kAdvice{
    Advice{7000215, "the client secret is wrong; use the secret's value, not its id"},
    Advice{7000222, "the client secret has expired; create a new one for the application"},
    Advice{7000216, "the application needs a client secret or a federated token"},
    Advice{7000112, "the application is disabled in its tenant"},
    Advice{7000229, "the application has no service principal in this tenant; create one"},
    Advice{700016, "the application is not known in this tenant; check client id and tenant"},
    Advice{700038, "the client id is not an application id"},
    Advice{90002, "the tenant is not known; check its id and the authority of its cloud"},
    Advice{900021, "the tenant is not known; check its id"},
    Advice{900023, "the tenant is neither a GUID nor a domain"},
    Advice{70021,
           "no federated credential fits; compare its issuer, subject and audience with the service account's. A "
           "new one takes some seconds to be known"},
    Advice{700211, "no federated credential has the issuer of the token file; compare the cluster's issuer address"},
    Advice{700212,
           "no federated credential has the audience of the token file; it is usually api://AzureADTokenExchange"},
    Advice{700213, "no federated credential has the subject of the token file; compare namespace and service account"},
    Advice{700024,
           "the federated token is expired or not valid yet; check the clock and whether the token file is renewed"},
    Advice{700027, "the signature of the federated token is not accepted"},
    Advice{50027, "the federated token is not a valid JWT"},
    Advice{50013, "the signature of the federated token is not accepted; check the cluster's issuer"},
    Advice{500011, "the audience is not known in this tenant; check the cloud and the audience"},
    Advice{1002012, "the scope is not valid; the audience is a plain address such as https://iothubs.azure.net"},
    Advice{53003, "a conditional access policy forbids it; ask the tenant's administrator"},
};

std::string advice_for(const Refusal& refusal) {
  for (const Advice& a : kAdvice) {
    if (a.number == refusal.number) return std::string(a.text);
  }
  if (refusal.error == "invalid_client") return "check client id and secret";
  if (refusal.error == "unauthorized_client")
    return "check that the application exists in this tenant and may ask for tokens";
  if (refusal.error == "invalid_grant") return "check the federated credential";
  if (refusal.error == "invalid_scope") return "check the audience";
  return {};
}

ErrorKind kind_of(const Refusal& refusal, int status) {
  if (status == 429) return ErrorKind::kThrottled;
  if (status == 408) return ErrorKind::kTimeout;
  if (status >= 500 || refusal.error == "temporarily_unavailable" || refusal.error == "server_error") {
    return ErrorKind::kUnavailable;
  }
  if (status < 300) return ErrorKind::kCorrupt;
  if (refusal.error == "invalid_request" || refusal.error == "invalid_scope" || refusal.error == "invalid_resource" ||
      refusal.error == "unsupported_grant_type") {
    return ErrorKind::kInvalid;
  }
  return refusal.error.empty() && status != 401 && status != 403 ? ErrorKind::kInvalid : ErrorKind::kDenied;
}

Error refused(const http::Response& response, const Refusal& refusal, ErrorKind kind, std::string_view context,
              std::string_view advice, SystemTime now) {
  Error error;
  error.kind = kind;
  error.remote_status = response.status;
  error.remote_code = refusal.number > 0 ? fmt::format("AADSTS{}", refusal.number) : refusal.error;
  error.code = error.remote_code.empty() ? fmt::format("entra.http-{}", response.status) : "entra." + error.remote_code;
  error.request_id = refusal.request_id;
  error.retry_after = http::retry_after(response, now);
  error.what = fmt::format("{}: {}", context, response.status);
  if (refusal.number > 0) error.what += fmt::format(" AADSTS{}", refusal.number);
  if (!refusal.error.empty()) error.what += " " + refusal.error;
  if (!advice.empty()) error.what += fmt::format(": {}", advice);
  return error;
}

}  // namespace

Result<AccessToken> parse_token(const http::Response& response, std::string_view context, Clock& clock) {
  const auto bad = [&](std::string_view why) {
    return fail(ErrorKind::kCorrupt, "entra.bad-token",
                fmt::format("{}: the answer holds no usable token: {}", context, why));
  };
  const auto parsed = json::parse(response.body, "the answer");
  const json::object* o = parsed ? parsed->if_object() : nullptr;
  if (!o) return bad("it is not a JSON object");
  const std::string_view token = json::string_or(*o, "access_token");
  if (!sendable(token)) return bad("access_token is missing or malformed");
  std::string type(json::string_or(*o, "token_type", "Bearer"));
  std::transform(type.begin(), type.end(), type.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (type != "bearer") return bad("token_type is not Bearer");
  const auto life = life_of(*o, clock.system_now());
  if (!life) return bad("neither expires_in nor expires_on can be read");
  if (*life <= 0) return bad("it has expired already; check this machine's clock");
  const int64_t seconds = std::min(*life, kLongestLife);
  int64_t renew = seconds >= 7200 ? seconds / 2 : seconds - std::min<int64_t>(300, seconds / 4);
  if (const auto in = number_of(json::find(*o, "refresh_in")); in && *in > 0 && *in < seconds) renew = *in;
  const SteadyTime now = clock.steady_now();
  return AccessToken{Secret(std::string(token)), now + std::chrono::seconds{renew},
                     now + std::chrono::seconds{seconds}};
}

Error entra_error(const http::Response& response, std::string_view context, SystemTime now) {
  const Refusal refusal = read_refusal(response);
  std::string advice = advice_for(refusal);
  if (refusal.error.empty() && response.status < 500 && response.status != 429) {
    advice = "the answer is not one of a token endpoint; check the authority and a proxy on the way";
  }
  if (refusal.number == 700024 || refusal.number == 70021) {
    if (const auto skew = clock_skew(response, now); skew && std::abs(skew->count()) > 300) {
      advice += fmt::format("; this machine's clock is {} s {} theirs", std::abs(skew->count()),
                            skew->count() > 0 ? "ahead of" : "behind");
    }
  }
  return refused(response, refusal, kind_of(refusal, response.status), context, advice, now);
}

Error managed_identity_error(const http::Response& response, std::string_view context, SystemTime now) {
  const Refusal refusal = read_refusal(response);
  ErrorKind kind = kind_of(refusal, response.status);
  std::string_view advice;
  if (refusal.error == "invalid_resource") {
    advice = "the audience is not known";
  } else if (response.status == 400 || response.status == 401 || response.status == 403) {
    kind = ErrorKind::kDenied;
    advice =
        "no such identity here; assign a managed identity to this machine or workload, and check the client id of a "
        "user-assigned one";
  } else if (response.status == 404 || response.status == 410) {
    kind = ErrorKind::kUnavailable;
    advice = "the identity endpoint is being updated or absent";
  } else if (response.status >= 500) {
    advice = "the identity endpoint has trouble, or no identity is set up here";
  }
  return refused(response, refusal, kind, context, advice, now);
}

}  // namespace twinstep::azure
