#include "twinstep/azure/entra.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>

#include "twinstep/azure/answer.h"
#include "twinstep/azure/entra_answers.h"
#include "twinstep/base/encoding.h"

namespace twinstep::azure {
namespace {

constexpr Millis kTokenTimeout{30'000};
constexpr Millis kProbeTimeout{2'000};
constexpr size_t kMaxTokenFile = 64u << 10;
// Tries after 0, 2, 6, 14 and 30 s.
constexpr std::array kIdentityWaits{Millis{2'000}, Millis{4'000}, Millis{8'000}, Millis{16'000}};

tl::unexpected<Error> bad_setting(std::string_view why) {
  return fail(ErrorKind::kInvalid, "entra.bad-settings", fmt::format("Microsoft Entra ID: {}", why));
}

/// Secrets go to `url`: only over TLS, or to this machine.
bool trustworthy(std::string_view url) {
  if (url.find_first_of("?#@ ") != std::string_view::npos) return false;
  if (url.starts_with("https://")) return url.size() > 8;
  if (!url.starts_with("http://")) return false;
  url.remove_prefix(7);
  const std::string_view host = url.substr(0, url.starts_with('[') ? url.find(']') + 1 : url.find_first_of(":/"));
  return host == "localhost" || host == "127.0.0.1" || host == "[::1]";
}

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

Status check(EntraApplication& application) {
  const auto tenant_char = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  if (application.tenant.empty()) return bad_setting("the tenant is missing");
  if (!std::all_of(application.tenant.begin(), application.tenant.end(), tenant_char) ||
      application.tenant.front() == '.') {
    return bad_setting("the tenant must be a GUID or a domain");
  }
  if (application.client_id.empty()) return bad_setting("the client id is missing");
  if (application.audience.empty()) return bad_setting("the audience is missing");
  application.authority = without_slash(std::move(application.authority));
  if (!trustworthy(application.authority)) {
    return bad_setting("the authority must be an https:// address such as https://login.microsoftonline.com");
  }
  return {};
}

/// One exchange with the token endpoint; what proves the application differs.
class ApplicationTokens : public TokenSource {
 public:
  ApplicationTokens(EntraApplication application, http::Client& client, Clock& clock)
      : application_(std::move(application)), client_(client), clock_(clock) {}

  Result<AccessToken> token(const Call& call) override {
    TRY_ASSIGN(const Secret proof, this->proof());
    http::Request request;
    request.method = "POST";
    request.url = fmt::format("{}/{}/oauth2/v2.0/token", application_.authority, application_.tenant);
    request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}};
    request.body =
        fmt::format("grant_type=client_credentials&client_id={}&{}&scope={}", percent_encode(application_.client_id),
                    proof.reveal(), percent_encode(application_.audience + "/.default"));
    request.repeat = http::Repeat::kAlways;
    request.reads_only = true;
    request.operation = "get token";
    request.try_timeout = kTokenTimeout;
    auto answer = client_.send(request, call);
    if (!answer) return fail_within(std::move(answer), context());
    if (answer->status != 200) return fail(entra_error(*answer, context(), clock_.system_now()));
    return parse_token(*answer, context(), clock_);
  }

 protected:
  /// The part of the form that proves who asks, encoded.
  virtual Result<Secret> proof() const = 0;

  std::string context() const {
    return fmt::format("Microsoft Entra ID: token for application {} of tenant {}", application_.client_id,
                       application_.tenant);
  }

 private:
  const EntraApplication application_;
  http::Client& client_;
  Clock& clock_;
};

class ClientSecretTokens final : public ApplicationTokens {
 public:
  ClientSecretTokens(EntraApplication application, Secret secret, http::Client& client, Clock& clock)
      : ApplicationTokens(std::move(application), client, clock), secret_(std::move(secret)) {}

 private:
  Result<Secret> proof() const override { return Secret("client_secret=" + percent_encode(secret_.reveal())); }

  const Secret secret_;
};

class WorkloadIdentityTokens final : public ApplicationTokens {
 public:
  WorkloadIdentityTokens(EntraApplication application, std::string file, http::Client& client, Clock& clock)
      : ApplicationTokens(std::move(application), client, clock), file_(std::move(file)) {}

 private:
  Result<Secret> proof() const override {
    const auto bad = [&](std::string_view why) {
      return fail(ErrorKind::kInvalid, "entra.token-file",
                  fmt::format("{}: the token file {} {}", context(), file_, why));
    };
    std::ifstream in(file_, std::ios::binary);
    if (!in) return bad("cannot be opened; is workload identity enabled for this pod?");
    std::string text(kMaxTokenFile + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (in.bad()) return bad("cannot be read");
    text.resize(static_cast<size_t>(in.gcount()));
    if (text.size() > kMaxTokenFile) return bad("is too large for a token");
    while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos) text.pop_back();
    if (text.empty()) return bad("is empty");
    return Secret(
        "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=" +
        percent_encode(text));
  }

