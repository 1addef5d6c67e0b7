#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "twinstep/base/result.h"
#include "twinstep/base/secret.h"
#include "twinstep/config/config.h"

/// The single values of a configuration, read from text. The same rules hold for a file, the environment and a flag.
/// Threads: pure functions. Errors: kInvalid with codes "config.*"; callers put the place of the value in front.
namespace twinstep::config {

/// The value of an environment variable, or empty when it is not set.
using EnvironmentLookup = std::function<std::optional<std::string>(std::string_view name)>;

/// Names of hubs, links and settings compare without ASCII case.
bool same_name(std::string_view a, std::string_view b);

/// "10%" (0 to 100) or a count of devices such as "500".
/// Errors  "config.bad-limit".
Result<Limit> parse_limit(std::string_view text);

/// Text as it stands, or what "env:NAME" and "file:/path" refer to; one line end closing a file is dropped.
/// Blocking: reads the file. Errors  "config.secret-missing", naming the reference and never its value.
Result<Secret> resolve_secret(std::string_view text, const EnvironmentLookup& environment);

/// Where to listen: "127.0.0.1:8080", "[::1]:0", "localhost:8080". Errors  "config.bad-address".
struct ListenAddress {
  std::string address;  ///< without brackets
  uint16_t port = 0;    ///< 0 = any free one
  bool loopback() const;
};
Result<ListenAddress> parse_listen(std::string_view text);
/// Says whether a store is named in one of the forms that there are.
/// Errors  "config.store", without the text: it may hold a password.
Status check_store(const Secret& store);

/// The store for people: a PostgreSQL URI without its password.
std::string store_text(const Secret& store);

/// The host of an IoT Hub connection string that has HostName, SharedAccessKeyName and SharedAccessKey.
/// Errors  "config.bad-connection-string", naming the part that is missing.
Result<std::string> hub_host(const Secret& connection_string);

}  // namespace twinstep::config
