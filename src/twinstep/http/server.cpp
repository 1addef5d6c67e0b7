#include "twinstep/http/server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <condition_variable>
#include <mutex>
#include <typeinfo>
#include <unordered_set>

#include "twinstep/base/clock.h"
#include "twinstep/base/redact.h"
#include "twinstep/base/time_format.h"
#include "twinstep/http/connection.h"
#include "twinstep/http/response_head.h"

namespace twinstep::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Span = std::chrono::milliseconds;

constexpr Span kAcceptPause{100};  // after "too many open files"

/// Accepts connections, up to the limits, and ends them when the server stops.
class Listener final : public Edge {
 public:
  Listener(ServerOptions options, Handler handler)
      : options_(std::move(options)),
        handler_(std::move(handler)),
        accept_pause_(io_),
        acceptor_(io_),
        addresses_(options_.connections_per_address.most, options_.connections_per_address.spare_local),
        requests_(options_.requests_per_address.most, options_.requests_per_address.spare_local) {}
  ~Listener() { stop(Span{0}); }

  Status open();
  void run();
  uint16_t port() const { return port_; }
  Status use_certificate(const TlsMaterial& material);  ///< any thread
  void stop(Span drain);                                ///< any thread but ours

  const ServerOptions& options() const override { return options_; }
  asio::io_context& io() override { return io_; }
  HandlerPool& pool() override { return *pool_; }
  AddressCounts& requests() override { return requests_; }
  bool stopping() const override { return stopping_; }
  void ended(Connection& connection, const AddressBlock& from) override;
  ServerResponse handle(const ServerRequest& request) noexcept override;

 private:
  void accept();
  void accepted(tcp::socket socket);
  void turn_away(tcp::socket socket);

  const ServerOptions options_;
  const Handler handler_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  asio::steady_timer accept_pause_;
  tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  TlsContext tls_;  // of connections to come; those that are open hold their own
  AddressCounts addresses_;
  AddressCounts requests_;
  std::unordered_set<Connection*> connections_;
  bool stopping_ = false;
  std::unique_ptr<HandlerPool> pool_;
  std::thread io_thread_;

  std::mutex mutex_;  // guards the two below, which stop() waits on
  std::condition_variable drained_changed_;
  bool drained_ = false;
  std::mutex stop_mutex_;  // one stop() at a time; guards stopped_
  bool stopped_ = false;
};

Status Listener::open() {
  if (!options_.tls_certificate.empty()) {
    TRY_ASSIGN(tls_, make_tls_context({options_.tls_certificate, options_.tls_key, options_.tls_client_ca}));
  }
  error_code failed;
  const asio::ip::address address = asio::ip::make_address(options_.address, failed);
  if (failed)
    return fail(
        ErrorKind::kInvalid, "server.bad-address",
        fmt::format("cannot listen on '{}': not an IP address; use 127.0.0.1, 0.0.0.0, ::1 or ::", options_.address));
  const tcp::endpoint endpoint(address, options_.port);
  acceptor_.open(endpoint.protocol(), failed);
  if (!failed) acceptor_.set_option(tcp::acceptor::reuse_address(true), failed);
  if (!failed && address.is_v6() && address.is_unspecified())
    acceptor_.set_option(asio::ip::v6_only(false), failed);  // "::" means every address, IPv4 too
  if (!failed) acceptor_.bind(endpoint, failed);
  if (!failed) acceptor_.listen(asio::socket_base::max_listen_connections, failed);
  if (failed) {
    const bool taken = failed == asio::error::address_in_use;
    const char* remedy =
        taken ? "; another program has the port, choose a different one"
        : failed == asio::error::access_denied
            ? "; ports below 1024 need the right CAP_NET_BIND_SERVICE, choose another or put a proxy before it"
        : failed == boost::system::errc::address_not_available
            ? "; this machine has no such address, use one of its own, 0.0.0.0 or ::"
            : "";
    return fail(
        ErrorKind::kUnavailable, taken ? "server.port-taken" : "server.cannot-listen",
        fmt::format("cannot listen on {} port {}: {}{}", options_.address, options_.port, failed.message(), remedy));
  }
  port_ = acceptor_.local_endpoint().port();
  return {};
}

void Listener::run() {
  pool_ = std::make_unique<HandlerPool>(options_.handler_threads, options_.queue);
  accept();
  io_thread_ = std::thread([this] {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& e) {  // one connection's trouble must not end the others
        spdlog::error("http server: {} in the io thread: {}", typeid(e).name(), e.what());
      }
    }
  });
}