  const std::string file_;
};

class ManagedIdentityTokens final : public TokenSource {
 public:
  ManagedIdentityTokens(ManagedIdentity identity, http::Client& direct, Clock& clock)
      : identity_(std::move(identity)), direct_(direct), clock_(clock) {}

  Result<AccessToken> token(const Call& call) override {
    if (!at_endpoint()) TRY(probe(call));
    const http::Request request = token_request();
    for (size_t tries = 0;; ++tries) {
      auto answer = direct_.send(request, call);
      if (answer && answer->status == 200) return parse_token(*answer, kContext, clock_);
      const bool again =
          answer ? answer->status == 404 || answer->status == 410 || answer->status == 429 || answer->status >= 500
                 : answer.error().transient();
      Error error = answer ? managed_identity_error(*answer, kContext, clock_.system_now())
                           : std::move(answer).error().within(kContext);
      if (!again || tries == kIdentityWaits.size()) return fail(std::move(error));
      const Millis wait = std::max(kIdentityWaits[tries], error.retry_after.value_or(Millis{0}));
      if (call.deadline - clock_.steady_now() <= wait) return fail(std::move(error));
      if (!clock_.sleep_for(wait, call.stop)) {
        return fail(ErrorKind::kCancelled, "cancelled", fmt::format("{}: cancelled", kContext));
      }
    }
  }

 private:
  static constexpr std::string_view kContext = "managed identity: token";

  bool at_endpoint() const { return !identity_.endpoint.empty(); }

  std::string imds_path() const { return identity_.imds + "/metadata/identity/oauth2/token?api-version=2018-02-01"; }

  http::Request token_request() const {
    http::Request request;
    request.operation = "get token";
    request.try_timeout = kTokenTimeout;
    if (at_endpoint()) {
      const char joint = identity_.endpoint.find('?') == std::string::npos ? '?' : '&';
      request.url = fmt::format("{}{}api-version=2019-08-01", identity_.endpoint, joint);
      request.headers = {{"X-IDENTITY-HEADER", std::string(identity_.endpoint_header.reveal())}};
    } else {
      request.url = imds_path();
      request.headers = {{"Metadata", "true"}};
    }
    request.url += "&resource=" + percent_encode(identity_.audience);
    const auto add = [&](std::string_view name, const std::string& value) {
      if (!value.empty()) request.url += fmt::format("&{}={}", name, percent_encode(value));
    };
    add("client_id", identity_.client_id);
    add(at_endpoint() ? "principal_id" : "object_id", identity_.object_id);
    add(at_endpoint() ? "mi_res_id" : "msi_res_id", identity_.resource_id);
    return request;
  }

  /// Any answer proves that the service is there; without the Metadata header it is a quick refusal.
  Status probe(const Call& call) {
    if (seen_) return {};
    http::Request request;
    request.url = imds_path();
    request.operation = "find metadata service";
    request.try_timeout = kProbeTimeout;
    const auto answer = direct_.send(request, call);
    if (answer) {
      seen_ = true;
      return {};
    }
    if (answer.error().kind == ErrorKind::kCancelled) return fail(answer.error());
    return fail(ErrorKind::kUnavailable, "entra.no-metadata-service",
                fmt::format("{}: the metadata service {} does not answer ({}); a managed identity works on Azure only, "
                            "elsewhere use a client secret or workload identity",
                            kContext, identity_.imds, answer.error().what));
  }

  const ManagedIdentity identity_;
  http::Client& direct_;
  Clock& clock_;
  std::atomic<bool> seen_ = false;
};

}  // namespace

Result<std::unique_ptr<TokenSource>> make_client_secret_source(EntraApplication application, Secret client_secret,
                                                               http::Client& client, Clock& clock) {
  TRY(check(application));
  if (client_secret.empty()) return bad_setting("the client secret is missing");
  return std::make_unique<ClientSecretTokens>(std::move(application), std::move(client_secret), client, clock);
}

Result<std::unique_ptr<TokenSource>> make_workload_identity_source(EntraApplication application, std::string token_file,
                                                                   http::Client& client, Clock& clock) {
  TRY(check(application));
  if (token_file.empty()) return bad_setting("the path of the federated token file is missing");
  return std::make_unique<WorkloadIdentityTokens>(std::move(application), std::move(token_file), client, clock);
}

Result<std::unique_ptr<TokenSource>> make_managed_identity_source(ManagedIdentity identity, http::Client& direct,
                                                                  Clock& clock) {
  const auto given = [](const std::string& text) { return text.empty() ? 0 : 1; };
  if (given(identity.client_id) + given(identity.object_id) + given(identity.resource_id) > 1) {
    return bad_setting("a user-assigned identity is named by one of client id, object id and resource id");
  }
  if (identity.audience.empty()) return bad_setting("the audience is missing");
  if (identity.endpoint.empty() != identity.endpoint_header.empty()) {
    return bad_setting("the identity endpoint and its header value belong together");
  }
  identity.imds = without_slash(std::move(identity.imds));
  return std::make_unique<ManagedIdentityTokens>(std::move(identity), direct, clock);
}

}  // namespace twinstep::azure
