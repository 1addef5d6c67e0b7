#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

using SSL_CTX = struct ssl_ctx_st;

namespace twinstep::http {

/// PEM texts of a TLS server.
struct TlsMaterial {
  std::string certificate;  ///< the server's own first, then those that sign it
  std::string key;
  std::string client_ca;  ///< empty: clients need no certificate
};

/// What a person wants to know of a certificate.
struct CertificateFacts {
  std::string subject;  ///< "CN = twinstep.example.net"
  SystemTime not_before{};
  SystemTime not_after{};
};

using TlsContext = std::shared_ptr<SSL_CTX>;

/// How our servers speak TLS: 1.2 or newer; ECDHE with AES-GCM or ChaCha20 and the server's choice of them; no
/// renegotiation, no compression; HTTP/1.1 by ALPN; session tickets with keys of this context. With `client_ca`, a
/// client must show a certificate for clients that chains to one of the certificates in it.
///
/// Errors  kInvalid "server.bad-certificate", naming the part and what to do; never the key.
/// Source  RFC 9325 4.1, 4.2; Mozilla's "intermediate" configuration; RFC 7301 3.2.
Result<TlsContext> make_tls_context(const TlsMaterial& material);

/// Of the first certificate. Errors  kInvalid "server.bad-certificate".
Result<CertificateFacts> certificate_facts(const std::string& pem);

}  // namespace twinstep::http
