#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "twinstep/base/result.h"

namespace twinstep::plan {

/// A file without a name, from its first moment: it is gone with the process, whatever happens. Written at its end,
/// read anywhere. Made by the first write. Movable.
///
/// Threads  writing: one; reading: any number, once flush() was called.
/// Errors   kUnavailable "plan.disk-full", "plan.io", naming the folder.
class TempFile {
 public:
  explicit TempFile(std::string folder) : folder_(std::move(folder)) {}
  TempFile(TempFile&& other) noexcept;
  TempFile& operator=(TempFile&& other) noexcept;
  ~TempFile();

  Status write(std::string_view bytes);
  /// Hands the buffer's bytes over and frees it.
  Status flush();
  /// Bytes written so far, buffered ones included: where the next write begins.
  uint64_t size() const { return size_; }
  /// Reads exactly `size` bytes of what was flushed.
  Status read(uint64_t offset, char* out, size_t size) const;

 private:
  Status open();
  Status put(std::string_view bytes);
  tl::unexpected<Error> failed(int error, std::string_view doing) const;

  std::string folder_;
  std::string buffer_;
  uint64_t size_ = 0;
  int fd_ = -1;
};

}  // namespace twinstep::plan
