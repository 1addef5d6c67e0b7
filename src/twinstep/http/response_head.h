#pragma once

#include <string>
#include <string_view>

#include "twinstep/http/server.h"

namespace twinstep::http {

/// What the response head depends on besides the response itself.
struct HeadFacts {
  std::string_view reason;  ///< "Not Found"
  std::string_view date;    ///< HTTP date of now; a Date that the handler gave wins
  bool head_request = false;
  bool keep_alive = true;
  bool http_1_0 = false;
  bool security_headers = false;  ///< those of ServerOptions; what the handler set wins
  bool tls = false;
};

/// Status line and headers with the empty line. Framing belongs to the server: Content-Length, Connection and
/// Transfer-Encoding of the handler are dropped, except the Content-Length of an answer to HEAD. Line breaks in values
/// become spaces and malformed names are left out, so that echoed input cannot add headers.
std::string response_head(const ServerResponse& response, const HeadFacts& facts);

/// False for the answers that never have a body: 1xx, 204, 304.
bool may_have_body(int status);

/// A problem+json answer of the server itself.
ServerResponse problem(int status, std::string_view title, std::string_view detail);

}  // namespace twinstep::http
