#include "twinstep/http/connection.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <optional>

#include "twinstep/base/clock.h"
#include "twinstep/base/time_format.h"
#include "twinstep/http/response_head.h"
#include "twinstep/http/text.h"

namespace twinstep::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;
using Parser = beast::http::request_parser<beast::http::string_body>;
using Span = std::chrono::milliseconds;

constexpr size_t kFirstRead = 2048;      // what an idle connection holds ready
constexpr size_t kBodyRead = 64u << 10;  // one read of a large body
constexpr size_t kJoinBodyUpTo = 16384;  // smaller bodies travel in the same write as the head
constexpr Span kGoodbye{3'000};          // for the peer to notice that we are done with it

/// One connection: reads a request, hands it to the pool, writes the answer, reads the next one. Requests that arrive
/// early (pipelining) wait in the buffer, so answers keep the order. Runs on the io thread only.
class Session final : public Connection, public std::enable_shared_from_this<Session> {
 public:
  Session(Edge& edge, tcp::socket socket, const tcp::endpoint& from, const TlsContext& tls)
      : edge_(edge),
        from_(from.address()),
        socket_(std::move(socket)),
        timer_(edge.io()),
        delay_(edge.io()),
        buffer_(static_cast<size_t>(edge.options().max_header_bytes) + kBodyRead),
        remote_address_(from.address().to_string()) {
    if (!tls) return;
    SSL* ours = SSL_new(tls.get());
    if (!ours) throw std::bad_alloc();
    tls_.emplace(socket_, ours);
  }
  ~Session() override {
    request_ended();
    edge_.ended(*this, from_);
  }

  void start() override {
    error_code ignored;
    socket_.set_option(tcp::no_delay(true), ignored);
    socket_.set_option(asio::socket_base::keep_alive(true), ignored);
    if (!tls_) return next_request();
    expire_in(edge_.options().handshake_timeout);
    tls_->async_handshake(asio::ssl::stream_base::server, [self = shared_from_this()](error_code failed) {
      if (failed) return self->close();
      self->next_request();
    });
  }

  void wind_up() override {
    if (phase_ != Phase::kHandling && phase_ != Phase::kWriting) close();
  }

  void close() override {
    if (phase_ == Phase::kClosed) return;
    phase_ = Phase::kClosed;
    error_code ignored;
    timer_.cancel();
    delay_.cancel();
    socket_.close(ignored);
  }

 private:
  enum class Phase { kHandshake, kIdle, kReading, kHandling, kWriting, kLeaving, kClosed };

  // --- time: one timer that is moved only when it must ring earlier, so that a request costs no timer operation

  void expire_in(Span span) { expire_at(std::chrono::steady_clock::now() + span); }
  void expire_at(std::chrono::steady_clock::time_point when) {
    deadline_ = when;
    if (!timer_armed_ || deadline_ < timer_.expiry()) arm();
  }
  void never_expire() { deadline_ = std::chrono::steady_clock::time_point::max(); }

  void arm() {
    timer_.expires_at(deadline_);
    timer_armed_ = true;
    timer_.async_wait([self = shared_from_this()](error_code moved) {
      if (!moved) self->on_timer();
    });
  }

  void on_timer() {
    timer_armed_ = false;
    if (phase_ == Phase::kClosed || deadline_ == std::chrono::steady_clock::time_point::max()) return;
    if (std::chrono::steady_clock::now() < deadline_) return arm();
    if (phase_ != Phase::kReading) return close();
    timed_out_ = true;  // the aborted read answers 408
    error_code ignored;
    socket_.cancel(ignored);
  }

  // --- reading

  void next_request() {
    if (edge_.stopping()) return close();
    parser_.reset();
    if (buffer_.size() == 0) {
      phase_ = Phase::kIdle;
      expire_in(edge_.options().idle_timeout);
      if (buffer_.capacity() > kFirstRead) buffer_ = beast::flat_buffer(buffer_.max_size());
      return read(kFirstRead);
    }
    begin_request();
  }

  void begin_request() {
    phase_ = Phase::kReading;
    // Counted from here, whatever trickles in: who sends a byte a second gets no more time for it.
    began_ = std::chrono::steady_clock::now();
    expire_at(began_ + std::min(edge_.options().head_timeout, edge_.options().read_timeout));
    checked_head_ = false;
    keep_alive_ = true;
    head_request_ = false;
    http_1_0_ = false;
    parser_.emplace();
    parser_->eager(true);
    parser_->header_limit(static_cast<uint32_t>(std::min<uint64_t>(edge_.options().max_header_bytes, UINT32_MAX)));
    parser_->body_limit(edge_.options().max_body_bytes);
    parse();
  }

  void read(size_t size) {
    size = std::min(size, buffer_.max_size() - buffer_.size());
    if (size == 0) return refuse(431, "Request Header Fields Too Large", "the request head is over the limit");
    async_read_some(buffer_.prepare(size), [self = shared_from_this()](error_code failed, size_t bytes) {
      if (self->phase_ == Phase::kClosed) return;
      if (self->timed_out_) return self->refuse(408, "Request Timeout", "the request did not arrive in time");
      if (failed) return self->close();
      self->buffer_.commit(bytes);
      if (self->phase_ == Phase::kReading) return self->parse();
      self->begin_request();
    });
  }

  void parse() {
    error_code failed;
    while (buffer_.size() > 0 && !parser_->is_done()) {
      failed = {};
      buffer_.consume(parser_->put(buffer_.data(), failed));
      if (failed) break;
    }
    if (failed && failed != beast::http::error::need_more) return refuse(failed);
    if (parser_->is_header_done() && !checked_head_ && !check_head()) return;
    if (parser_->is_done()) return dispatch();
    read_on();
  }

  void read_on() { read(parser_->is_header_done() ? kBodyRead : std::max(kFirstRead, buffer_.size())); }

  /// The rules that the parser does not know. False when the request has been dealt with.
  bool check_head() {
    checked_head_ = true;
    expire_at(began_ + edge_.options().read_timeout);
    const auto& head = parser_->get();
    http_1_0_ = head.version() < 11;
    head_request_ = head.method() == beast::http::verb::head;
    if (head.count(beast::http::field::host) != 1 && !(http_1_0_ && head.count(beast::http::field::host) == 0)) {
      refuse(400, "Bad Request", "the request needs exactly one Host header");
      return false;
    }
    if (std::distance(head.begin(), head.end()) > edge_.options().max_headers) {
      refuse(431, "Request Header Fields Too Large", "the request has too many header fields");
      return false;
    }
    // Somebody before us may see another end of the body where there is more than one way to read it: RFC 9112, 6.1.
    if (const auto codings = head.count(beast::http::field::transfer_encoding); codings > 0) {
      const auto coding = head[beast::http::field::transfer_encoding];
      if (codings > 1 || http_1_0_ || !same_name(trimmed({coding.data(), coding.size()}), "chunked")) {
        refuse(400, "Bad Request", "the only Transfer-Encoding that is taken is chunked, in HTTP/1.1");
        return false;
      }
    }
    const auto expect = head.find(beast::http::field::expect);
    if (expect == head.end() || http_1_0_) return true;
    const std::string_view expected{expect->value().data(), expect->value().size()};
    if (!same_name(trimmed(expected), "100-continue")) {
      refuse(417, "Expectation Failed", "only 100-continue can be expected");
      return false;
    }
    if (parser_->is_done()) return true;
    static constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
    async_write(std::array{asio::buffer(kGoOn)}, [self = shared_from_this()](error_code failed, size_t) {
      if (self->phase_ == Phase::kClosed) return;
      if (failed) return self->close();
      self->read_on();
    });
    return false;
  }

  void refuse(error_code why) {
    using beast::http::error;
    if (why == error::header_limit || why == error::buffer_overflow)
      return refuse(431, "Request Header Fields Too Large", "the request head is over the limit");
    if (why == error::body_limit) return refuse(413, "Payload Too Large", "the request body is over the limit");
    refuse(400, "Bad Request", "the request is not well-formed HTTP/1.1");
  }

  void refuse(int status, std::string_view title, std::string_view detail) {
    timed_out_ = false;
    unread_input_ = true;
    ServerResponse response = problem(status, title, detail);
    response.close = true;
    respond(std::move(response));
  }

  // --- answering

  void dispatch() {
    phase_ = Phase::kHandling;
    never_expire();
    auto message = parser_->release();
    parser_.reset();
    keep_alive_ = message.keep_alive();
    ServerRequest request;
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    split_target(request);
    for (const auto& field : message)
      request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    request.body = std::move(message.body());
    request.remote_address = remote_address_;
    request.tls = tls_.has_value();

    if (!edge_.requests().take(from_)) {
      ServerResponse busy = problem(429, "Too Many Requests", "too many requests from your address are being answered");
      busy.headers.push_back({"Retry-After", "1"});
      return respond(std::move(busy));
    }
    counted_ = true;
    // The session is handed on, not shared: it must end on the io thread, where the edge's list of sessions is.
    const bool taken = edge_.pool().submit([self = shared_from_this(), request = std::move(request)]() mutable {
      ServerResponse response = self->edge_.handle(request);
      asio::io_context& io = self->edge_.io();
      asio::post(io, [self = std::move(self), response = std::move(response)]() mutable {
        self->request_ended();
        self->respond(std::move(response));
      });
    });
    if (taken) return;
    request_ended();
    ServerResponse busy = problem(503, "Service Unavailable", "too many requests are waiting");
    busy.headers.push_back({"Retry-After", "1"});
    respond(std::move(busy));
  }

  void request_ended() {
    if (std::exchange(counted_, false)) edge_.requests().give(from_);
  }

  /// "/path?query", or the absolute form that proxies receive: "http://host/path?query".
  static void split_target(ServerRequest& request) {
    std::string_view rest = request.target;
    if (const size_t scheme = rest.find("://"); !rest.starts_with('/') && scheme != std::string_view::npos) {
      const size_t slash = rest.find_first_of("/?", scheme + 3);
      rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash);
    }
    const size_t mark = rest.find('?');
    request.path = mark == 0 || rest.empty() ? "/" : std::string(rest.substr(0, mark));
    if (mark != std::string_view::npos) request.query = std::string(rest.substr(mark + 1));
  }

  void respond(ServerResponse response) {
    if (phase_ == Phase::kClosed) return;
    if (response.fault.delay.count() > 0) {
      never_expire();
      delay_.expires_after(std::exchange(response.fault.delay, Span{0}));
      phase_ = Phase::kHandling;
      delay_.async_wait([self = shared_from_this(), response = std::move(response)](error_code cancelled) mutable {
        if (!cancelled) self->respond(std::move(response));
      });
      return;
    }
    if (response.fault.drop) return close();

    phase_ = Phase::kWriting;
    keep_alive_ = keep_alive_ && !response.close && !edge_.stopping();
    const std::string date = format_http_date(real_clock().system_now());
    const auto reason = beast::http::obsolete_reason(static_cast<beast::http::status>(response.status));
    out_head_ = response_head(response, {.reason = {reason.data(), reason.size()},
                                         .date = date,
                                         .head_request = head_request_,
                                         .keep_alive = keep_alive_,
                                         .http_1_0 = http_1_0_,
                                         .security_headers = edge_.options().security_headers,
                                         .tls = tls_.has_value()});
    cut_ = response.fault.cut_after >= 0;
    out_body_ = std::move(response.body);
    if (head_request_ || !may_have_body(response.status)) out_body_.clear();
    if (cut_ && out_body_.size() > static_cast<uint64_t>(response.fault.cut_after))
      out_body_.resize(static_cast<size_t>(response.fault.cut_after));
    if (out_body_.size() <= kJoinBodyUpTo) {
      out_head_ += out_body_;
      out_body_.clear();
    }
    const uint64_t seconds =
        (out_head_.size() + out_body_.size()) / std::max<uint64_t>(1, edge_.options().slowest_reader);
    write_ends_ = std::chrono::steady_clock::now() + edge_.options().write_timeout + std::chrono::seconds{seconds};
    expire_in(edge_.options().write_timeout);
    async_write(std::array{asio::buffer(out_head_), asio::buffer(out_body_)},
                [self = shared_from_this()](error_code failed, size_t) {
                  if (self->phase_ == Phase::kClosed) return;
                  if (failed || self->cut_) return self->close();
                  self->out_head_ = {};
                  self->out_body_ = {};
                  if (self->keep_alive_) return self->next_request();
                  self->leave();
                });
  }

  // --- ending

  /// Ends so that the peer can still read our answer: closing with unread input would reset the connection and the
  /// kernel of the peer would throw the answer away.
  void leave() {
    phase_ = Phase::kLeaving;
    if (edge_.stopping() && !unread_input_ && !tls_) return close();
    expire_in(kGoodbye);
    error_code ignored;
    if (!unread_input_ && tls_) {
      tls_->async_shutdown([self = shared_from_this()](error_code) { self->close(); });
      return;
    }
    if (!tls_) socket_.shutdown(tcp::socket::shutdown_send, ignored);
    discard();
  }

  void discard() {
    buffer_.clear();
    async_read_some(buffer_.prepare(kFirstRead), [self = shared_from_this()](error_code ended, size_t) {
      if (self->phase_ == Phase::kClosed) return;
      if (ended) return self->close();
      self->discard();
    });
  }

  // --- plain or TLS

  template <class Buffer, class Done>
  void async_read_some(const Buffer& into, Done done) {
    if (tls_)
      tls_->async_read_some(into, std::move(done));
    else
      socket_.async_read_some(into, std::move(done));
  }

  template <class Buffers, class Done>
  void async_write(const Buffers& from, Done done) {
    // Every piece that the peer takes renews its time: a slow reader of a large body is fine, a stuck one is not, and
    // neither is one that takes just enough to stay.
    auto renew = [self = shared_from_this()](const error_code& failed, size_t) -> size_t {
      if (failed) return 0;
      if (self->phase_ == Phase::kWriting)
        self->expire_at(
            std::min(std::chrono::steady_clock::now() + self->edge_.options().write_timeout, self->write_ends_));
      return kBodyRead;
    };
    if (tls_)
      asio::async_write(*tls_, from, std::move(renew), std::move(done));
    else
      asio::async_write(socket_, from, std::move(renew), std::move(done));
  }

  Edge& edge_;
  const AddressBlock from_;
  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
  asio::steady_timer timer_;
  asio::steady_timer delay_;
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
  bool timer_armed_ = false;
  Phase phase_ = Phase::kHandshake;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  const std::string remote_address_;
  std::chrono::steady_clock::time_point began_{};       // of the request that is being read
  std::chrono::steady_clock::time_point write_ends_{};  // of the answer that is being written
  std::string out_head_;
  std::string out_body_;
  bool checked_head_ = false;
  bool keep_alive_ = true;
  bool head_request_ = false;
  bool http_1_0_ = false;
  bool timed_out_ = false;
  bool unread_input_ = false;
  bool cut_ = false;
  bool counted_ = false;  // one of our address's requests in flight
};

}  // namespace

std::shared_ptr<Connection> open_connection(Edge& edge, tcp::socket socket, const tcp::endpoint& from,
                                            const TlsContext& tls) {
  return std::make_shared<Session>(edge, std::move(socket), from, tls);
}

}  // namespace twinstep::http
