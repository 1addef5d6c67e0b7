#pragma once

#include <string>
#include <string_view>

#include "twinstep/base/result.h"

namespace twinstep::telemetry {

/// The parts of an http or https address that decide who is talked to.
struct WebAddress {
  std::string scheme;  ///< "http", "https"
  std::string host;    ///< lower case, an IPv6 address in brackets
  std::string port;    ///< as written, may be empty
  std::string path;    ///< with query, may be empty

  bool loopback() const;
  std::string text() const;
};

/// Takes https, and http where nobody but this machine listens. Errors  kInvalid "telemetry.address"; the text holds no
/// part of the address behind the host, which is often a secret.
Result<WebAddress> parse_web_address(std::string_view text);

}  // namespace twinstep::telemetry
