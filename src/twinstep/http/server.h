#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/http/client.h"
#include "twinstep/http/tls_context.h"

namespace twinstep::http {

struct ServerRequest {
  std::string method;
  std::string target;  ///< as received: path and query, still percent-encoded
  std::string path;    ///< before '?', still percent-encoded
  std::string query;   ///< after '?', still percent-encoded
  std::vector<Header> headers;
  std::string body;
  std::string remote_address;
  bool tls = false;

  std::string_view header(std::string_view name) const;  ///< first of that name, without case
  /// Decoded value of a query parameter (name compared without case), empty when absent.
  std::string query_value(std::string_view name) const;
};

struct ServerResponse {
  int status = 200;
  std::vector<Header> headers;  ///< Content-Length, Date and Connection are added
  std::string body;
  /// For simulators: misbehave on the wire.
  struct Fault {
    std::chrono::milliseconds delay{0};  ///< before the first byte; does not hold a handler thread
    int64_t cut_after = -1;              ///< close after this many body bytes, though Content-Length says more
    bool drop = false;                   ///< close without an answer
  } fault;
  bool close = false;  ///< Connection: close
};

using Handler = std::function<ServerResponse(const ServerRequest&)>;

struct AddressLimit {
  int most = 0;              ///< 0 = none
  bool spare_local = false;  ///< not for loopback, where a proxy beside us brings everybody's connections from
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;              ///< 0 = any free one, see Server::port()
  std::string tls_certificate{};  ///< PEM text of the chain; empty = plain HTTP
  std::string tls_key{};          ///< PEM text
  std::string tls_client_ca{};    ///< PEM text; not empty: only clients with a certificate that chains to one in it
  /// Puts the headers into every answer that keep browsers from making something of it, unless the handler set them:
  /// Cache-Control: no-store, Content-Security-Policy, X-Content-Type-Options, Referrer-Policy; over TLS also HSTS.
  bool security_headers = false;
  int handler_threads = 8;
  int queue = 256;  ///< waiting requests; more are answered 503 with Retry-After: 1
  uint64_t max_body_bytes = 1ull << 20;
  uint64_t max_header_bytes = 32ull << 10;
  int max_headers = 100;
  std::chrono::milliseconds handshake_timeout{10'000};  ///< TLS
  std::chrono::milliseconds head_timeout{10'000};       ///< from the first byte of a request to the end of its head
  std::chrono::milliseconds read_timeout{30'000};  ///< from its first byte to its last (408); bytes do not renew it
  std::chrono::milliseconds idle_timeout{30'000};  ///< between two requests (close)
  /// For the peer to take the next piece of an answer, and all of it besides what it may take at `slowest_reader`.
  std::chrono::milliseconds write_timeout{30'000};
  uint64_t slowest_reader = 8192;  ///< bytes a second
  int max_connections = 20'000;    ///< more are answered 503 and closed
  // Of one IPv4 address or one IPv6 /64; 0 = no limit.
  AddressLimit connections_per_address{};  ///< more are answered 503 (TLS: nothing) and closed
  AddressLimit requests_per_address{};     ///< being handled at once; more are answered 429 with Retry-After: 1
};

/// An HTTP/1.1 server: one io thread that accepts, parses and enforces limits; whole requests go to a bounded pool of
/// handler threads. HEAD is answered without body, `Expect: 100-continue` is honoured, keep-alive and pipelining work.
///
/// Threads   the handler is called from many threads at once. An exception in it becomes a 500.
class Server {
 public:
  /// Binds and serves. Errors  kInvalid (certificate, address), kUnavailable (port taken).
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Handler handler);
  ~Server();  ///< stop()
  uint16_t port() const;
  /// Connections that come from now on get this certificate; those that are open go on. Any thread.
  /// Errors  kInvalid "server.bad-certificate": the one before stays in force.
  Status use_certificate(const TlsMaterial& material);
  /// Closes the listener, lets running handlers finish for up to `drain`, closes the rest. Safe to call twice.
  void stop(std::chrono::milliseconds drain = std::chrono::seconds{5});

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::http
