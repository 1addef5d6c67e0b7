#include "twinstep/http/tls_certificate.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "twinstep/base/freed.h"

namespace twinstep::http {
namespace {

using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;
using Number = std::unique_ptr<BIGNUM, Freed<BN_free>>;

constexpr std::chrono::days kBackdated{1};

// Only out of memory or a broken random source can make these calls fail: a lost local world, not a result.
void check(bool worked, const char* what) {
  if (!worked) throw std::runtime_error(std::string("OpenSSL cannot ") + what);
}

std::string text_of(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

std::string pem_of(X509* certificate) {
  Bio bio(BIO_new(BIO_s_mem()));
  check(bio && PEM_write_bio_X509(bio.get(), certificate) == 1, "write a certificate");
  return text_of(bio);
}

std::string pem_of(EVP_PKEY* key) {
  Bio bio(BIO_new(BIO_s_mem()));
  check(bio && PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
        "write a key");
  return text_of(bio);
}

void set_name(X509_NAME* name, const std::string& common_name) {
  // 64 characters are the upper bound of a common name (RFC 5280 appendix A).
  const std::string cut = common_name.substr(0, 64);
  check(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("twinstep"), -1, -1,
                                   0) == 1 &&
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(cut.c_str()),
                                       -1, -1, 0) == 1,
        "set a name");
}

/// A certificate with serial, times and key; the caller adds names, extensions and the signature.
Certificate blank(EVP_PKEY* key, SystemTime now, std::chrono::days validity) {
  Certificate made(X509_new());
  check(made != nullptr, "make a certificate");
  check(X509_set_version(made.get(), 2) == 1, "set the version");
  std::array<unsigned char, 16> random{};
  check(RAND_bytes(random.data(), static_cast<int>(random.size())) == 1, "get random bytes");
  random[0] = static_cast<unsigned char>((random[0] & 0x7f) | 0x40);  // positive and never short
  Number serial(BN_bin2bn(random.data(), static_cast<int>(random.size()), nullptr));
  check(serial && BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(made.get())) != nullptr, "set the serial");
  const auto seconds = [](SystemTime time) {
    return static_cast<time_t>(std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count());
  };
  check(ASN1_TIME_set(X509_getm_notBefore(made.get()), seconds(now - kBackdated)) != nullptr &&
            ASN1_TIME_set(X509_getm_notAfter(made.get()), seconds(now + validity)) != nullptr,
        "set the validity");
  check(X509_set_pubkey(made.get(), key) == 1, "set the key");
  return made;
}

void extend(X509* subject, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, subject, nullptr, nullptr, 0);
  Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  check(extension && X509_add_ext(subject, extension.get(), -1) == 1, "add an extension");
}

bool is_ip(const std::string& text) {
  std::array<unsigned char, 16> bytes{};
  return inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 || inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
}

bool is_host_name(std::string_view text) {
  if (text.starts_with("*.")) text.remove_prefix(2);
  return !text.empty() && text.size() <= 253 && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                  c == '_';
         });
}

Key new_key() {
  Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
  check(key != nullptr, "make a key");
  return key;
}

}  // namespace

struct CertificateAuthority::Keys {
  Key key;
  Certificate certificate;
};

CertificateAuthority::CertificateAuthority(std::unique_ptr<Keys> keys)
    : keys_(std::move(keys)), certificate_(pem_of(keys_->certificate.get())) {}
CertificateAuthority::CertificateAuthority(CertificateAuthority&&) noexcept = default;
CertificateAuthority& CertificateAuthority::operator=(CertificateAuthority&&) noexcept = default;
CertificateAuthority::~CertificateAuthority() = default;

Result<CertificateAuthority> CertificateAuthority::create(const std::string& common_name, SystemTime now,
                                                          std::chrono::days validity) {
  if (common_name.empty()) return fail(ErrorKind::kInvalid, "tls.bad-name", "a certificate authority needs a name");
  auto keys = std::make_unique<Keys>();
  keys->key = new_key();
  keys->certificate = blank(keys->key.get(), now, validity);
  X509* made = keys->certificate.get();
  set_name(X509_get_subject_name(made), common_name);
  check(X509_set_issuer_name(made, X509_get_subject_name(made)) == 1, "set the issuer");
  extend(made, made, NID_basic_constraints, "critical,CA:TRUE");
  extend(made, made, NID_key_usage, "critical,keyCertSign,cRLSign");
  extend(made, made, NID_subject_key_identifier, "hash");
  extend(made, made, NID_authority_key_identifier, "keyid:always");
  check(X509_sign(made, keys->key.get(), EVP_sha256()) > 0, "sign a certificate");
  return CertificateAuthority(std::move(keys));
}

Result<TlsIdentity> CertificateAuthority::issue(const std::vector<std::string>& hosts, SystemTime now,
                                                std::chrono::days validity) const {
  std::string names;
  for (const std::string& host : hosts) {
    if (!names.empty()) names += ',';
    if (is_ip(host))
      names += "IP:" + host;
    else if (is_host_name(host))
      names += "DNS:" + host;
    else
      return fail(ErrorKind::kInvalid, "tls.bad-host",
                  fmt::format("'{}' is neither a host name nor an IP address; a certificate cannot name it", host));
  }
  if (names.empty()) return fail(ErrorKind::kInvalid, "tls.bad-host", "a server certificate needs at least one host");

  const Key key = new_key();
  const Certificate made = blank(key.get(), now, validity);
  X509* authority = keys_->certificate.get();
  set_name(X509_get_subject_name(made.get()), hosts.front());
  check(X509_set_issuer_name(made.get(), X509_get_subject_name(authority)) == 1, "set the issuer");
  extend(made.get(), authority, NID_basic_constraints, "critical,CA:FALSE");
  extend(made.get(), authority, NID_key_usage, "critical,digitalSignature");
  extend(made.get(), authority, NID_ext_key_usage, "serverAuth");
  extend(made.get(), authority, NID_subject_key_identifier, "hash");
  extend(made.get(), authority, NID_authority_key_identifier, "keyid:always");
  extend(made.get(), authority, NID_subject_alt_name, names);
  check(X509_sign(made.get(), keys_->key.get(), EVP_sha256()) > 0, "sign a certificate");
  return TlsIdentity{pem_of(made.get()) + certificate_, pem_of(key.get())};
}

}  // namespace twinstep::http
