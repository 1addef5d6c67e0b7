#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

namespace twinstep::http {

/// A TCP connection for tests that need bytes no decent client would send.
class RawConnection {
 public:
  explicit RawConnection(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect");
  }
  RawConnection(RawConnection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~RawConnection() {
    if (fd_ >= 0) close(fd_);
  }

  /// True when all was taken.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  /// Everything up to and with `end`, or up to the end of the connection.
  std::string read_until(std::string_view end) {
    std::string text;
    while (!text.ends_with(end)) {
      char c = 0;
      if (!readable() || recv(fd_, &c, 1, 0) <= 0) break;
      text += c;
    }
    return text;
  }

  /// Everything up to the end of the connection.
  std::string read_all() {
    std::string text;
    char piece[4096];
    while (readable()) {
      const ssize_t got = recv(fd_, piece, sizeof piece, 0);
      if (got <= 0) return text;
      text.append(piece, static_cast<size_t>(got));
    }
    return text + "<still open>";
  }

 private:
  bool readable() {
    pollfd wait{fd_, POLLIN, 0};
    return poll(&wait, 1, 10'000) == 1;
  }

  int fd_;
};

}  // namespace twinstep::http
