#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace twinstep::http {

/// An HTTP proxy on a port of its own: opens tunnels for CONNECT, and passes on one request with an absolute address a
/// connection. Every host name means this machine, so what arrives did not find its own way.
class TestProxy {
 public:
  enum class Mood { kServes, kCloses, kIsSilent };

  /// `refusal`: what is answered instead of serving, e.g. "407 Proxy Authentication Required".
  explicit TestProxy(Mood mood = Mood::kServes, std::string refusal = {})
      : mood_(mood), refusal_(std::move(refusal)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = local(0);
    socklen_t size = sizeof address;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 16) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("cannot listen");
    port_ = ntohs(address.sin_port);
    acceptor_ = std::jthread([this](const std::stop_token& stop) { accept_all(stop); });
  }
  ~TestProxy() {
    acceptor_.request_stop();
    acceptor_.join();
    for (std::jthread& one : connections_) one.request_stop();
    connections_.clear();
    close(listener_);
  }

  uint16_t port() const { return port_; }
  /// The heads of what was asked.
  std::vector<std::string> asked() const {
    std::scoped_lock lock(mutex_);
    return asked_;
  }

 private:
  static constexpr int kLook = 20;  // milliseconds between two looks at the stop token

  static sockaddr_in local(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  static bool readable(int fd) {
    pollfd wait{fd, POLLIN, 0};
    return poll(&wait, 1, kLook) == 1;
  }
  static void send_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }

  void accept_all(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (!readable(listener_)) continue;
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      connections_.emplace_back([this, fd](const std::stop_token& end) {
        serve(fd, end);
        close(fd);
      });
    }
  }

  void serve(int client, const std::stop_token& stop) {
    std::string head;
    while (head.find("\r\n\r\n") == std::string::npos) {
      char piece[4096];
      if (stop.stop_requested()) return;
      if (!readable(client)) continue;
      const ssize_t got = recv(client, piece, sizeof piece, 0);
      if (got <= 0) return;
      head.append(piece, static_cast<size_t>(got));
    }
    {
      std::scoped_lock lock(mutex_);
      asked_.push_back(head.substr(0, head.find("\r\n\r\n")));
    }
    if (mood_ == Mood::kCloses) return;
    while (mood_ == Mood::kIsSilent && !stop.stop_requested()) readable(-1);
    if (stop.stop_requested()) return;
    if (!refusal_.empty()) return send_all(client, "HTTP/1.1 " + refusal_ + "\r\nContent-Length: 0\r\n\r\n");

    // "CONNECT host:port HTTP/1.1" or "GET http://host:port/path HTTP/1.1"
    const bool tunnel = head.starts_with("CONNECT ");
    const size_t target = head.find(' ') + 1;
    const size_t host = tunnel ? target : head.find("://", target) + 3;
    const size_t end = head.find_first_of(" /", host);
    const sockaddr_in address = local(static_cast<uint16_t>(std::stoi(head.substr(head.find(':', host) + 1))));
    const int remote = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(remote, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      if (tunnel)
        send_all(client, "HTTP/1.1 200 Connection established\r\n\r\n");
      else
        send_all(remote, head.substr(0, target) + without_password(head.substr(end)));
      pass_on(client, remote, stop);
    }
    close(remote);
  }

  static std::string without_password(std::string head) {
    const size_t from = head.find("Proxy-Authorization:");
    return from == std::string::npos ? head : head.erase(from, head.find("\r\n", from) + 2 - from);
  }

  static void pass_on(int one, int other, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd both[2] = {{one, POLLIN, 0}, {other, POLLIN, 0}};
      if (poll(both, 2, kLook) <= 0) continue;
      for (const int i : {0, 1}) {
        if (both[i].revents == 0) continue;
        char piece[16384];
        const ssize_t got = recv(both[i].fd, piece, sizeof piece, 0);
        if (got <= 0) return;
        send_all(both[1 - i].fd, {piece, static_cast<size_t>(got)});
      }
    }
  }

  const Mood mood_;
  const std::string refusal_;
  const int listener_;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;  // guards asked_
  std::vector<std::string> asked_;
  std::list<std::jthread> connections_;  // of the acceptor, and of the destructor after its end
  std::jthread acceptor_;
};

}  // namespace twinstep::http
