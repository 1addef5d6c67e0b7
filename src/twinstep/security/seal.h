#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/base/secret.h"

/// Keeps secrets in the store so that who has the store alone cannot read them.
namespace twinstep::security {

/// 32 bytes of AES-256.
class SealKey {
 public:
  /// Base64 or hexadecimal text of 32 bytes. `setting` names where it comes from.
  /// Errors  kInvalid "config.store-key", with a command that makes a key and without any of the text.
  static Result<SealKey> parse(const Secret& text, std::string_view setting);

  const Secret& bytes() const { return bytes_; }
  /// First 8 hex digits of the SHA-256 of the bytes: names the key and tells nothing about it.
  const std::string& id() const { return id_; }

 private:
  SealKey(Secret bytes, std::string id) : bytes_(std::move(bytes)), id_(std::move(id)) {}
  Secret bytes_;
  std::string id_;
};

/// Seals and opens by AES-256-GCM with a random nonce. A sealed text is bound to its purpose and its row, so that it
/// opens nowhere else: "v1:<key id>:<base64 of nonce, ciphertext and tag>".
///
/// Threads  any method, any thread.
class Sealer {
 public:
  /// Seals with the first key; opens what any of them sealed. At least one.
  explicit Sealer(std::vector<SealKey> keys);

  const std::string& key_id() const { return keys_.front().id(); }
  Result<std::string> seal(std::string_view plain, std::string_view purpose, std::string_view row) const;
  /// Errors  kDenied "store.sealed" naming the id of the key that is needed; kCorrupt "store.sealed" when the text was
  ///         changed, or sealed for another purpose or row.
  Result<Secret> open(std::string_view sealed, std::string_view purpose, std::string_view row) const;
  /// Of a sealed text; empty for one that is none.
  static std::string_view key_id_of(std::string_view sealed);

 private:
  std::vector<SealKey> keys_;
};

/// `size` bytes from the operating system's generator by OpenSSL; throws std::runtime_error when there are none,
/// because nothing can be kept secret then.
std::string random_bytes(size_t size);
/// URL-safe base64 without padding (RFC 4648, 5).
std::string base64url(std::string_view bytes);

}  // namespace twinstep::security
