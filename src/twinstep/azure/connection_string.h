#pragma once

#include <string>
#include <string_view>

#include "twinstep/base/result.h"
#include "twinstep/base/secret.h"

namespace twinstep::azure {

/// What an IoT Hub service connection string says. Storage connection strings: StorageAccount::parse (blob_client.h).
struct HubConnection {
  std::string host;      ///< "contoso.azure-devices.net"; a ":port" may follow
  std::string key_name;  ///< policy, e.g. "iothubowner"
  Secret key;            ///< base64
  Secret signature;      ///< a ready "SharedAccessSignature ..." token instead of the key

  /// Part names are compared without case. Device connection strings are refused: they hold no right to the registry.
  /// Errors  kInvalid "hub.bad-connection-string" naming the part that is unknown, missing or malformed and the nearest
  ///         known name; never a value.
  /// Source  azure.md 1.2
  static Result<HubConnection> parse(std::string_view text);
};

}  // namespace twinstep::azure
