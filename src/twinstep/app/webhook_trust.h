#pragma once

#include <memory>

#include "twinstep/azure/token_verifier.h"
#include "twinstep/config/config.h"

namespace twinstep::app {

/// Who believes Event Grid's Entra ID tokens as serve.webhook.entra says, with the client that fetches the tenant's
/// keys; null without that section. Contacts nothing. `clock` outlives it. Errors  kInvalid "token.bad-settings".
Result<std::shared_ptr<azure::TokenVerifier>> open_webhook_trust(const config::Config& config, Clock& clock);

}  // namespace twinstep::app
