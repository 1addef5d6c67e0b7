#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "twinstep/plan/exact_json.h"
#include "twinstep/plan/plan_file.h"
#include "twinstep/plan/plan_json.h"

namespace twinstep::plan {
namespace {

constexpr size_t kHexDigits = 64;
constexpr size_t kTail = kTailBegin.size() + kHexDigits + kTailEnd.size();
constexpr size_t kBuffer = 256 * 1024;
constexpr size_t kLongestLine = 16 * 1024 * 1024;

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

/// An open plan file that must stay as it is while it is read.
class File {
 public:
  static Result<File> open(const std::string& path) {
    // Not blocking, so that a pipe's name cannot hang the caller.
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
      const int why = errno;
      if (why == EACCES || why == EPERM) {
        return fail(ErrorKind::kDenied, "plan.unreadable",
                    fmt::format("{}: the plan cannot be read: {}", path, std::strerror(why)));
      }
      return fail(ErrorKind::kNotFound, "plan.not-found",
                  fmt::format("{}: the plan cannot be opened: {}", path, std::strerror(why)));
    }
    File file(path, fd);
    if (::fstat(fd, &file.about_) != 0 || !S_ISREG(file.about_.st_mode)) {
      return fail(ErrorKind::kInvalid, "plan.not-a-plan",
                  fmt::format("{} is no ordinary file, so it is not a plan", path));
    }
    return file;
  }
  File(File&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), about_(other.about_) {}
  File& operator=(File&&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }

  const std::string& path() const { return path_; }
  uint64_t size() const { return static_cast<uint64_t>(about_.st_size); }

  /// Exactly `size` bytes from `at`.
  Status read(uint64_t at, char* into, size_t size) const {
    while (size > 0) {
      const ssize_t got = ::pread(fd_, into, size, static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        return fail(ErrorKind::kUnavailable, "plan.io",
                    fmt::format("{}: the plan cannot be read: {}", path_, std::strerror(errno)));
      }
      if (got == 0) return changed();
      at += static_cast<uint64_t>(got);
      into += got;
      size -= static_cast<size_t>(got);
    }
    struct stat now {};
    if (::fstat(fd_, &now) != 0 || now.st_size != about_.st_size || now.st_mtim.tv_sec != about_.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != about_.st_mtim.tv_nsec)
      return changed();
    return {};
  }

 private:
  File(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  tl::unexpected<Error> changed() const {
    return fail(ErrorKind::kInvalid, "plan.edited",
                fmt::format("{} was changed while it was read; make a new plan", path_));
  }

  std::string path_;
  int fd_;
  struct stat about_ {};
};

/// The lines between two places of a file, without their line feeds.
class Lines {
 public:
  Lines(const File& file, uint64_t from, uint64_t to) : file_(file), at_(from), end_(to) {}

  /// Empty at the end. The view is good until the next call.
  Result<std::optional<std::string_view>> next() {
    size_t searched = begin_;
    while (true) {
      const size_t feed = buffer_.find('\n', searched);
      if (feed != std::string::npos) {
        const std::string_view line(buffer_.data() + begin_, feed - begin_);
        begin_ = feed + 1;
        return line;
      }
      if (at_ == end_) {
        if (begin_ == buffer_.size()) return std::nullopt;
        const std::string_view line(buffer_.data() + begin_, buffer_.size() - begin_);
        begin_ = buffer_.size();
        return line;
      }
      buffer_.erase(0, begin_);
      begin_ = 0;
      searched = buffer_.size();
      if (searched > kLongestLine) return fail(ErrorKind::kCorrupt, "plan.line", "a line is too long");
      const auto more = static_cast<size_t>(std::min<uint64_t>(kBuffer, end_ - at_));
      buffer_.resize(searched + more);
      TRY(file_.read(at_, buffer_.data() + searched, more));
      at_ += more;
    }
  }
  /// Where the next line begins.
  uint64_t place() const { return at_ - (buffer_.size() - begin_); }

