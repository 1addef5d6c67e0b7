// Plan files: bytes as they are, and bytes with a digest that fits, as somebody who edits plans would make it. What is
// read is written again and reads the same.
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "check.h"
#include "twinstep/base/encoding.h"
#include "twinstep/json/json.h"
#include "twinstep/plan/plan_file.h"

using namespace twinstep;
using fuzz::check;

namespace {

/// A file in memory with a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(::memfd_create("plan", MFD_CLOEXEC)) {
    check(fd_ >= 0, "there is memory for a file");
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      check(n > 0, "the file can be written");
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(fd_); }
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_); }

 private:
  int fd_;
};

struct Read {
  plan::PlanHead head;
  std::vector<plan::Change> changes;
  bool whole = false;
};

/// Empty `changes` and not whole when the bytes are refused.
bool read(std::string_view bytes, Read& out) {
  const MemoryFile file(bytes);
  const auto reader = plan::PlanReader::open(file.path());
  if (!reader) {
    check(reader.error().code.starts_with("plan."), "a refusal has its code");
    check(is_utf8(reader.error().what), "messages are text");
    return false;
  }
  out.head = reader->head();
  const auto end = reader->changes([&](const plan::Change& change) -> Status {
    out.changes.push_back(change);
    return {};
  });
  check(end.has_value() || end.error().code.starts_with("plan."), "a refusal has its code");
  out.whole = end.has_value();
  return true;
}

void write_and_read_again(const Read& first) {
  std::string bytes;
  plan::PlanWriter writer(first.head, [&](std::string_view piece) -> Status {
    bytes.append(piece);
    return {};
  });
  for (const auto& change : first.changes) check(writer.write(change).has_value(), "what was read can be written");
  check(writer.finish().has_value(), "what was read can be written");
  Read second;
  check(read(bytes, second) && second.whole, "what was written can be read");
  check(second.head.id == first.head.id && second.head.link == first.head.link, "the head stays");
  check(second.changes.size() == first.changes.size(), "no change is lost");
  for (size_t i = 0; i < first.changes.size(); ++i)
    check(json::write(plan::to_json(first.changes[i])) == json::write(plan::to_json(second.changes[i])),
          "a change stays as it is");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  Read out;
  read(text, out);
  std::string with_digest(text);
  with_digest += fmt::format("\"sha256\":\"{}\"}}\n", hex_encode(sha256(text)));
  Read signed_one;
  if (read(with_digest, signed_one) && signed_one.whole) write_and_read_again(signed_one);
  return 0;
}
