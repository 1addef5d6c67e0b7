#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/http/tls_context.h"
#include "twinstep/obs/metrics.h"

namespace twinstep::app {

/// Keeps the certificate of a listener as new as its files: looks at them every few seconds and when asked to. What
/// cannot be used is refused with a log line (once per change), and the one before stays in force.
///
/// Log      certificate.loaded, certificate.refused; certificate.expires_soon (14 days before, then daily),
///          certificate.expired, certificate.not_yet_valid, certificate.key_exposed.
/// Threads  any method, any thread.
class CertificateKeeper {
 public:
  struct Files {
    std::string certificate;
    std::string key;
    std::string client_ca;  ///< may be empty
  };
  using Use = std::function<Status(const http::TlsMaterial&)>;

  /// Reads the files for the first time. Errors  kInvalid "config.tls" (not readable), "server.bad-certificate".
  /// `metrics`, told when the certificate ends, and `clock` outlive the keeper.
  static Result<std::unique_ptr<CertificateKeeper>> open(Files files, obs::Metrics& metrics, Clock& clock);
  ~CertificateKeeper();

  http::TlsMaterial material();

  /// Gives what is new to `use` from now on. Once.
  void keep(Use use);

  /// Reads the files now and uses what is new in them. Blocking: reads three small files.
  void renew();

  /// One look, as happens by itself every few seconds. A change is used when the next look finds it as it was, so that
  /// a certificate is not taken before its key has been replaced too.
  void look();

 private:
  struct Stamp {
    uint64_t device = 0, inode = 0, size = 0;
    int64_t changed = 0;  // nanoseconds
    bool operator==(const Stamp&) const = default;
  };
  using Stamps = std::array<Stamp, 3>;

  CertificateKeeper(Files files, obs::Metrics& metrics, Clock& clock)
      : files_(std::move(files)), metrics_(metrics), clock_(clock) {}
  Stamps stamps() const;
  Result<http::TlsMaterial> read() const;
  void take(const Stamps& stamps);
  void warn(const http::TlsMaterial& material);

  const Files files_;
  obs::Metrics& metrics_;
  Clock& clock_;
  std::mutex mutex_;  // guards the rest but the thread; held while the files are read
  http::TlsMaterial material_;
  Use use_;
  Stamps taken_{};  // as they were when they were read last, whatever came of it
  Stamps seen_{};   // at the look before
  SystemTime warned_at_{};
  std::jthread thread_;
};

}  // namespace twinstep::app