 private:
  const File& file_;
  uint64_t at_;
  uint64_t end_;
  std::string buffer_;
  size_t begin_ = 0;
};

void skip_space(std::string_view& text) {
  while (!text.empty() && std::string_view(" \t\r\n").find(text.front()) != std::string_view::npos)
    text.remove_prefix(1);
}

/// Tells a plan of this version from everything else by the file's first bytes.
Status check_opening(const std::string& path, std::string_view begin) {
  const std::string exact = fmt::format("{{\"schema\":\"{}\",\n", kPlanSchema);
  if (begin.starts_with(exact)) return {};
  if (!begin.empty() && std::string_view(exact).starts_with(begin)) {
    return fail(ErrorKind::kInvalid, "plan.cut-off",
                fmt::format("{} is cut off; copy it again or make a new plan", path));
  }
  // A plan that a formatter went over is still told from text that never was one.
  std::string_view rest = begin;
  bool plan = true;
  for (const std::string_view token : {"{", "\"schema\"", ":", "\""}) {
    skip_space(rest);
    plan = plan && rest.starts_with(token);
    if (plan) rest.remove_prefix(token.size());
  }
  constexpr std::string_view kFamily = "twinstep.plan/";
  const std::string_view schema = rest.substr(0, std::min(rest.find('"'), size_t{40}));
  if (!plan || !schema.starts_with(kFamily)) {
    return fail(ErrorKind::kInvalid, "plan.not-a-plan",
                fmt::format("{} is not a plan: it does not begin with {{\"schema\":\"{}\"; plans are made by "
                            "`twinstep plan -o FILE`",
                            path, kPlanSchema));
  }
  if (schema != kPlanSchema) {
    return fail(ErrorKind::kInvalid, "plan.schema",
                fmt::format("{} has schema {}, this twinstep reads {}; make a new plan with this version", path,
                            as_utf8(schema), kPlanSchema));
  }
  return fail(ErrorKind::kInvalid, "plan.edited",
              fmt::format("{} was edited or formatted anew; only an untouched plan is applied", path));
}

/// The digest from the file's last bytes.
Result<std::string> digest_of(const std::string& path, std::string_view tail) {
  const auto edited = [&] {
    return fail(ErrorKind::kInvalid, "plan.edited", fmt::format("{} was edited at its end; make a new plan", path));
  };
  const auto cut_off = [&] {
    return fail(ErrorKind::kInvalid, "plan.cut-off",
                fmt::format("{} is cut off: the digest at its end is missing; copy it again or make a new plan", path));
  };
  if (tail.size() >= kTail) {
    const std::string_view last = tail.substr(tail.size() - kTail);
    size_t wrong = 0;
    for (size_t i = 0; i < kTail; ++i) {
      const size_t hex_end = kTailBegin.size() + kHexDigits;
      if (i < kTailBegin.size())
        wrong += last[i] != kTailBegin[i];
      else if (i < hex_end)
        wrong += !is_hex(last[i]);
      else
        wrong += last[i] != kTailEnd[i - hex_end];
    }
    if (wrong == 0) return std::string(last.substr(kTailBegin.size(), kHexDigits));
    if (wrong <= 3) return edited();
  }
  const size_t begin = tail.rfind("\n" + std::string(kTailBegin));
  if (begin == std::string_view::npos) return cut_off();
  return tail.size() - begin - 1 < kTail ? Result<std::string>(cut_off()) : Result<std::string>(edited());
}

}  // namespace

struct PlanReader::Data {
  File file;
  PlanHead head;
  std::string digest;
  uint64_t changes_at = 0;
  uint64_t end = 0;
};

PlanReader::PlanReader(std::unique_ptr<Data> data) : data_(std::move(data)) {}
PlanReader::PlanReader(PlanReader&&) noexcept = default;
PlanReader& PlanReader::operator=(PlanReader&&) noexcept = default;
PlanReader::~PlanReader() = default;
const PlanHead& PlanReader::head() const { return data_->head; }
const std::string& PlanReader::digest() const { return data_->digest; }

Result<PlanReader> PlanReader::open(const std::string& path) {
  TRY_ASSIGN(File file, File::open(path));
  auto data = std::unique_ptr<Data>(new Data{std::move(file), {}, {}, 0, 0});
  const uint64_t size = data->file.size();

  std::string piece(static_cast<size_t>(std::min<uint64_t>(size, 256)), '\0');
  TRY(data->file.read(0, piece.data(), piece.size()));
  TRY(check_opening(path, piece));
  piece.resize(static_cast<size_t>(std::min<uint64_t>(size, 512)));
  TRY(data->file.read(size - piece.size(), piece.data(), piece.size()));
  TRY_ASSIGN(data->digest, digest_of(path, piece));

  data->end = size - kTail;
  Sha256 sum;
  for (uint64_t at = 0; at < data->end;) {
    piece.resize(static_cast<size_t>(std::min<uint64_t>(kBuffer, data->end - at)));
    TRY(data->file.read(at, piece.data(), piece.size()));
    sum.update(piece);
    at += piece.size();
  }
  if (sum.hex_digest() != data->digest) {
    return fail(ErrorKind::kInvalid, "plan.edited",
                fmt::format("{} does not fit its digest: it was edited or damaged; make a new plan", path));
  }

  // From here on a fault means that somebody wrote a digest of their own.
  const auto no_plan = [&](const Error& why) {
    if (why.kind != ErrorKind::kCorrupt) return fail(why);
    return fail(ErrorKind::kInvalid, "plan.not-a-plan", fmt::format("{} is not a plan: {}", path, why.what));
  };
  Lines lines(data->file, 0, data->end);
  std::string text;
  while (true) {
    const auto line = lines.next();
    if (!line) return no_plan(line.error());
    if (!*line || text.size() > kLongestLine) {
      return fail(ErrorKind::kInvalid, "plan.not-a-plan", fmt::format("{} is not a plan: it has no changes", path));
    }
    text += **line;
    if (**line == kChangesBegin) break;
  }
  data->changes_at = lines.place();
  const auto o = parse_object_exactly(text + "]}", "its head");
  if (!o) return no_plan(o.error());
  auto head = head_from(*o);
  if (!head) return no_plan(head.error());
  data->head = std::move(*head);
  return PlanReader(std::move(data));
}

Status PlanReader::changes(const ChangeSink& sink) const {
  Lines lines(data_->file, data_->changes_at, data_->end);
  uint64_t number = 0;
  const auto bad = [&](const Error& why) {
    if (why.kind != ErrorKind::kCorrupt) return fail(why);
    return fail(ErrorKind::kInvalid, "plan.not-a-plan",
                fmt::format("{} is not a plan: change {}: {}", data_->file.path(), number, why.what));
  };
  while (true) {
    ++number;
    const auto line = lines.next();
    if (!line) return bad(line.error());
    if (!*line) return bad(Error{.kind = ErrorKind::kCorrupt, .what = "the list of changes does not end"});
    std::string_view text = **line;
    if (text == kChangesEnd) return {};
    if (text.ends_with(',')) text.remove_suffix(1);
    const auto o = parse_object_exactly(text, "the line");
    if (!o) return bad(o.error());
    const auto change = change_from(*o);
    if (!change) return bad(change.error());
    TRY(sink(*change));
  }
}

}  // namespace twinstep::plan
