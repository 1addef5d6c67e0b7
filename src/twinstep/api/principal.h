#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/http/server.h"
#include "twinstep/security/rights.h"

/// Who asks the daemon for something, and what they may do.
namespace twinstep::api {

using security::DeviceAction;
using security::Scope;
using security::to_string;

/// The caller of one request, as the gate knows it. A plain value.
struct Principal {
  std::string name;    ///< for history and audit: a key's name, "entra/APPLICATION", or "this machine"
  std::string key_id;  ///< of the key that was shown, or whose start made the address; empty when none was needed
  std::vector<Scope> scopes;
  std::vector<std::string> hubs;  ///< names of hubs, compared without case; empty = every hub
  std::vector<std::string> ids;   ///< patterns of device ids, '*' any text, '?' one character; empty = every id
  std::vector<DeviceAction> actions;
  /// Charges the key's rate for what one request asks for besides the first thing; empty = it has no rate.
  std::function<void(size_t more)> charge{};

  bool has(Scope scope) const;
  /// May do this to that device. A key that may not, is told nothing of the device.
  bool may(DeviceAction action, std::string_view hub, std::string_view device) const;

  /// Who needs no key: everything is allowed.
  static Principal everything(std::string name);
};
using PrincipalPtr = std::shared_ptr<const Principal>;

/// Asks a caller for credentials.
///
/// Threads   any.
/// Blocking  at most a few milliseconds; where a store or an issuer has to be asked, until the answer or 5 s.
class Gate {
 public:
  virtual ~Gate() = default;
  /// Who asks, when they hold `scope`; otherwise the answer that they get: 401 for no or unknown credentials, 403 for
  /// those that lack the scope, 429 with Retry-After for a key that asks too often, 503 when that cannot be told now.
  virtual tl::expected<PrincipalPtr, http::ServerResponse> admit(const http::ServerRequest& request, Scope scope) = 0;
  /// What came of a request that was admitted.
  virtual void answered(const http::ServerRequest&, const Principal&, Scope, int /*status*/) {}
};

/// Lets everybody in as Principal::everything(name): for listeners that only this machine reaches, and for tests.
std::unique_ptr<Gate> open_gate(std::string name);

}  // namespace twinstep::api
