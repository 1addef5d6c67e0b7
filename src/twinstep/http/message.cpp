#include <algorithm>

#include "twinstep/base/encoding.h"
#include "twinstep/http/client.h"
#include "twinstep/http/server.h"
#include "twinstep/http/text.h"

namespace twinstep::http {
namespace {

std::string_view first_of(const std::vector<Header>& headers, std::string_view name) {
  for (const Header& header : headers)
    if (same_name(header.name, name)) return header.value;
  return {};
}

}  // namespace

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Status still_ours(const Request& request, const Call& call, std::string_view what) {
  const bool changes = !request.reads_only && request.method != "GET" && request.method != "HEAD";
  if (!changes || !call.guard || call.guard->holds()) return {};
  return fail(ErrorKind::kCancelled, "call.not-ours",
              fmt::format("{}: not sent, because this process was paused or cut off from the store for so long that "
                          "another one may be at work on it; begin again when that one has ended",
                          what));
}

std::string_view Response::header(std::string_view name) const { return first_of(headers, name); }

std::string_view ServerRequest::header(std::string_view name) const { return first_of(headers, name); }

std::string ServerRequest::query_value(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    const size_t equals = pair.find('=');
    if (!same_name(percent_decode(pair.substr(0, equals), true), name)) continue;
    return equals == std::string_view::npos ? std::string{} : percent_decode(pair.substr(equals + 1), true);
  }
  return {};
}

}  // namespace twinstep::http
