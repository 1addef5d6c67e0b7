#include "twinstep/http/tls_context.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <ctime>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "twinstep/base/freed.h"

namespace twinstep::http {
namespace {

using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

/// Of TLS 1.2; those of 1.3 are all good. None with CBC, none without forward secrecy.
constexpr const char* kCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr std::array<std::string_view, 2> kProtocols{"http/1.1", "http/1.0"};
constexpr std::string_view kSessionId = "twinstep";

/// What OpenSSL has to say about the call that failed, without what earlier ones left.
std::string openssl_says() {
  std::array<char, 256> text{};
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "OpenSSL gives no reason";
  const char* reason = ERR_reason_error_string(code);
  if (reason) return reason;
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

tl::unexpected<Error> bad(std::string_view what, std::string_view why, std::string_view remedy) {
  return fail(ErrorKind::kInvalid, "server.bad-certificate", fmt::format("{}: {}; {}", what, why, remedy));
}

Bio reading(const std::string& text) {
  Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!bio) throw std::bad_alloc();
  return bio;
}

/// A key with a password would otherwise be asked for at the terminal.
int no_password(char*, int, int, void*) { return 0; }

/// All certificates of a text, as the file has them.
std::vector<Certificate> certificates_of(const std::string& pem) {
  ERR_clear_error();
  const Bio bio = reading(pem);
  std::vector<Certificate> out;
  while (Certificate next{PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)}) out.push_back(std::move(next));
  // A text ends with "no start line"; anything else is a certificate that is broken.
  if (const unsigned long code = ERR_peek_last_error();
      !out.empty() && ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)
    ERR_clear_error();
  else
    out.clear();
  return out;
}

Status use_chain(SSL_CTX* context, const std::string& pem) {
  std::vector<Certificate> chain = certificates_of(pem);
  if (chain.empty())
    return bad("the TLS certificate cannot be read", openssl_says(),
               "give a PEM file with the server's certificate first, followed by those that sign it");
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1)
    return bad("the TLS certificate cannot be used", openssl_says(),
               "ask for one with ECDSA P-256 or RSA of 2048 bits");
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add0_chain_cert(context, chain[i].get()) != 1)
      return bad(fmt::format("certificate {} of the TLS chain cannot be used", i + 1), openssl_says(),
                 "ask the authority for its present chain");
    (void)chain[i].release();  // the context's now
  }
  return {};
}

Status use_key(SSL_CTX* context, const std::string& pem) {
  ERR_clear_error();
  const Bio bio = reading(pem);
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key)
    return bad("the TLS key cannot be read", openssl_says(), "give a PEM file with a private key that has no password");
  // Our own look at the pair: what SSL_CTX_use_PrivateKey does with one that does not match differs between versions.
  if (X509_check_private_key(SSL_CTX_get0_certificate(context), key.get()) != 1) {
    ERR_clear_error();
    return bad("the TLS key cannot be used", "it does not belong to the certificate",
               "give the key that the first certificate of the chain was made with");
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1)
    return bad("the TLS key cannot be used", openssl_says(), "make a new one with ECDSA P-256 or RSA of 2048 bits");
  return {};
}

Status ask_clients(SSL_CTX* context, const std::string& pem) {
  const std::vector<Certificate> authorities = certificates_of(pem);
  if (authorities.empty())
    return bad("the certificate authorities of clients cannot be read", openssl_says(),
               "give a PEM file with the certificates that sign those of the clients");
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const Certificate& authority : authorities) {
    if (X509_STORE_add_cert(store, authority.get()) != 1 || SSL_CTX_add_client_CA(context, authority.get()) != 1)
      return bad("a certificate authority of clients cannot be used", openssl_says(), "leave it out or replace it");
  }
  // What the file names is trusted as it stands, also an authority that another one has signed.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

/// HTTP/1.1 when the client knows it; a client that only speaks other protocols is told so by an alert.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size, const unsigned char* offered,
                    unsigned int offered_size, void*) {
  for (const std::string_view ours : kProtocols) {
    for (unsigned int at = 0; at < offered_size; at += 1u + offered[at]) {
      const unsigned int size = offered[at];
      if (at + 1 + size > offered_size) break;
      if (std::string_view(reinterpret_cast<const char*>(offered + at + 1), size) != ours) continue;
      *chosen = offered + at + 1;
      *chosen_size = static_cast<unsigned char>(size);
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

SystemTime time_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (!time || ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return SystemTime(std::chrono::seconds{timegm(&parts)});
}

}  // namespace

Result<TlsContext> make_tls_context(const TlsMaterial& material) {
  TlsContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!context) throw std::runtime_error("OpenSSL cannot make a TLS context");
  SSL_CTX* raw = context.get();
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_security_level(raw, 2);  // at least 112 bits of everything, whatever the machine's openssl.cnf says
  // Tickets only: sessions kept here would be memory that strangers decide about.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  if (SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION) != 1 || SSL_CTX_set_cipher_list(raw, kCiphers) != 1 ||
      SSL_CTX_set_session_id_context(raw, reinterpret_cast<const unsigned char*>(kSessionId.data()),
                                     static_cast<unsigned int>(kSessionId.size())) != 1)
    throw std::runtime_error("OpenSSL cannot set up TLS: " + openssl_says());
  SSL_CTX_set_alpn_select_cb(raw, choose_protocol, nullptr);
  TRY(use_chain(raw, material.certificate));
  TRY(use_key(raw, material.key));
  if (!material.client_ca.empty()) TRY(ask_clients(raw, material.client_ca));
  return context;
}

Result<CertificateFacts> certificate_facts(const std::string& pem) {
  const std::vector<Certificate> chain = certificates_of(pem);
  if (chain.empty()) return bad("the certificate cannot be read", openssl_says(), "give a PEM file with a certificate");
  X509* first = chain.front().get();
  CertificateFacts out;
  const Bio text(BIO_new(BIO_s_mem()));
  if (!text ||
      X509_NAME_print_ex(text.get(), X509_get_subject_name(first), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB) < 0)
    throw std::bad_alloc();
  char* data = nullptr;
  const long size = BIO_get_mem_data(text.get(), &data);
  out.subject.assign(data, static_cast<size_t>(size));
  out.not_before = time_of(X509_get0_notBefore(first));
  out.not_after = time_of(X509_get0_notAfter(first));
  return out;
}

}  // namespace twinstep::http
