#include "twinstep/plan/diff.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>

#include "twinstep/json/canonical.h"
#include "twinstep/json/item_splitter.h"
#include "twinstep/plan/exact_json.h"

namespace twinstep::plan {
namespace {

constexpr size_t kChunk = 512 * 1024;

/// Gives the bytes of a file in chunks.
Status read_file(const std::string& path, const Call& call, const std::function<Status(std::string_view)>& sink) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const int why = errno;
    const bool denied = why == EACCES || why == EPERM;
    return fail(denied ? ErrorKind::kDenied : ErrorKind::kNotFound, "diff.open",
                fmt::format("{}: cannot be opened: {}", path, std::strerror(why)));
  }
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* open) { ::close(*open); });
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  std::string buffer(kChunk, '\0');
  while (true) {
    if (call.stop.stop_requested())
      return fail(ErrorKind::kCancelled, "diff.cancelled", path + ": stopped while reading");
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return fail(errno == EISDIR ? ErrorKind::kInvalid : ErrorKind::kUnavailable, "diff.read",
                  fmt::format("{}: cannot be read: {}", path, std::strerror(errno)));
    }
    if (got == 0) return {};
    TRY(sink({buffer.data(), static_cast<size_t>(got)}));
  }
}

Result<Snapshot> read_hub(const std::string& path, const Rules& rules, const SnapshotOptions& options,
                          const Call& call) {
  HubSnapshotBuilder builder(rules, options);
  TRY(read_file(path, call, [&](std::string_view bytes) { return builder.feed(bytes); }));
  return builder.finish();
}

Result<Snapshot> read_external(const DiffInput& input, providers::Mapper& mapper, const Rules& rules,
                               const SnapshotOptions& options, const Call& call) {
  ExternalSnapshotBuilder builder(rules, mapper, options);
  json::ItemSplitter::Options how;
  how.array_path = input.items_key;
  json::ItemSplitter splitter(std::move(how));
  const json::ItemSplitter::ItemSink item = [&](std::string_view text, const json::ItemAt& at) {
    return builder.add(text, {0, at.line});
  };
  const json::ItemSplitter::BrokenSink broken = [&](std::string_view text, const json::ItemAt& at,
                                                    std::string_view why) {
    return builder.broken(text, {0, at.line}, why);
  };
  TRY(read_file(input.external_path, call, [&](std::string_view bytes) { return splitter.feed(bytes, item, broken); }));
  TRY(splitter.finish(item, broken));
  providers::ListProof proof;
  proof.complete = splitter.complete();
  proof.why_incomplete = splitter.why_incomplete();
  proof.items = splitter.items();
  proof.pages = 1;
  return builder.finish(proof);
}

Result<Snapshot> list_external(providers::ExternalRegistry& external, const Rules& rules,
                               const SnapshotOptions& options, const Call& call) {
  const auto mapper = external.mapper();
  ExternalSnapshotBuilder builder(rules, *mapper, options);
  TRY_ASSIGN(const providers::ListProof proof,
             external.list([&](std::string_view item, const providers::ItemPlace& at) { return builder.add(item, at); },
                           [&](std::string_view text, const providers::ItemPlace& at, std::string_view why) {
                             return builder.broken(text, at, why);
                           },
                           call));
  return builder.finish(proof);
}

using ReadSide = std::function<Result<Snapshot>(const Call&)>;

/// Reads both sides at the same time; a side that fails stops the other.
Result<DiffResult> read_and_compare(const ReadSide& hub_side, const ReadSide& external_side, const Rules& rules,
                                    const SnapshotOptions& options, const Call& call) {
  std::stop_source either;
  const std::stop_callback outer(call.stop, [&] { either.request_stop(); });
  const Call inner{call.deadline, either.get_token()};
  const auto read = [&](const ReadSide& side) {
    auto snapshot = side(inner);
    if (!snapshot) either.request_stop();
    return snapshot;
  };
  auto hub_later = std::async(std::launch::async, [&] { return read(hub_side); });
  auto external = read(external_side);
  auto hub = hub_later.get();
  // Of two errors the one that stopped the other side is the cause.
  if (!hub && (external || hub.error().kind != ErrorKind::kCancelled)) return fail(std::move(hub.error()));
  if (!external) return fail(std::move(external.error()));
  TRY_ASSIGN(Comparison comparison, compare(*hub, *external, rules, options, call));
  return DiffResult{std::move(*hub), std::move(*external), std::move(comparison)};
}

}  // namespace

Result<DiffResult> diff_files(const DiffInput& input, providers::Mapper& mapper, const Rules& rules,
                              const SnapshotOptions& options, const Call& call) {
  return read_and_compare([&](const Call& inner) { return read_hub(input.hub_path, rules, options, inner); },
                          [&](const Call& inner) { return read_external(input, mapper, rules, options, inner); }, rules,
                          options, call);
}

Result<DiffResult> diff_registry(const std::string& hub_path, providers::ExternalRegistry& external, const Rules& rules,
                                 const SnapshotOptions& options, const Call& call) {
  return read_and_compare([&](const Call& inner) { return read_hub(hub_path, rules, options, inner); },
                          [&](const Call& inner) { return list_external(external, rules, options, inner); }, rules,
                          options, call);
}

Status write_diff(const DiffResult& result, bool summary_only, const std::function<Status(std::string_view)>& sink,
                  const Call& call) {
  constexpr size_t kPiece = 64 * 1024;
  std::string out = "{\"summary\":" + json::write(to_json(result.comparison.counts()));
  if (!summary_only) {
    out += ",\"changes\":[";
    bool first = true;
    const ChangeSink write_one = [&](const Change& change) -> Status {
      out += first ? "\n{\"op\":\"" : ",\n{\"op\":\"";
      first = false;
      out += to_string(change.op);
      out += "\",\"deviceId\":";
      json::append_canonical_string(as_utf8(change.id.value), out);
      out += ",\"reason\":";
      json::append_canonical_string(as_utf8(change.reason), out);
      out += '}';
      if (out.size() < kPiece) return {};
      TRY(sink(out));
      out.clear();
      return {};
    };
    TRY(result.comparison.changes({}, write_one, call));
    out += first ? "]" : "\n]";
  }
  if (const auto& why = result.comparison.why_withheld(); !why.empty()) {
    json::array texts;
    for (const std::string& text : why) texts.emplace_back(as_utf8(text));
    out += ",\"withheld\":" + json::write(texts);
  }
  if (const auto& problems = result.comparison.problems(); !problems.empty()) {
    json::array list;
    for (const Problem& one : problems) {
      json::object problem;
      problem["kind"] = to_string(one.kind);
      problem["side"] = one.side;
      problem["deviceId"] = as_utf8(one.id);
      problem["place"] = as_utf8(one.place);
      problem["text"] = as_utf8(one.text);
      list.emplace_back(std::move(problem));
    }
    out += ",\"problems\":" + json::write(list);
  }
  out += "}\n";
  return sink(out);
}

}  // namespace twinstep::plan
