#include "twinstep/store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
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
  // Beside the file itself, also where a symbolic link leads to it: two ways to one database must meet at one lock.
  std::error_code unknown;
  const std::filesystem::path real = std::filesystem::weakly_canonical(std::filesystem::path(store), unknown);
  const std::string file = unknown || real.empty() ? std::string(store) : real.string();
  const std::string lock = fmt::format("{}.{}.lock", file, hex_encode(sha256(name)).substr(0, 16));
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
