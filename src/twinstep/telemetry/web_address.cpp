#include "twinstep/telemetry/web_address.h"

#include <algorithm>

#include "twinstep/http/text.h"

namespace twinstep::telemetry {
namespace {

bool host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}
bool digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool WebAddress::loopback() const { return host == "localhost" || host == "[::1]" || host.starts_with("127."); }

std::string WebAddress::text() const {
  return fmt::format("{}://{}{}{}{}", scheme, host, port.empty() ? "" : ":", port, path);
}

Result<WebAddress> parse_web_address(std::string_view text) {
  const auto bad = [](std::string_view why) {
    return fail(ErrorKind::kInvalid, "telemetry.address", fmt::format("not a usable address: {}", why));
  };
  WebAddress out;
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return bad("it must begin with https://");
  for (char c : text.substr(0, colon)) out.scheme += http::lower(c);
  if (out.scheme != "https" && out.scheme != "http") return bad("it must begin with https://");
  std::string_view rest = text.substr(colon + 3);
  if (std::any_of(rest.begin(), rest.end(), [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; }))
    return bad("it holds a space or a control character");
  const size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  out.path = rest.substr(0, rest.find('#')).substr(std::min(end, rest.find('#')));
  const std::string_view place = rest.substr(0, end);
  if (place.find('@') != std::string_view::npos) return bad("it holds a user or a password");
  const size_t bracket = place.starts_with('[') ? place.find(']') : std::string_view::npos;
  const size_t port = place.find(':', bracket == std::string_view::npos ? 0 : bracket);
  for (char c : place.substr(0, port)) out.host += http::lower(c);
  if (port != std::string_view::npos) {
    out.port = place.substr(port + 1);
    if (out.port.empty() || out.port.size() > 5 || !std::all_of(out.port.begin(), out.port.end(), digit))
      return bad("its port is no number");
  }
  const bool six = bracket != std::string_view::npos && out.host.ends_with(']');
  if (out.host.empty() || (!six && !std::all_of(out.host.begin(), out.host.end(), host_character)))
    return bad("its host is no name");
  if (out.scheme == "http" && !out.loopback()) return bad("http reaches only this machine; write https");
  return out;
}

}  // namespace twinstep::telemetry
