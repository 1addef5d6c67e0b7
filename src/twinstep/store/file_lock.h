#pragma once

#include <string>
#include <string_view>

#include "twinstep/base/result.h"

namespace twinstep::store {

/// Keeps the other processes of this machine away: the operating system's lock on a file beside the store, which goes
/// when the process ends, however it ends.
class FileLock {
 public:
  /// Of one `name` for one store, "sqlite:PATH" or a bare path. Errors  kConflict "store.locked": another process has
  /// it; kUnavailable.
  static Result<FileLock> take(std::string_view store, std::string_view name);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace twinstep::store
