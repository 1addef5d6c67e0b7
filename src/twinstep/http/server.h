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

struct ServerOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 0;              ///< 0 = any free one, see Server::port()
  std::string tls_certificate{};  ///< PEM text; empty = plain HTTP
  std::string tls_key{};          ///< PEM text
  int handler_threads = 8;
  int queue = 256;  ///< waiting requests; more are answered 503 with Retry-After: 1
  uint64_t max_body_bytes = 1ull << 20;
  uint64_t max_header_bytes = 32ull << 10;
  std::chrono::milliseconds read_timeout{30'000};  ///< for a whole request, and idle between two (408 or close)
  int max_connections = 20'000;
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
  /// Closes the listener, lets running handlers finish for up to `drain`, closes the rest. Safe to call twice.
  void stop(std::chrono::milliseconds drain = std::chrono::seconds{5});

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::http
