#include "twinstep/store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "twinstep/base/encoding.h"

namespace twinstep::store {

FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<FileLock> FileLock::take(std::string_view store, std::string_view name) {
  constexpr std::string_view kScheme = "sqlite:";
  if (store.starts_with(kScheme)) store.remove_prefix(kScheme.size());
  const std::string lock = fmt::format("{}.{}.lock", store, hex_encode(sha256(name)).substr(0, 16));
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail(ErrorKind::kUnavailable, "store.lock", fmt::format("lock file {}: {}", lock, std::strerror(errno)));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return fail(ErrorKind::kConflict, "store.locked", fmt::format("another process holds the lock file {}", lock));
  }
  return FileLock(fd);
}

}  // namespace twinstep::store
