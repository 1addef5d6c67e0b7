#pragma once

#include <string>
#include <string_view>

#include "twinstep/base/result.h"

namespace twinstep {

std::string base64_encode(std::string_view bytes);
/// Strict: alphabet, length and padding must be right. Errors  kInvalid.
Result<std::string> base64_decode(std::string_view text);
std::string hex_encode(std::string_view bytes);  ///< lower case

/// Percent-encodes everything but A-Z a-z 0-9 - _ . ~ with upper-case hex: right for a path segment, a query value
/// and the `sr` of a SAS.
std::string percent_encode(std::string_view text);
/// `%XX` decoded; a broken escape stays as it is. `plus_is_space` for form bodies and query strings.
std::string percent_decode(std::string_view text, bool plus_is_space = false);

std::string hmac_sha256(std::string_view key, std::string_view text);  ///< 32 raw bytes
std::string sha256(std::string_view text);                             ///< 32 raw bytes

/// SHA-256 over a stream of pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::string_view bytes);
  std::string hex_digest();  ///< ends the hash; call once

 private:
  void* context_;
};

/// True when `text` is well-formed UTF-8.
bool is_utf8(std::string_view text);

}  // namespace twinstep
