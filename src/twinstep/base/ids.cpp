#include "twinstep/base/ids.h"

#include <array>
#include <cstdint>

namespace twinstep {
namespace {

constexpr std::array<bool, 256> legal_table() {
  std::array<bool, 256> legal{};
  for (char c = '0'; c <= '9'; ++c) legal[static_cast<uint8_t>(c)] = true;
  for (char c = 'A'; c <= 'Z'; ++c) legal[static_cast<uint8_t>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) legal[static_cast<uint8_t>(c)] = true;
  for (char c : std::string_view("-:.+%_#*?!(),=@;$'")) legal[static_cast<uint8_t>(c)] = true;
  return legal;
}
constexpr auto kLegal = legal_table();

constexpr std::array<bool, 256> upper_hex_table() {
  std::array<bool, 256> hex{};
  for (char c = '0'; c <= '9'; ++c) hex[static_cast<uint8_t>(c)] = true;
  for (char c = 'A'; c <= 'F'; ++c) hex[static_cast<uint8_t>(c)] = true;
  return hex;
}
constexpr auto kUpperHex = upper_hex_table();

constexpr size_t kDevEuiDigits = 16;

}  // namespace

bool is_legal_hub_device_id(std::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  for (char c : id)
    if (!kLegal[static_cast<uint8_t>(c)]) return false;
  return true;
}

std::string_view canonical_device_id(std::string_view id, std::string& out) {
  // No more than one separator stands between two digits.
  if (id.size() < kDevEuiDigits || id.size() >= 2 * kDevEuiDigits) {
    out.assign(id);
    return out;
  }
  if (id.size() == kDevEuiDigits) {
    bool canonical = true;
    for (char c : id) canonical &= kUpperHex[static_cast<uint8_t>(c)];
    if (canonical) {
      out.assign(id);
      return out;
    }
  }
  out.clear();
  bool after_separator = true;  // a leading, trailing or doubled separator is no way to write a DevEUI
  for (char c : id) {
    if (c >= '0' && c <= '9') {
      out.push_back(c);
    } else if (c >= 'A' && c <= 'F') {
      out.push_back(c);
    } else if (c >= 'a' && c <= 'f') {
      out.push_back(static_cast<char>(c - 'a' + 'A'));
    } else if ((c == '-' || c == ':' || c == '.' || c == '_' || c == ' ') && !after_separator) {
      after_separator = true;
      continue;
    } else {
      out.assign(id);
      return out;
    }
    after_separator = false;
    if (out.size() > kDevEuiDigits) break;
  }
  if (out.size() != kDevEuiDigits || after_separator) out.assign(id);
  return out;
}

std::string canonical_device_id(std::string_view id) {
  std::string out;
  canonical_device_id(id, out);
  return out;
}

}  // namespace twinstep
