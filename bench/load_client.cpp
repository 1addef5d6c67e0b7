#include "load_client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace twinstep::bench {
namespace {

using Now = std::chrono::steady_clock;

/// A descriptor that is closed when this goes.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// One connection with at most one request on it.
struct Line {
  explicit Line(Fd fd_in) : fd(std::move(fd_in)) {}
  Fd fd;
  std::string in;
  bool busy = false;
  Now::time_point begun;
};

tl::unexpected<Error> cannot(uint16_t port, const char* what) {
  return fail(ErrorKind::kUnavailable, "bench.load", fmt::format("port {}: {}: {}", port, what, std::strerror(errno)));
}

Result<Fd> connected(uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd.get() < 0 || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    return cannot(port, "no connection");
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

/// Status of a whole answer, 0 while more must come, -1 when the connection is broken.
int pull(Line& line) {
  char piece[4096];
  for (;;) {
    const ssize_t n = ::recv(line.fd.get(), piece, sizeof piece, MSG_DONTWAIT);
    if (n == 0) return -1;
    if (n < 0 && errno != EAGAIN) return -1;
    if (n < 0) break;
    line.in.append(piece, static_cast<size_t>(n));
    if (static_cast<size_t>(n) < sizeof piece) break;
  }
  const size_t end = line.in.find("\r\n\r\n");
  if (end == std::string::npos) return 0;
  std::string head = line.in.substr(0, end);
  std::transform(head.begin(), head.end(), head.begin(),
                 [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  constexpr std::string_view kLength = "\r\ncontent-length:";
  size_t length = 0;
  if (size_t at = head.find(kLength); at != std::string::npos) {
    at = head.find_first_not_of(' ', at + kLength.size());
    std::from_chars(head.data() + at, head.data() + head.size(), length);
  }
  if (line.in.size() < end + 4 + length) return 0;
  int status = -1;
  if (const size_t space = head.find(' '); space != std::string::npos)
    std::from_chars(head.data() + space + 1, head.data() + head.size(), status);
  return status;
}

class Run {
 public:
  Run(uint16_t port, const std::vector<std::string>& paths, const std::vector<std::string>& bodies, double per_second)
      : port_(port),
        head_(fmt::format(" HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json; charset=utf-8\r\n"
                          "aeg-event-type: Notification\r\naeg-data-version: 1\r\naeg-metadata-version: 1\r\n"
                          "aeg-subscription-name: TWINSTEP\r\naeg-delivery-count: 0\r\nContent-Length: ",
                          port)),
        paths_(paths),
        bodies_(bodies),
        per_second_(per_second),
        poll_(::epoll_create1(EPOLL_CLOEXEC)) {}

  Result<LoadResult> go(size_t connections) {
    lines_.reserve(connections);
    for (size_t i = 0; i < connections; ++i) {
      TRY_ASSIGN(Fd fd, connected(port_));
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = i;
      ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd.get(), &event);
      lines_.emplace_back(std::move(fd));
    }
    result_.micros.reserve(bodies_.size());
    started_ = Now::now();
    auto last = started_;
    while (result_.good + result_.bad < bodies_.size()) {
      for (Line& line : lines_)
        if (!line.busy && is_time()) send(line);
      epoll_event events[64];
      const int patience = per_second_ > 0 ? 1 : 1000;
      const int count = ::epoll_wait(poll_.get(), events, 64, patience);
      for (int i = 0; i < count; ++i) {
        Line& line = lines_[events[i].data.u64];
        if (line.busy) TRY(answered(line));
        if (!line.busy && is_time()) send(line);
      }
      if (count > 0) last = Now::now();
      if (Now::now() - last > std::chrono::seconds{60}) {
        result_.bad = bodies_.size() - result_.good;  // nobody answers any more
        break;
      }
    }
    result_.seconds = std::chrono::duration<double>(last - started_).count();
    std::sort(result_.micros.begin(), result_.micros.end());
    return std::move(result_);
  }

 private:
  bool is_time() const {
    if (next_ == bodies_.size()) return false;
    if (per_second_ <= 0) return true;
    return std::chrono::duration<double>(Now::now() - started_).count() >= static_cast<double>(next_) / per_second_;
  }

  void send(Line& line) {
    const size_t which = next_++;
    const std::string& body = bodies_[which];
    out_ = "POST " + paths_[paths_.size() == 1 ? 0 : which] + head_ + std::to_string(body.size()) + "\r\n\r\n";
    out_ += body;
    line.in.clear();
    line.busy = true;
    line.begun = Now::now();
    if (per_second_ > 0)
      line.begun = started_ + std::chrono::duration_cast<Now::duration>(
                                  std::chrono::duration<double>(static_cast<double>(which) / per_second_));
    // Waits while a large body does not fit; a broken connection shows when the answer is waited for.
    for (size_t sent = 0; sent < out_.size();) {
      const ssize_t n = ::send(line.fd.get(), out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
  }

  Status answered(Line& line) {
    const int status = pull(line);
    if (status == 0) return {};
    line.busy = false;
    if (status == 200 || status == 201) {
      ++result_.good;
      const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Now::now() - line.begun);
      result_.micros.push_back(static_cast<uint32_t>(took.count()));
      return {};
    }
    ++result_.bad;
    if (status > 0) return {};
    return cannot(port_, "the connection was closed");
  }

  const uint16_t port_;
  const std::string head_;
  const std::vector<std::string>& paths_;
  const std::vector<std::string>& bodies_;
  const double per_second_;
  Fd poll_;
  std::vector<Line> lines_;
  std::string out_;
  size_t next_ = 0;
  Now::time_point started_;
  LoadResult result_;
};

}  // namespace

double LoadResult::percentile(double p) const {
  if (micros.empty()) return 0;
  const auto at = static_cast<size_t>(p / 100 * static_cast<double>(micros.size()));
  return micros[std::min(at, micros.size() - 1)] / 1000.0;
}

Result<LoadResult> post_all(uint16_t port, const std::string& path, const std::vector<std::string>& bodies,
                            size_t connections, double per_second) {
  return post_all(port, std::vector<std::string>{path}, bodies, connections, per_second);
}

Result<LoadResult> post_all(uint16_t port, const std::vector<std::string>& paths,
                            const std::vector<std::string>& bodies, size_t connections, double per_second) {
  return Run(port, paths, bodies, per_second).go(connections);
}

}  // namespace twinstep::bench
