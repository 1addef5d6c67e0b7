#include "twinstep/base/redact.h"

#include <algorithm>

#include "twinstep/base/encoding.h"

namespace twinstep {
namespace {

constexpr std::string_view kHidden = "***";
constexpr size_t kLongest = 300;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool same_letter(char a, char b) { return (a | 0x20) == (b | 0x20); }

/// How many characters in front of something to hide `rest` begins with; 0 = it does not.
size_t key_begins(std::string_view rest, char before) {
  for (const std::string_view prefix : {"tsk_", "tsi_"})
    if (rest.starts_with(prefix)) return prefix.size();
  constexpr std::string_view kCode = "code=";
  if (rest.size() < kCode.size() || is_word(before)) return 0;
  return std::equal(kCode.begin(), kCode.end() - 1, rest.begin(), same_letter) && rest[kCode.size() - 1] == '='
             ? kCode.size()
             : 0;
}

bool holds_key(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i)
    if (key_begins(text.substr(i), i == 0 ? ' ' : text[i - 1]) > 0) return true;
  return false;
}

/// What is left when everything is decoded, also the escapes that decoding makes. In one pass: these texts come from
/// anybody, and a text of escapes within escapes must cost no more than any other one of its length.
std::string decoded_through(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    out += c;
    while (out.size() >= 3 && out[out.size() - 3] == '%') {
      const std::string inner = percent_decode(std::string_view(out).substr(out.size() - 3));
      if (inner.size() != 1) break;
      out.replace(out.size() - 3, 3, inner);
    }
  }
  return out;
}

/// What a value of `code` may consist of: everything up to what ends a parameter or a quotation.
bool ends_value(char c) { return c == '&' || c == '\'' || c == '"' || c == ' ' || c == ';' || c == '#' || c == '\n'; }

}  // namespace

std::string without_keys(std::string_view text) {
  std::string hidden_inside;
  std::string_view plain = text;
  // Further decoding takes nothing from a key that an escape hid: none of the characters that it begins with could
  // be the end of an escape.
  if (text.find('%') != std::string_view::npos) {
    if (const std::string decoded = decoded_through(text); decoded.size() != text.size() && holds_key(decoded)) {
      hidden_inside = kHidden;
      plain = text.substr(0, text.find('%'));
    }
  }
  std::string out;
  for (size_t i = 0; i < plain.size();) {
    const size_t shown = key_begins(plain.substr(i), i == 0 ? ' ' : plain[i - 1]);
    if (shown == 0) {
      out += plain[i++];
      continue;
    }
    const bool code = plain[i + shown - 1] == '=';
    out += plain.substr(i, shown);
    out += kHidden;
    i += shown;
    if (code && i < plain.size() && (plain[i] == '"' || plain[i] == '\'')) ++i;
    while (i < plain.size() && (code ? !ends_value(plain[i]) : is_word(plain[i]))) ++i;
  }
  return out + hidden_inside;
}

std::string for_log(std::string_view text) {
  std::string out = without_keys(text).substr(0, kLongest);
  for (char& c : out)
    if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') c = '?';
  return out;
}

}  // namespace twinstep
