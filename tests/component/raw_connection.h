#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace twinstep::http {

/// A TCP connection for tests that need bytes no decent client would send.
class RawConnection {
 public:
  /// `from` is one of the loopback addresses, which this machine has sixteen million of.
  explicit RawConnection(uint16_t port, const char* from = "127.0.0.1", int receive_buffer = 0)
      : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (inet_pton(AF_INET, from, &address.sin_addr) != 1 ||
        bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot bind");
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect");
  }
  RawConnection(RawConnection&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawConnection& operator=(RawConnection&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
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

  /// Sends the bytes one at a time, each after having waited so long for an answer in vain. False when none came.
  bool trickle(std::string_view bytes, int pause_milliseconds = 15) {
    for (const char c : bytes) {
      if (readable(pause_milliseconds)) return true;
      if (::send(fd_, &c, 1, MSG_NOSIGNAL) != 1) return true;
    }
    return false;
  }

  /// Takes that many pieces of an answer, with a pause after each. How many bytes they were.
  size_t sip(int pieces, int pause_milliseconds = 15) {
    size_t got = 0;
    char piece[1024];
    while (pieces-- > 0 && readable()) {
      const ssize_t size = recv(fd_, piece, sizeof piece, 0);
      if (size <= 0) break;
      got += static_cast<size_t>(size);
      poll(nullptr, 0, pause_milliseconds);
    }
    return got;
  }

  /// True when nothing, not even an end, comes for that long.
  bool silent_for(int milliseconds) { return !readable(milliseconds); }

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
  bool readable(int milliseconds = 10'000) {
    pollfd wait{fd_, POLLIN, 0};
    return poll(&wait, 1, milliseconds) == 1;
  }

  int fd_;
};

}  // namespace twinstep::http
