#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"

namespace twinstep::http {

/// PEM texts, as ServerOptions takes them.
struct TlsIdentity {
  std::string certificate;
  std::string key;
};

/// A certificate authority of one's own, for simulators and tests: clients trust its certificate and then accept every
/// server identity that it issues. ECDSA P-256 throughout, with the extensions that OpenSSL, Java, Node, .NET and
/// Python (also its strict mode) ask for.
///
/// Source  RFC 5280 4.2.1.
class CertificateAuthority {
 public:
  /// Valid from a day before `now` (clocks differ) for `validity`.
  static Result<CertificateAuthority> create(const std::string& common_name, SystemTime now,
                                             std::chrono::days validity = std::chrono::days{3650});
  CertificateAuthority(CertificateAuthority&&) noexcept;
  CertificateAuthority& operator=(CertificateAuthority&&) noexcept;
  ~CertificateAuthority();

  const std::string& certificate() const { return certificate_; }  ///< PEM, what clients trust

  /// A server certificate for host names (also "*.example.net") and IP addresses, followed by the authority's.
  /// Errors  kInvalid "tls.bad-host" for an entry that is neither, or when there is none.
  Result<TlsIdentity> issue(const std::vector<std::string>& hosts, SystemTime now,
                            std::chrono::days validity = std::chrono::days{397}) const;

 private:
  struct Keys;
  explicit CertificateAuthority(std::unique_ptr<Keys> keys);

  std::unique_ptr<Keys> keys_;
  std::string certificate_;
};

}  // namespace twinstep::http
