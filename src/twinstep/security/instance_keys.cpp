#include "twinstep/security/instance_keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include "twinstep/base/encoding.h"
#include "twinstep/security/seal.h"

namespace twinstep::security {

std::string InstanceKeys::make(std::string_view key_id, std::string_view instance, bool operate) const {
  const char right = operate ? 'o' : 'r';
  // No part but the last can hold the line end between them.
  const std::string bound = fmt::format("instance\n{}\n{}\n{}", right, key_id, instance);
  return fmt::format("tsi_{}_{}_{}", right, key_id, base64url(hmac_sha256(secret_.reveal(), bound)));
}

std::optional<InstanceKeys::Grant> InstanceKeys::check(std::string_view text, std::string_view instance) const {
  constexpr size_t kHead = 6;  // "tsi_r_"
  const size_t end = text.find('_', kHead);
  if (!looks_like(text) || end == std::string_view::npos || (text[4] != 'r' && text[4] != 'o') || text[5] != '_')
    return {};
  Grant out{std::string(text.substr(kHead, end - kHead)), text[4] == 'o'};
  const std::string right = make(out.key_id, instance, out.operate);
  if (right.size() != text.size() || CRYPTO_memcmp(right.data(), text.data(), text.size()) != 0) return {};
  return out;
}

}  // namespace twinstep::security
