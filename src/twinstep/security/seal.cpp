#include "twinstep/security/seal.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <memory>
#include <stdexcept>

#include "twinstep/base/encoding.h"
#include "twinstep/base/freed.h"

namespace twinstep::security {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr std::string_view kVersion = "v1:";
constexpr size_t kIdDigits = 8;

using Context = std::unique_ptr<EVP_CIPHER_CTX, Freed<EVP_CIPHER_CTX_free>>;

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

[[noreturn]] void broken(const char* what) { throw std::runtime_error(std::string("OpenSSL: ") + what); }

std::string bound_to(std::string_view purpose, std::string_view row) {
  std::string out(purpose);
  out += '\0';
  return out.append(row);
}

std::string unhex(std::string_view text) {
  std::string out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    int byte = 0;
    for (const char c : text.substr(i, 2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return {};
      byte = byte * 16 + digit;
    }
    out += static_cast<char>(byte);
  }
  return out;
}

}  // namespace

std::string random_bytes(size_t size) {
  std::string out(size, '\0');
  if (RAND_bytes(bytes_of(out), static_cast<int>(size)) != 1) broken("no random bytes");
  return out;
}

std::string base64url(std::string_view bytes) {
  std::string out = base64_encode(bytes);
  while (out.ends_with('=')) out.pop_back();
  for (char& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

Result<SealKey> SealKey::parse(const Secret& text, std::string_view setting) {
  const std::string_view given = text.reveal();
  std::string bytes;
  if (given.size() == 2 * kKeyBytes)
    bytes = unhex(given);
  else if (auto decoded = base64_decode(given))
    bytes = std::move(*decoded);
  if (bytes.size() != kKeyBytes)
    return fail(ErrorKind::kInvalid, "config.store-key",
                fmt::format("{} must be 32 bytes as base64 or hexadecimal text; `openssl rand -base64 32` makes such a "
                            "key",
                            setting));
  std::string id = hex_encode(sha256(bytes)).substr(0, kIdDigits);
  return SealKey(Secret(std::move(bytes)), std::move(id));
}

Sealer::Sealer(std::vector<SealKey> keys) : keys_(std::move(keys)) {
  if (keys_.empty()) throw std::logic_error("a sealer needs a key");
}

Result<std::string> Sealer::seal(std::string_view plain, std::string_view purpose, std::string_view row) const {
  const std::string nonce = random_bytes(kNonceBytes);
  const std::string bound = bound_to(purpose, row);
  std::string sealed(plain.size(), '\0');
  std::string tag(kTagBytes, '\0');
  const Context context(EVP_CIPHER_CTX_new());
  int size = 0;
  if (!context || EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr,
                                     bytes_of(keys_.front().bytes().reveal()), bytes_of(nonce)) != 1)
    broken("AES-256-GCM cannot begin");
  if (EVP_EncryptUpdate(context.get(), nullptr, &size, bytes_of(bound), static_cast<int>(bound.size())) != 1 ||
      EVP_EncryptUpdate(context.get(), bytes_of(sealed), &size, bytes_of(plain), static_cast<int>(plain.size())) != 1)
    broken("AES-256-GCM cannot seal");
  unsigned char none[EVP_MAX_BLOCK_LENGTH];
  if (EVP_EncryptFinal_ex(context.get(), none, &size) != 1 ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, static_cast<int>(kTagBytes), tag.data()) != 1)
    broken("AES-256-GCM cannot end");
  return fmt::format("{}{}:{}", kVersion, key_id(), base64_encode(nonce + sealed + tag));
}

std::string_view Sealer::key_id_of(std::string_view sealed) {
  if (!sealed.starts_with(kVersion) || sealed.size() < kVersion.size() + kIdDigits + 1 ||
      sealed[kVersion.size() + kIdDigits] != ':')
    return {};
  return sealed.substr(kVersion.size(), kIdDigits);
}

Result<Secret> Sealer::open(std::string_view sealed, std::string_view purpose, std::string_view row) const {
  const auto corrupt = [&] {
    return fail(ErrorKind::kCorrupt, "store.sealed",
                fmt::format("the sealed {} '{}' was changed, or sealed for something else", purpose, row));
  };
  const std::string_view id = key_id_of(sealed);
  if (id.empty()) return corrupt();
  auto raw = base64_decode(sealed.substr(kVersion.size() + kIdDigits + 1));
  if (!raw || raw->size() < kNonceBytes + kTagBytes) return corrupt();
  const SealKey* key = nullptr;
  for (const SealKey& one : keys_)
    if (one.id() == id) key = &one;
  if (key == nullptr)
    return fail(ErrorKind::kDenied, "store.sealed",
                fmt::format("the sealed {} '{}' needs the key with the id {}, which is neither store_key nor among "
                            "store_old_keys",
                            purpose, row, id));
  const std::string bound = bound_to(purpose, row);
  const std::string_view nonce = std::string_view(*raw).substr(0, kNonceBytes);
  const std::string_view text = std::string_view(*raw).substr(kNonceBytes, raw->size() - kNonceBytes - kTagBytes);
  std::string tag = raw->substr(raw->size() - kTagBytes);
  std::string plain(text.size(), '\0');
  const Context context(EVP_CIPHER_CTX_new());
  int size = 0;
  if (!context || EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key->bytes().reveal()),
                                     bytes_of(nonce)) != 1)
    broken("AES-256-GCM cannot begin");
  unsigned char none[EVP_MAX_BLOCK_LENGTH];
  const bool good =
      EVP_DecryptUpdate(context.get(), nullptr, &size, bytes_of(bound), static_cast<int>(bound.size())) == 1 &&
      EVP_DecryptUpdate(context.get(), bytes_of(plain), &size, bytes_of(text), static_cast<int>(text.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, static_cast<int>(kTagBytes), tag.data()) == 1 &&
      EVP_DecryptFinal_ex(context.get(), none, &size) == 1;
  Secret out(std::move(plain));
  if (!good) return corrupt();
  return out;
}

}  // namespace twinstep::security
