#include "twinstep/providers/file_registry.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "twinstep/providers/delimited.h"
#include "twinstep/providers/list_cutter.h"
#include "twinstep/providers/mapper.h"

namespace twinstep::providers {

namespace {

constexpr size_t kChunk = 1 << 20;

class OpenFile {
 public:
  explicit OpenFile(int fd) : fd_(fd) {}
  ~OpenFile() { ::close(fd_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ssize_t read(char* into, size_t size) const {
    ssize_t got = 0;
    do {
      got = ::read(fd_, into, size);
    } while (got < 0 && errno == EINTR);
    return got;
  }

 private:
  int fd_;
};

tl::unexpected<Error> unreadable(const std::string& path, int why) {
  return fail(why == EACCES ? ErrorKind::kDenied : ErrorKind::kNotFound, "file.unreadable",
              fmt::format("{}: the device list cannot be read: {}", path, std::strerror(why)));
}

bool is_csv(const std::string& path, std::string_view head) {
  const size_t dot = path.find_last_of("./");
  std::string end = dot == std::string::npos || path[dot] == '/' ? "" : path.substr(dot);
  for (char& c : end) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  if (end == ".csv" || end == ".tsv") return true;
  if (end == ".json" || end == ".jsonl" || end == ".ndjson") return false;
  if (head.starts_with("\xEF\xBB\xBF")) head.remove_prefix(3);
  const size_t first = head.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && head[first] != '{' && head[first] != '[';
}

/// A sink that leaves early is how the first items alone are read.
constexpr std::string_view kEnough = "file.enough";

Result<ListProof> read_list(const std::string& path, const std::string& pointer, const ItemSink& items,
                            const BrokenSink& broken, const Call& call) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return unreadable(path, errno);
  const OpenFile file(fd);
  struct stat about {};
  if (::fstat(fd, &about) == 0 && S_ISDIR(about.st_mode)) return unreadable(path, EISDIR);

  ListProof proof;
  proof.pages = 1;
  DelimitedReader delimited;
  ListCutter cutter(pointer);
  const auto row = [&](std::string_view item, uint64_t line) { return ++proof.items, items(item, {0, line}); };
  const auto bad_row = [&](std::string_view text, uint64_t line, std::string_view why) {
    return broken(text, {0, line}, why);
  };
  const auto give = [&](std::string_view chunk, bool csv, bool last) -> Status {
    if (csv) return last ? delimited.finish(row, bad_row) : delimited.feed(chunk, row, bad_row);
    return last ? cutter.finish(row, bad_row) : cutter.feed(chunk, row, bad_row);
  };

  std::string buffer(kChunk, '\0');
  bool decided = false;
  bool csv = false;
  while (true) {
    if (call.stop.stop_requested())
      return fail(ErrorKind::kCancelled, "file.cancelled", path + ": stopped while reading");
    const ssize_t got = file.read(buffer.data(), buffer.size());
    if (got < 0) return unreadable(path, errno);
    const std::string_view chunk(buffer.data(), static_cast<size_t>(got));
    if (!decided) csv = is_csv(path, chunk);
    decided = true;
    const Status done = give(chunk, csv, got == 0);
    if (!done && done.error().code == kEnough) {
      proof.why_incomplete = "only the first items were read";
      return proof;
    }
    if (!done) return fail(done.error().kind == ErrorKind::kInvalid ? Error(done.error()).within(path) : done.error());
    if (got == 0) break;
  }
  proof.why_incomplete = csv ? delimited.why_incomplete() : cutter.why_incomplete();
  proof.complete = proof.why_incomplete.empty();
  return proof;
}

class FileRegistry final : public ExternalRegistry {
 public:
  FileRegistry(Definition definition, std::map<std::string, Secret> settings)
      : definition_(std::move(definition)), tags_(definition_.tag_specs()), settings_(std::move(settings)) {}

  const std::string& provider() const override { return definition_.name; }
  const std::vector<TagSpec>& tags() const override { return tags_; }
  std::unique_ptr<Mapper> mapper() const override { return make_mapper(definition_); }

  Result<ListProof> list(const ItemSink& items, const BrokenSink& broken, const Call& call) override {
    const Scope scope{&settings_, nullptr, {}};
    TRY_ASSIGN(const std::string path, definition_.from_file->path.expand(scope));
    TRY_ASSIGN(const std::string pointer, definition_.from_file->items.expand(scope));
    return list_file(definition_, path, items, broken, pointer, call);
  }

  Result<ListProof> first_page(const ItemSink& items, const BrokenSink& broken, const Call& call) override {
    int left = 100;
    const ItemSink some = [&](std::string_view item, const ItemPlace& place) -> Status {
      if (left-- == 0) return fail(ErrorKind::kCancelled, std::string(kEnough), "enough");
      return items(item, place);
    };
    return list(some, broken, call);
  }

  bool can_look_up(const DeviceInput&) const override { return true; }

  Result<FoundDevice> look_up(const DeviceInput& device, const Call& call) override {
    const auto one = mapper();
    const std::string wanted = canonical_device_id(device.id.value);
    std::optional<FoundDevice> found;
    std::string canonical;
    const ItemSink compare = [&](std::string_view item, const ItemPlace&) -> Status {
      const auto mapped = one->map(item);
      const std::string_view id = mapped ? mapped->id : one->failed_id();
      if (id.empty() || canonical_device_id(id, canonical) != wanted || (mapped && !one->selected())) return {};
      if (found)
        return fail(ErrorKind::kConflict, "external.ambiguous",
                    fmt::format("{} is in the list twice", device.id.value));
      TRY_ASSIGN(const json::value whole, json::parse(item, "item"));
      found = FoundDevice{std::string(id), whole.as_object()};
      return {};
    };
    const BrokenSink ignore = [](std::string_view, const ItemPlace&, std::string_view) -> Status { return {}; };
    TRY_ASSIGN(const ListProof proof, list(compare, ignore, call));
    if (found) return std::move(*found);
    if (!proof.complete)
      return fail(ErrorKind::kCorrupt, "file.incomplete", "the device list is incomplete: " + proof.why_incomplete);
    return fail(ErrorKind::kNotFound, "external.not-found", fmt::format("{} is not in the list", device.id.value));
  }

  Result<WriteOutcome> create(const DeviceInput&, const Call&) override { return read_only(); }
  Result<WriteOutcome> remove(const DeviceInput&, const Call&) override { return read_only(); }
  std::vector<TagFault> missing_for_create(const DeviceInput&) const override { return {}; }

 private:
  tl::unexpected<Error> read_only() const {
    return fail(ErrorKind::kInvalid, "external.read-only",
                definition_.name + ": a device list in a file is only read; it can be the master, not the target");
  }

  const Definition definition_;
  const std::vector<TagSpec> tags_;
  const std::map<std::string, Secret> settings_;
};

}  // namespace

Result<ListProof> list_file(const Definition& definition, const std::string& path, const ItemSink& items,
                            const BrokenSink& broken, std::string_view items_pointer, const Call& call) {
  std::string pointer(items_pointer);
  if (pointer.empty() && definition.list) pointer = definition.list->pages.items;
  if (!is_pointer(pointer)) {
    return fail(ErrorKind::kInvalid, "provider.bad-setting",
                fmt::format("'{}' is not a JSON pointer to the list in {}", pointer, path));
  }
  return read_list(path, pointer, items, broken, call);
}

std::unique_ptr<ExternalRegistry> make_file_registry(Definition definition, std::map<std::string, Secret> settings) {
  return std::make_unique<FileRegistry>(std::move(definition), std::move(settings));
}

}  // namespace twinstep::providers
