#include "twinstep/plan/temp_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace twinstep::plan {

namespace {
constexpr size_t kBufferBytes = 256 * 1024;
}  // namespace

TempFile::TempFile(TempFile&& other) noexcept
    : folder_(std::move(other.folder_)),
      buffer_(std::move(other.buffer_)),
      size_(std::exchange(other.size_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}

TempFile& TempFile::operator=(TempFile&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(buffer_, other.buffer_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  return *this;
}

TempFile::~TempFile() {
  if (fd_ >= 0) ::close(fd_);
}

tl::unexpected<Error> TempFile::failed(int error, std::string_view doing) const {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return fail(
      ErrorKind::kUnavailable, full ? "plan.disk-full" : "plan.io",
      fmt::format(
          "cannot {} a temporary file in {}: {}; {}", doing, folder_, std::generic_category().message(error),
          full ? "make room there or set TMPDIR to another folder" : "check the folder or set TMPDIR to another one"));
}

Status TempFile::open() {
  if (fd_ >= 0) return {};
  fd_ = ::open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (fd_ < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    // Some file systems know no files without a name: take the name away at once.
    std::string path = folder_ + "/twinstep-XXXXXX";
    fd_ = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd_ >= 0) ::unlink(path.c_str());
  }
  if (fd_ < 0) return failed(errno, "make");
  return {};
}

Status TempFile::put(std::string_view bytes) {
  TRY(open());
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return failed(errno, "write");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Status TempFile::write(std::string_view bytes) {
  size_ += bytes.size();
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    TRY(put(buffer_));
    buffer_.clear();
    if (bytes.size() >= kBufferBytes) return put(bytes);
  }
  if (buffer_.capacity() < kBufferBytes && buffer_.size() + bytes.size() > buffer_.capacity()) {
    buffer_.reserve(kBufferBytes);
  }
  buffer_.append(bytes);
  return {};
}

Status TempFile::flush() {
  std::string rest;
  rest.swap(buffer_);
  return rest.empty() ? Status{} : put(rest);
}

Status TempFile::read(uint64_t offset, char* out, size_t size) const {
  while (size > 0) {
    const ssize_t got = ::pread(fd_, out, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failed(got < 0 ? errno : EIO, "read");
    out += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
  }
  return {};
}

}  // namespace twinstep::plan
