// Bytes of one connection to our HTTP server, with the daemon's router behind it: whatever comes, each answer is one of
// HTTP, JSON bodies are text, the connection ends, and the next caller is served.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "check.h"
#include "twinstep/api/router.h"
#include "twinstep/base/encoding.h"

using twinstep::fuzz::check;
namespace http = twinstep::http;

namespace {

class Edge {
 public:
  Edge() {
    using namespace twinstep::api;
    router_.add("GET", "/things/{id}", Scope::kRead, [](const http::ServerRequest& request, const RouteMatch& match) {
      const std::string& id = match.part("id");
      return reply(200, twinstep::json::object{{"bytes", id.size()}, {"q", request.query_value("q").size()}});
    });
    router_.add("POST", "/things", Scope::kOperate, [](const http::ServerRequest& request, const RouteMatch&) {
      return reply(201, twinstep::json::object{{"bytes", request.body.size()}});
    });
    http::ServerOptions options;
    options.handler_threads = 2;
    options.max_body_bytes = 4096;
    options.max_header_bytes = 2048;
    options.read_timeout = options.idle_timeout = options.write_timeout = std::chrono::milliseconds{2000};
    server_ = std::move(*http::Server::start(options, [this](const http::ServerRequest& request) {
      const auto answer = router_.handle(request, *gate_);
      check(twinstep::is_utf8(answer.body), "an answer is text");
      check(twinstep::json::parse(answer.body, "answer").has_value(), "an answer is JSON");
      return answer;
    }));
  }

  std::string ask(std::string_view bytes) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    // Ports of ended connections rest for a minute: another address of the loopback network every few thousand.
    static uint32_t asked = 0;
    address.sin_addr.s_addr = htonl(0x7F000002u + ((asked++ / 4096) % 250 << 8));
    check(fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
          "the caller has an address");
    address.sin_port = htons(server_->port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "the server listens");
    const timeval patience{30, 0};  // the machine may be busy; the server gives up after 5 s at most
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;  // it has refused us already
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    ::shutdown(fd, SHUT_WR);
    std::string answer;
    char piece[4096];
    for (;;) {
      const ssize_t got = ::recv(fd, piece, sizeof piece, 0);
      check(got >= 0 || errno == ECONNRESET, "the connection ends by itself");
      if (got <= 0) break;
      answer.append(piece, static_cast<size_t>(got));
    }
    ::close(fd);
    return answer;
  }

 private:
  const std::unique_ptr<twinstep::api::Gate> gate_ = twinstep::api::open_gate("fuzz");
  twinstep::api::Router router_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Edge edge;
  static unsigned runs = 0;
  // The fuzzer's own timer interrupts other threads instead of our calls.
  static const bool quiet = [] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    return pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0;
  }();
  check(quiet, "signals can be blocked");
  const std::string answer = edge.ask(twinstep::fuzz::text_of(data, size));
  check(answer.empty() || answer.starts_with("HTTP/1."), "what comes back is HTTP");
  if (++runs % 16 == 0) {
    const std::string good = edge.ask("GET /things/7?q=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    check(good.starts_with("HTTP/1.1 200"), "the next caller is served");
  }
  return 0;
}
