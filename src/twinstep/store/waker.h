#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <stdexcept>

namespace twinstep::store {

/// Ends a poll() from another thread, also one that begins only afterwards.
///
/// Threads  wake() any; the rest the one that polls.
class Waker {
 public:
  Waker() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw std::runtime_error("no file descriptor is left for an event");
  }
  ~Waker() { ::close(fd_); }
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

  int fd() const { return fd_; }
  void wake() const { (void)!::write(fd_, &kOne, sizeof kOne); }  // fails only when it is awake already
  /// Forgets that it was woken.
  void rest() const {
    uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);
  }

 private:
  static constexpr uint64_t kOne = 1;
  const int fd_;
};

}  // namespace twinstep::store
