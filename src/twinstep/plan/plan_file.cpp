#include "twinstep/plan/plan_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "twinstep/plan/plan_json.h"

namespace twinstep::plan {
namespace {

constexpr size_t kBuffer = 256 * 1024;

tl::unexpected<Error> write_failed(const std::string& path, int why) {
  const bool full = why == ENOSPC || why == EDQUOT;
  ErrorKind kind = ErrorKind::kUnavailable;
  if (why == EACCES || why == EPERM || why == EROFS) kind = ErrorKind::kDenied;
  if (why == ENOENT || why == ENOTDIR || why == EISDIR || why == ENAMETOOLONG) kind = ErrorKind::kInvalid;
  return fail(kind, full ? "plan.disk-full" : "plan.io",
              fmt::format("{}: the plan cannot be written: {}", path, std::strerror(why)));
}

}  // namespace

PlanWriter::PlanWriter(const PlanHead& head, Sink sink) : sink_(std::move(sink)) {
  char before = '{';
  for (const auto& member : head_object(head)) {
    line_ += before;
    if (before == ',') line_ += '\n';
    line_ += json::write(json::value(member.key()));
    line_ += ':';
    line_ += json::write(member.value());
    before = ',';
  }
  line_ += ",\n";
  line_ += kChangesBegin;
  opened_ = put(line_);
}

Status PlanWriter::put(std::string_view bytes) {
  digest_.update(bytes);
  return sink_(bytes);
}

Status PlanWriter::write(const Change& change) {
  TRY(opened_);
  auto o = change_object(change);
  if (!o) {
    opened_ = fail(o.error());
    return opened_;
  }
  line_ = changes_ == 0 ? "\n" : ",\n";
  line_ += json::write(json::value(std::move(*o)));
  opened_ = put(line_);
  ++changes_;
  return opened_;
}

Status PlanWriter::finish() {
  TRY(opened_);
  TRY(put(fmt::format("\n{}\n", kChangesEnd)));
  line_ = kTailBegin;
  line_ += digest_.hex_digest();
  line_ += kTailEnd;
  opened_ = fail(ErrorKind::kInvalid, "plan.finished", "the plan is finished already");
  return sink_(line_);
}

Result<PlanFileSink> PlanFileSink::create(const std::string& path) {
  std::string target = path;
  struct stat about {};
  if (::stat(path.c_str(), &about) == 0) {
    if (!S_ISREG(about.st_mode)) {
      return fail(ErrorKind::kInvalid, "plan.not-a-file",
                  fmt::format("{}: the plan cannot be written: this is no ordinary file", path));
    }
    // A link goes on pointing at the plan, instead of being replaced by it.
    if (char* real = ::realpath(path.c_str(), nullptr)) {
      target = real;
      std::free(real);
    }
  }
  std::string temporary = target + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);  // mode 0600
  if (fd < 0) return write_failed(path, errno);
  return PlanFileSink(std::move(target), std::move(temporary), fd);
}

PlanFileSink::PlanFileSink(std::string path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

PlanFileSink::PlanFileSink(PlanFileSink&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      buffer_(std::move(other.buffer_)),
      fd_(std::exchange(other.fd_, -1)) {}

PlanFileSink::~PlanFileSink() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status PlanFileSink::write(std::string_view bytes) {
  buffer_ += bytes;
  return buffer_.size() >= kBuffer ? flush() : Status{};
}

Status PlanFileSink::flush() {
  std::string_view left = buffer_;
  while (!left.empty()) {
    const ssize_t written = ::write(fd_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return write_failed(path_, errno);
    left.remove_prefix(static_cast<size_t>(written));
  }
  buffer_.clear();
  return {};
}

Status PlanFileSink::close() {
  TRY(flush());
  if (::fsync(fd_) != 0) return write_failed(path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return write_failed(path_, errno);
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0 && errno != EINTR) return write_failed(path_, errno);
  // The name lasts over a power cut when the folder is written too; the plan is whole either way.
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  if (const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
  return {};
}

}  // namespace twinstep::plan
