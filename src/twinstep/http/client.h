#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/secret.h"

namespace twinstep::obs {
class Metrics;
class Tracer;
}  // namespace twinstep::obs

namespace twinstep::http {

struct Header {
  std::string name;
  std::string value;
};

/// May a request be sent again when its effect is unknown or the remote asked for patience?
enum class Repeat {
  kNever,         ///< one try, whatever comes
  kIfNotStarted,  ///< only when the remote surely did nothing: no connection was made, 429, 503
  kAlways,        ///< idempotent: also after a time-out, a broken connection, 408, 500, 502, 504
};

/// Gives a request body piece by piece; rewound for every try.
class BodySource {
 public:
  virtual ~BodySource() = default;
  virtual uint64_t size() const = 0;
  virtual Status rewind() = 0;
  /// Fills up to `capacity` bytes; 0 = end. Errors end the request.
  virtual Result<size_t> read(char* into, size_t capacity) = 0;
};

/// Takes a 2xx response body piece by piece as it arrives. An error ends the transfer and is what send() returns.
using BodySink = std::function<Status(std::string_view piece)>;

struct Request {
  std::string method = "GET";
  std::string url;  ///< complete, percent-encoded
  std::vector<Header> headers;
  std::string body;
  std::shared_ptr<BodySource> body_source;  ///< instead of body
  BodySink sink;  ///< streams a 2xx body instead of collecting it; a streamed try is not repeated
                  ///< once the sink has been given bytes
  uint64_t max_response_bytes = 64ull << 20;  ///< of a collected body; more is kCorrupt "http.too-large"
  Repeat repeat = Repeat::kNever;
  /// Never on the wire twice: takes a new connection, because a transport sends a request again by itself when a kept
  /// connection breaks before the answer begins.
  bool once = false;
  /// Changes nothing, whatever its method says: a query, a token. GET and HEAD never do.
  bool reads_only = false;
  std::string operation;        ///< for logs and errors: "get device 'dev-1'"; never holds a secret
  std::string label{};          ///< for figures: "get device", one of a few; empty = operation up to the first quote
  Millis try_timeout{100'000};  ///< one try; the call's deadline bounds all
};

struct Response {
  int status = 0;
  std::vector<Header> headers;
  std::string body;

  /// First header of that name (compared without case), else empty.
  std::string_view header(std::string_view name) const;
  bool ok() const { return status >= 200 && status < 300; }
};

/// Sends requests. Any HTTP status is a Response, not an error: what a status means is the caller's business.
///
/// Threads   any method, any thread, at the same time; connections are kept per thread.
///           A sink or body source must not send() on its own thread: the thread's connection is in use.
/// Blocking  returns before call.deadline, and within 100 ms of call.stop.
/// Errors    kUnavailable (no connection was made, code "http.no-connection", also when a proxy refuses one, or TLS
///           failed: nothing was sent), kTimeout (no complete answer, also after a broken transfer: the effect is
///           unknown), kDenied "http.proxy-denied" (the proxy wants a password: nothing was sent), kCancelled, kCorrupt
///           (too large, not HTTP), kInvalid (unusable URL), those of still_ours(). The text names a proxy, never its
///           user and password.
class Client {
 public:
  virtual ~Client() = default;
  virtual Result<Response> send(const Request& request, const Call& call) = 0;
};

/// May `request` be sent under `call`? What changes something must still be ours to change (Call::guard): the transport
/// asks when the connection stands, right before the first byte, so that no wait lies between. `what` is for the text.
/// Errors  kCancelled "call.not-ours".
Status still_ours(const Request& request, const Call& call, std::string_view what);

struct TransportOptions {
  std::string ca_file;  ///< PEM file that replaces the system's CA store; empty = system's
  /// Empty = the usual proxy variables (https_proxy, no_proxy, ...); "-" = none; an address is used for every host.
  std::string proxy;
  Millis connect_timeout{15'000};
  std::string user_agent;  ///< empty = "twinstep/<version>"
};

/// libcurl. Redirects are never followed: a response may not move us to another host.
/// Throws std::invalid_argument never; a bad CA file shows at the first send as kInvalid naming the file.
std::unique_ptr<Client> make_transport(TransportOptions options);

/// Repeats by Request::repeat: first wait `first`, doubling with jitter, at most `tries`; Retry-After in both forms is
/// obeyed. A wait that does not fit before the deadline is not begun: the last answer is returned.
struct RetryOptions {
  int tries = 5;
  Millis first{500};
  Millis cap{30'000};
  /// First wait after a 429 that carries no Retry-After; doubles up to throttle_cap.
  Millis throttle_first{2'000};
  Millis throttle_cap{60'000};
};
std::unique_ptr<Client> with_retry(Client& inner, RetryOptions options, Clock& clock, Rng& rng);

/// Adds credentials to every try. After a 401, `renew` is asked once; true means: sign again and repeat once.
class Authenticator {
 public:
  virtual ~Authenticator() = default;
  virtual Status sign(Request& request, const Call& call) = 0;
  virtual Result<bool> renew(const Response& refused, const Call& call) = 0;
};
std::unique_ptr<Client> with_auth(Client& inner, Authenticator& authenticator);

/// One debug line per try: operation, method, host, path without query, status, bytes, milliseconds, request id.
/// Only allow-listed headers and query parameters are ever written.
std::unique_ptr<Client> with_log(Client& inner, Clock& clock);

/// Counts and measures every try as one of `remote` ("hub/contoso"), and makes it a span: whoever it is sent to reads
/// `traceparent` and, when there is one, `tracestate`. To be put below whatever signs: neither belongs to what Azure's
/// signatures cover.
std::unique_ptr<Client> with_telemetry(Client& inner, obs::Metrics& metrics, obs::Tracer& tracer, std::string remote,
                                       Clock& clock);

/// The remote's Retry-After as a span from now: seconds or an HTTP date; empty when absent or unreadable.
std::optional<Millis> retry_after(const Response& response, SystemTime now);

}  // namespace twinstep::http
