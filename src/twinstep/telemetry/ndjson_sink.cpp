#include "twinstep/telemetry/ndjson_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace twinstep::telemetry {
namespace {

constexpr int kPollMillis = 200;
constexpr size_t kPipePiece = 4096;  // POSIX: a pipe that polls writable takes so much at once

tl::unexpected<Error> trouble(std::string_view what, const std::string& path) {
  return fail(ErrorKind::kUnavailable, "telemetry.file", fmt::format("{} {}: {}", what, path, std::strerror(errno)));
}

}  // namespace

LineFile::~LineFile() {
  if (file_ >= 0) ::close(file_);
}

Status LineFile::reopen() {
  struct stat named {};
  struct stat held {};
  if (file_ >= 0) {
    const bool same = ::stat(path_.c_str(), &named) == 0 && ::fstat(file_, &held) == 0 && named.st_ino == held.st_ino &&
                      named.st_dev == held.st_dev;
    if (same) return {};
    ::close(std::exchange(file_, -1));
  }
  file_ = ::open(path_.c_str(), O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0640);
  if (file_ < 0) return trouble("cannot open", path_);
  // A process that was killed in the middle of a line leaves one that nobody can read; ours begins on a new one.
  char last = '\n';
  if (::fstat(file_, &held) == 0 && held.st_size > 0 && ::pread(file_, &last, 1, held.st_size - 1) == 1 && last != '\n')
    return append("\n");
  return {};
}

Status LineFile::append(const std::string& text) {
  struct stat before {};
  if (::fstat(file_, &before) != 0) return trouble("cannot look at", path_);
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t now = ::write(file_, text.data() + written, text.size() - written);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) {
      auto failed = trouble("cannot write", path_);
      if (S_ISREG(before.st_mode) && ::ftruncate(file_, before.st_size) != 0) ::close(std::exchange(file_, -1));
      return failed;
    }
    written += static_cast<size_t>(now);
  }
  return {};
}

Status LineFile::print(std::string_view text, const Call& call) const {
  while (!text.empty()) {
    pollfd out{STDOUT_FILENO, POLLOUT, 0};
    const int ready = ::poll(&out, 1, kPollMillis);
    if (ready == 0 || (ready < 0 && errno == EINTR)) {
      if (!call.stop.stop_requested()) continue;
      return fail(ErrorKind::kCancelled, "telemetry.file", "nobody reads standard output");
    }
    const ssize_t now = ::write(STDOUT_FILENO, text.data(), std::min(text.size(), kPipePiece));
    if (now < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (now <= 0) return trouble("cannot write to", path_);
    text.remove_prefix(static_cast<size_t>(now));
  }
  return {};
}

Outcome LineFile::deliver(const std::vector<std::string>& lines, const Call& call) {
  Outcome out;
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  Status done;
  if (path_ == "stdout") {
    done = print(text, call);
    // Part of it may be printed; and a reader that is gone does not come back.
    if (!done) out.refused = lines.size();
  } else {
    done = reopen();
    if (done) done = append(text);
    if (!done) out.again = lines;
  }
  if (!done) out.why = done.error().what;
  return out;
}

}  // namespace twinstep::telemetry
