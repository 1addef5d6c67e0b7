#pragma once

#include <fmt/format.h>

#include "sims/hub_model.h"
#include "twinstep/http/server.h"

/// Small parts of requests and answers that the files of the simulated hub share.
namespace twinstep::sims {

inline http::ServerResponse ok(const json::value& body) {
  http::ServerResponse r;
  r.body = json::write(body);
  return r;
}

inline HubError device_not_found(const std::string& id) {
  return {404, "DeviceNotFound", 404001, fmt::format("The device '{}' is not registered.", id)};
}
inline HubError precondition(std::string text) { return {412, "PreconditionFailed", 412001, std::move(text)}; }

/// `"abc"` and `abc` are the same; `"*"` is `*`.
inline std::string bare_etag(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return std::string(text);
}

inline Answer<json::object> body_object(const http::ServerRequest& r) {
  auto parsed = json::parse(r.body, "request body");
  if (!parsed || !parsed->is_object())
    return tl::unexpected(HubError{400, "IotHubFormatError", 400006, "The request body is not a JSON object."});
  return std::move(parsed->as_object());
}

}  // namespace twinstep::sims
