#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"

/// What a key allows. Pure values and functions.
namespace twinstep::security {

/// What a route demands. A key holds some of them; none implies another.
enum class Scope {
  kEvents,   ///< deliver events to the webhook
  kFacade,   ///< create, read and delete single devices of the hubs and ids that the key names
  kRead,     ///< look at links, runs, tasks, devices, figures
  kOperate,  ///< start, approve, reject, retry and cancel
  kAdmin,    ///< keys, log level
};
std::string_view to_string(Scope scope);
/// kInvalid "key.scope" with the names that there are.
Result<Scope> scope_of(std::string_view text);
const std::vector<Scope>& all_scopes();

/// What a façade key may do to a device.
enum class DeviceAction { kCreate, kDelete, kRead };
std::string_view to_string(DeviceAction action);
Result<DeviceAction> action_of(std::string_view text);  ///< kInvalid "key.action"
const std::vector<DeviceAction>& all_actions();

/// "10/s", "600/m", "1000/h", at most 1,000,000 a second; requests per second. Errors  kInvalid "key.rate".
Result<double> parse_rate(std::string_view text);

struct Rights {
  std::vector<Scope> scopes;
  std::vector<std::string> hubs;      ///< names of hubs, compared without case; empty = every hub
  std::vector<std::string> ids;       ///< patterns of device ids, '*' any text, '?' one character; empty = every id
  std::vector<DeviceAction> actions;  ///< of Scope::kFacade
  std::string rate;                   ///< as parse_rate() reads it; empty = no limit

  bool has(Scope scope) const;
};

/// Says what is wrong with rights that somebody asks for: no scope, limits on devices without Scope::kFacade, a façade
/// key that may do nothing. Errors  kInvalid "key.*".
Status check(const Rights& rights);

}  // namespace twinstep::security
