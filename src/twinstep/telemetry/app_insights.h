#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/http/client.h"
#include "twinstep/obs/event.h"
#include "twinstep/telemetry/courier.h"

namespace twinstep::telemetry {

/// Where Application Insights takes telemetry.
struct Ingestion {
  std::string key;       ///< instrumentation key, a GUID with dashes
  std::string endpoint;  ///< "https://westeurope-5.in.applicationinsights.azure.com", without a closing slash
};

/// APPLICATIONINSIGHTS_CONNECTION_STRING: names compare without case, none may be there twice; IngestionEndpoint, else
/// EndpointSuffix with Location, else the global one. A GUID alone is an instrumentation key, as in
/// APPINSIGHTS_INSTRUMENTATIONKEY. Errors  kInvalid "telemetry.connection-string", without the key.
/// Source  azure.md 4.
Result<Ingestion> parse_ingestion(std::string_view text);

/// May a redirect from one address to the other be followed? Envelopes carry the instrumentation key, which goes only
/// to the host that was configured and to Microsoft's ingestion hosts.
bool may_redirect(std::string_view from, std::string_view to);

/// Turns events into envelopes and posts them in batches.
///
/// Threads   line() any; deliver() one.
/// Source    azure.md 4: envelope, limits, statuses, redirects.
class AppInsights {
 public:
  /// `client` (without retries of its own) and `clock` outlive this. `instance` is the role instance: this host's name.
  AppInsights(Ingestion ingestion, std::string instance, http::Client& client, Clock& clock);

  /// The event's envelope, one line of JSON.
  std::string line(const obs::Event& event) const;
  Outcome deliver(const std::vector<std::string>& lines, const Call& call);
  /// Where the next batch goes to: changes with a redirect.
  const std::string& endpoint() const { return endpoint_; }

 private:
  Result<http::Response> post(const std::string& packed, const Call& call);
  std::string reason(const http::Response& answer) const;
  Outcome partly(const http::Response& answer, const std::vector<std::string>& lines) const;

  const Ingestion ingestion_;
  const std::string instance_;
  http::Client& client_;
  Clock& clock_;
  std::string endpoint_;
};

}  // namespace twinstep::telemetry
