#include "twinstep/base/encoding.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "twinstep/base/freed.h"

namespace twinstep {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kHexUpper = "0123456789ABCDEF";
constexpr std::string_view kHexLower = "0123456789abcdef";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string as_string(const unsigned char* bytes, size_t count) {
  return std::string(reinterpret_cast<const char*>(bytes), count);
}

using MacContext = std::unique_ptr<EVP_MAC_CTX, Freed<EVP_MAC_CTX_free>>;

/// Without a key yet.
MacContext new_hmac_sha256() {
  const std::unique_ptr<EVP_MAC, Freed<EVP_MAC_free>> hmac(EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr));
  MacContext out(hmac ? EVP_MAC_CTX_new(hmac.get()) : nullptr);
  std::array<char, 7> digest{"SHA256"};
  const std::array<OSSL_PARAM, 2> parameters{OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
                                             OSSL_PARAM_construct_end()};
  if (!out || !EVP_MAC_CTX_set_params(out.get(), parameters.data()))
    throw std::runtime_error("OpenSSL: HMAC-SHA256 is not there");
  return out;
}

EVP_MD_CTX* evp(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = bytes.size() - i;
    uint32_t group = static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 16;
    if (left > 1) group |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[i + 1])) << 8;
    if (left > 2) group |= static_cast<uint8_t>(bytes[i + 2]);
    out.push_back(kBase64[group >> 18]);
    out.push_back(kBase64[(group >> 12) & 63]);
    out.push_back(left > 1 ? kBase64[(group >> 6) & 63] : '=');
    out.push_back(left > 2 ? kBase64[group & 63] : '=');
  }
  return out;
}

Result<std::string> base64_decode(std::string_view text) {
  const auto bad = [] { return fail(ErrorKind::kInvalid, "encoding.base64", "not valid base64"); };
  if (text.size() % 4 != 0) return bad();
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t group = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_padding = i >= text.size() - padding;
    const size_t value = is_padding ? 0 : kBase64.find(text[i]);
    if (value == std::string_view::npos) return bad();
    group = (group << 6) | static_cast<uint32_t>(value);
    if (i % 4 == 3) {
      out.push_back(static_cast<char>(group >> 16));
      out.push_back(static_cast<char>((group >> 8) & 255));
      out.push_back(static_cast<char>(group & 255));
      group = 0;
    }
  }
  if (padding > 0 && out.back() != '\0') return bad();  // bits below the padding must be zero
  if (padding == 2 && out[out.size() - 2] != '\0') return bad();
  out.resize(out.size() - padding);
  return out;
}

std::string hex_encode(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char c : bytes) {
    out.push_back(kHexLower[static_cast<uint8_t>(c) >> 4]);
    out.push_back(kHexLower[static_cast<uint8_t>(c) & 15]);
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '_' || c == '.' || c == '~';
    if (plain) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHexUpper[static_cast<uint8_t>(c) >> 4]);
      out.push_back(kHexUpper[static_cast<uint8_t>(c) & 15]);
    }
  }
  return out;
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2])));
      i += 2;
    } else {
      out.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

std::string hmac_sha256(std::string_view key, std::string_view text) {
  // To look an algorithm up by its name takes OpenSSL longer than to use it: that is done once for each thread.
  thread_local const MacContext made = new_hmac_sha256();
  const MacContext context(EVP_MAC_CTX_dup(made.get()));
  std::array<unsigned char, 32> out{};
  size_t size = 0;
  const std::string_view some = key.data() ? key : std::string_view("");
  if (!context || !EVP_MAC_init(context.get(), bytes_of(some), some.size(), nullptr) ||
      !EVP_MAC_update(context.get(), bytes_of(text), text.size()) ||
      !EVP_MAC_final(context.get(), out.data(), &size, out.size()))
    throw std::runtime_error("OpenSSL: HMAC-SHA256 failed");
  return as_string(out.data(), size);
}

std::string sha256(std::string_view text) {
  std::array<unsigned char, 32> out{};
  unsigned int size = out.size();
  if (!EVP_Digest(text.data(), text.size(), out.data(), &size, EVP_sha256(), nullptr))
    throw std::runtime_error("OpenSSL: SHA-256 failed");
  return as_string(out.data(), size);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_ || !EVP_DigestInit_ex(evp(context_), EVP_sha256(), nullptr))
    throw std::runtime_error("OpenSSL: SHA-256 failed");
}

Sha256::~Sha256() { EVP_MD_CTX_free(evp(context_)); }

void Sha256::update(std::string_view bytes) {
  if (!EVP_DigestUpdate(evp(context_), bytes.data(), bytes.size())) throw std::runtime_error("OpenSSL: SHA-256 failed");
}

std::string Sha256::hex_digest() {
  std::array<unsigned char, 32> out{};
  unsigned int size = out.size();
  if (!EVP_DigestFinal_ex(evp(context_), out.data(), &size)) throw std::runtime_error("OpenSSL: SHA-256 failed");
  return hex_encode(as_string(out.data(), size));
}

bool is_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i]);
    size_t more = 0;
    uint32_t point = lead;
    if (lead < 0x80) {
      ++i;
      continue;
    }
    if ((lead & 0xE0) == 0xC0)
      more = 1, point = lead & 0x1F;
    else if ((lead & 0xF0) == 0xE0)
      more = 2, point = lead & 0x0F;
    else if ((lead & 0xF8) == 0xF0)
      more = 3, point = lead & 0x07;
    else
      return false;
    if (i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<uint8_t>(text[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      point = (point << 6) | (next & 0x3F);
    }
    constexpr std::array<uint32_t, 4> kSmallest{0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[more] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return false;
    i += more + 1;
  }
  return true;
}

}  // namespace twinstep
