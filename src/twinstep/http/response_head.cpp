#include "twinstep/http/response_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "twinstep/http/text.h"

namespace twinstep::http {
namespace {

bool is_token(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || kMarks.find(c) != std::string_view::npos;
  });
}

void append_header(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ");
  for (char c : value) head += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  head += "\r\n";
}

/// Answers are for programs: no browser shall guess a type, keep a copy, load anything, show them in a frame, or tell
/// the next site where it came from. A page of ours says what it needs by setting the header itself.
void append_security_headers(std::string& head, const ServerResponse& response, bool tls) {
  struct Default {
    std::string_view name;
    std::string_view value;
  };
  static constexpr std::array kAlways{Default{"X-Content-Type-Options", "nosniff"},
                                      Default{"Cache-Control", "no-store"},
                                      Default{"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
                                      Default{"Referrer-Policy", "no-referrer"}};
  const auto unless_set = [&](const Default& one) {
    const bool set = std::any_of(response.headers.begin(), response.headers.end(),
                                 [&](const Header& header) { return same_name(header.name, one.name); });
    if (!set) append_header(head, one.name, one.value);
  };
  for (const Default& one : kAlways) unless_set(one);
  if (tls) unless_set({"Strict-Transport-Security", "max-age=31536000"});  // a year; ignored when it comes without TLS
}

}  // namespace

bool may_have_body(int status) { return status >= 200 && status != 204 && status != 304; }

std::string response_head(const ServerResponse& response, const HeadFacts& facts) {
  std::string head;
  head.reserve(256);
  fmt::format_to(std::back_inserter(head), "HTTP/1.1 {} {}\r\n", response.status, facts.reason);
  bool has_date = false;
  bool has_length = false;
  for (const Header& header : response.headers) {
    if (!is_token(header.name)) continue;
    if (same_name(header.name, "Connection") || same_name(header.name, "Transfer-Encoding")) continue;
    if (same_name(header.name, "Content-Length")) {
      // Only an answer to HEAD may speak of a body that the handler did not have to make.
      if (!facts.head_request || !response.body.empty() || has_length) continue;
      has_length = true;
    }
    has_date = has_date || same_name(header.name, "Date");
    append_header(head, header.name, header.value);
  }
  if (facts.security_headers) append_security_headers(head, response, facts.tls);
  if (!has_date) append_header(head, "Date", facts.date);
  if (!has_length && may_have_body(response.status))
    append_header(head, "Content-Length", std::to_string(response.body.size()));
  if (!facts.keep_alive)
    append_header(head, "Connection", "close");
  else if (facts.http_1_0)
    append_header(head, "Connection", "keep-alive");
  head += "\r\n";
  return head;
}

ServerResponse problem(int status, std::string_view title, std::string_view detail) {
  ServerResponse response;
  response.status = status;
  response.headers.push_back({"Content-Type", "application/problem+json"});
  response.body =
      fmt::format(R"({{"type":"about:blank","title":"{}","status":{},"detail":"{}"}})", title, status, detail);
  return response;
}

}  // namespace twinstep::http