void Listener::accept() {
  acceptor_.async_accept([this](error_code failed, tcp::socket socket) {
    if (stopping_) return;
    if (!failed) {
      accept();  // first: whatever happens to this one, the next one is accepted
      return accepted(std::move(socket));
    }
    if (failed == asio::error::connection_aborted) return accept();
    spdlog::warn("http server: cannot accept a connection: {}", failed.message());
    accept_pause_.expires_after(kAcceptPause);
    accept_pause_.async_wait([this](error_code) {
      if (!stopping_) accept();
    });
  });
}

void Listener::accepted(tcp::socket socket) {
  error_code gone;
  const tcp::endpoint from = socket.remote_endpoint(gone);
  if (gone) return;
  const AddressBlock who(from.address());
  if (connections_.size() >= static_cast<size_t>(std::max(1, options_.max_connections)) || !addresses_.take(who))
    return turn_away(std::move(socket));
  auto connection = open_connection(*this, std::move(socket), from, tls_);
  connections_.insert(connection.get());
  connection->start();
}

/// Over a limit. A TLS client would have to be given a handshake to be told so; it sees the connection end.
void Listener::turn_away(tcp::socket socket) {
  if (tls_) return;
  ServerResponse full = problem(503, "Service Unavailable", "too many connections");
  full.headers.push_back({"Retry-After", "1"});
  const std::string date = format_http_date(real_clock().system_now());
  const std::string text = response_head(full, {.reason = "Service Unavailable",
                                                .date = date,
                                                .keep_alive = false,
                                                .security_headers = options_.security_headers}) +
                           full.body;
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(text), ignored);
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

void Listener::ended(Connection& connection, const AddressBlock& from) {
  connections_.erase(&connection);
  addresses_.give(from);
  if (!stopping_ || !connections_.empty()) return;
  std::scoped_lock lock(mutex_);
  drained_ = true;
  drained_changed_.notify_all();
}

Status Listener::use_certificate(const TlsMaterial& material) {
  if (options_.tls_certificate.empty())
    return fail(ErrorKind::kInvalid, "server.bad-certificate", "this listener was started without TLS");
  TRY_ASSIGN(TlsContext fresh, make_tls_context(material));
  asio::post(io_, [this, fresh = std::move(fresh)]() mutable { tls_.swap(fresh); });
  return {};
}

ServerResponse Listener::handle(const ServerRequest& request) noexcept {
  try {
    return handler_(request);
  } catch (const std::exception& e) {
    spdlog::error("http server: {} in the handler of {} {}: {}", typeid(e).name(), for_log(request.method),
                  for_log(request.path), e.what());
  } catch (...) {
    spdlog::error("http server: something that is no exception in the handler of {} {}", for_log(request.method),
                  for_log(request.path));
  }
  return problem(500, "Internal Server Error", "the request failed inside the server; its log says more");
}

void Listener::stop(Span drain) {
  std::scoped_lock one_at_a_time(stop_mutex_);
  if (std::exchange(stopped_, true) || !io_thread_.joinable()) return;
  asio::post(io_, [this] {
    stopping_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    accept_pause_.cancel();
    const auto now_open = connections_;  // close() may end sessions while we go through them
    for (Connection* connection : now_open)
      if (connections_.contains(connection)) connection->wind_up();
    if (!connections_.empty()) return;
    std::scoped_lock lock(mutex_);
    drained_ = true;
    drained_changed_.notify_all();
  });
  {
    std::unique_lock lock(mutex_);
    drained_changed_.wait_for(lock, drain, [this] { return drained_; });
  }
  asio::post(io_, [this] {
    const auto now_open = connections_;
    for (Connection* connection : now_open)
      if (connections_.contains(connection)) connection->close();
  });
  // A connection that waited for a thread ends where all of them end.
  asio::post(io_, [forgotten = pool_->stop()] {});
  asio::post(io_, [this] { work_.reset(); });
  io_thread_.join();
}

}  // namespace

struct Server::Impl {
  Impl(ServerOptions options, Handler handler) : listener(std::move(options), std::move(handler)) {}
  Listener listener;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { stop(); }

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Handler handler) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(handler));
  TRY(impl->listener.open());
  impl->listener.run();
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Status Server::use_certificate(const TlsMaterial& material) { return impl_->listener.use_certificate(material); }
uint16_t Server::port() const { return impl_->listener.port(); }
void Server::stop(std::chrono::milliseconds drain) { impl_->listener.stop(drain); }

}  // namespace twinstep::http
