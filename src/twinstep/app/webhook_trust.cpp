#include "twinstep/app/webhook_trust.h"

#include "twinstep/http/client.h"

namespace twinstep::app {
namespace {

/// A verifier and what it asks by, in the order in which they depend on each other.
class OwningVerifier final : public azure::TokenVerifier {
 public:
  OwningVerifier(azure::EntraTrust trust, const std::string& ca_file, Clock& clock)
      : bare_(http::make_transport({.ca_file = ca_file, .proxy = {}, .user_agent = {}})),
        logged_(http::with_log(*bare_, clock)),
        verifier_(azure::make_entra_verifier(std::move(trust), *logged_, clock)) {}
  Result<azure::VerifiedToken> verify(std::string_view jwt, const Call& call) override {
    return verifier_->verify(jwt, call);
  }

 private:
  const std::unique_ptr<http::Client> bare_;
  const std::unique_ptr<http::Client> logged_;
  const std::unique_ptr<azure::TokenVerifier> verifier_;
};

}  // namespace

Result<std::shared_ptr<azure::TokenVerifier>> open_webhook_trust(const config::Config& config, Clock& clock) {
  const auto& wanted = config.serve.webhook.entra;
  if (!wanted) return std::shared_ptr<azure::TokenVerifier>();
  azure::EntraTrust trust;
  trust.tenant = wanted->tenant;
  trust.audiences = wanted->audiences;
  trust.application = wanted->application;
  trust.authority = wanted->authority;
  if (auto good = azure::check(trust); !good) return fail_within(std::move(good), "serve.webhook.entra");
  return std::shared_ptr<azure::TokenVerifier>(
      std::make_shared<OwningVerifier>(std::move(trust), config.ca_file, clock));
}

}  // namespace twinstep::app
