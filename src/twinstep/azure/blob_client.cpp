#include "twinstep/azure/blob_client.h"

#include <algorithm>
#include <cstring>

#include "twinstep/azure/answer.h"
#include "twinstep/azure/blob_answers.h"
#include "twinstep/azure/sas.h"
#include "twinstep/base/backoff.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

constexpr uint64_t kBlockBytes = 8ull << 20;
constexpr size_t kMaxBlocks = 50'000;      // of one blob
constexpr Millis kUploadTimeout{300'000};  // of one block, for slow uplinks
constexpr uint64_t kProgressBytes = 64u << 10;
constexpr int kBreaksWithoutProgress = 5;

/// A block in memory, so that no layer copies it for its tries.
class MemorySource final : public http::BodySource {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Status rewind() override {
    at_ = 0;
    return {};
  }
  Result<size_t> read(char* into, size_t capacity) override {
    const size_t n = std::min(capacity, bytes_.size() - at_);
    if (n > 0) std::memcpy(into, bytes_.data() + at_, n);
    at_ += n;
    return n;
  }

 private:
  const std::string_view bytes_;
  size_t at_ = 0;
};

tl::unexpected<Error> bad_name(std::string_view context, std::string_view why) {
  return fail(ErrorKind::kInvalid, "blob.bad-name", fmt::format("{}: {}", context, why));
}

/// What reader and writers share: addresses, one exchange, and its errors.
class Exchange {
 public:
  Exchange(StorageAccount account, std::shared_ptr<http::Client> api, Clock& clock)
      : account_(std::move(account)), api_(std::move(api)), clock_(clock) {}

  const StorageAccount& account() const { return account_; }
  Clock& clock() const { return clock_; }

  std::string container_url(std::string_view container) const {
    return fmt::format("{}/{}", account_.endpoint, percent_encode(container));
  }

  std::string context(const http::Request& request, std::string_view place) const {
    const std::string_view account = account_.name.empty() ? std::string_view(account_.endpoint) : account_.name;
    std::string out = fmt::format("blob storage {}: {}", account, request.operation);
    if (!place.empty()) out += fmt::format(" {}", place);
    return out;
  }

  static http::Request request(std::string method, std::string operation, std::string url) {
    http::Request r;
    r.method = std::move(method);
    r.url = std::move(url);
    r.operation = std::move(operation);
    r.repeat = http::Repeat::kAlways;
    return r;
  }

  /// An empty name would turn a call on one thing into a call on the thing that holds it.
  Result<http::Request> on_container(std::string method, std::string operation, std::string_view container,
                                     std::string_view query) const {
    auto r = request(std::move(method), std::move(operation), {});
    if (container.empty()) return bad_name(context(r, {}), "the container's name is empty");
    if (container == "." || container == "..") return bad_name(context(r, container), "not a container's name");
    r.url = fmt::format("{}?{}", container_url(container), query);
    return r;
  }

  Result<http::Request> on_blob(std::string method, std::string operation, std::string_view container,
                                std::string_view blob, std::string_view query = {}) const {
    TRY_ASSIGN(http::Request r, on_container(std::move(method), std::move(operation), container, {}));
    if (blob.empty() || blob.size() > 1024)
      return bad_name(context(r, container), "a blob's name has 1 to 1024 characters");
    r.url.pop_back();  // the '?'
    for (std::string_view rest = blob;;) {
      const size_t slash = rest.find('/');
      const std::string_view segment = rest.substr(0, slash);
      // Dot segments are squeezed out of an address on its way and would name something else.
      if (segment == "." || segment == "..")
        return bad_name(context(r, container), "a blob's name may not hold . or .. as a part");
      r.url += "/" + percent_encode(segment);
      if (slash == std::string_view::npos) break;
      rest.remove_prefix(slash + 1);
    }
    if (!query.empty()) r.url += fmt::format("?{}", query);
    return r;
  }

  Result<http::Response> send(const http::Request& request, std::string_view place, int expected,
                              const Call& call) const {
    auto answer = api_->send(request, call);
    if (!answer) return fail_within(std::move(answer), context(request, place));
    if (answer->status != expected) return fail(blob_error(*answer, context(request, place), clock_.system_now()));
    return answer;
  }

  Result<http::Response> send_any(const http::Request& request, const Call& call) const {
    return api_->send(request, call);
  }

 private:
  const StorageAccount account_;
  const std::shared_ptr<http::Client> api_;
  Clock& clock_;
};

class BlockWriter final : public BlobWriter {
 public:
  /// `mark` keeps the blocks of two writers of one blob apart.
  BlockWriter(std::shared_ptr<const Exchange> exchange, std::string_view container, std::string_view blob,
              std::string mark, Call call)
      : exchange_(std::move(exchange)),
        container_(container),
        blob_(blob),
        mark_(std::move(mark)),
        call_(std::move(call)) {}

  Status write(std::string_view piece) override {
    TRY(usable());
    while (!piece.empty()) {
      // Only when more is to come: what fits into one block goes out as a whole blob.
      if (buffer_.size() == kBlockBytes) TRY(kept(send_block()));
      const size_t n = std::min<size_t>(piece.size(), kBlockBytes - buffer_.size());
      buffer_ += piece.substr(0, n);
      piece.remove_prefix(n);
    }
    return {};
  }

  Status finish() override {
    TRY(usable());
    finished_ = true;
    if (blocks_ == 0) return kept(send_whole());
    TRY(kept(send_block()));
    return kept(send_list());
  }

 private:
  Status usable() const {
    if (failed_) return fail(*failed_);
    if (finished_)
      return fail(ErrorKind::kInvalid, "blob.finished", fmt::format("the blob {} is finished already", blob_));
    return {};
  }

  Status kept(Status status) {
    if (!status) failed_ = status.error();
    return status;
  }

  std::string place() const { return fmt::format("{}/{}", container_, blob_); }

  std::string block_id(size_t index) const { return base64_encode(fmt::format("{}{:08}", mark_, index)); }

  Status put(http::Request request, std::string_view bytes) const {
    request.try_timeout = kUploadTimeout;
    request.headers.push_back({"Content-Type", "application/octet-stream"});
    request.body_source = std::make_shared<MemorySource>(bytes);
    TRY(exchange_->send(request, place(), 201, call_));
    return {};
  }

  Status send_whole() {
    TRY_ASSIGN(http::Request request, exchange_->on_blob("PUT", "put blob", container_, blob_));
    request.headers.push_back({"x-ms-blob-type", "BlockBlob"});
    return put(std::move(request), buffer_);
  }

  Status send_block() {
    if (blocks_ == kMaxBlocks) {
      return fail(ErrorKind::kInvalid, "blob.too-large",
                  fmt::format("blob {}: more than {} blocks of 8 MiB do not fit into one blob", place(), kMaxBlocks));
    }
    const std::string query = "comp=block&blockid=" + percent_encode(block_id(blocks_));
    TRY_ASSIGN(http::Request request, exchange_->on_blob("PUT", "put block", container_, blob_, query));
    TRY(put(std::move(request), buffer_));
    ++blocks_;
    buffer_.clear();
    return {};
  }

  Status send_list() {
    TRY_ASSIGN(http::Request request, exchange_->on_blob("PUT", "put block list", container_, blob_, "comp=blocklist"));
    request.headers.push_back({"Content-Type", "application/xml"});
    request.headers.push_back({"x-ms-blob-content-type", "application/octet-stream"});
    request.body = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>";
    for (size_t i = 0; i < blocks_; ++i) request.body += fmt::format("<Latest>{}</Latest>", block_id(i));
    request.body += "</BlockList>";
    TRY(exchange_->send(request, place(), 201, call_));
    return {};
  }

  const std::shared_ptr<const Exchange> exchange_;
  const std::string container_;
  const std::string blob_;
  const std::string mark_;
  const Call call_;
  std::string buffer_;
  size_t blocks_ = 0;
  bool finished_ = false;
  std::optional<Error> failed_;
};

class RestBlobClient final : public BlobClient {
 public:
  RestBlobClient(StorageAccount account, std::shared_ptr<http::Client> api, Clock& clock, Rng& rng)
      : exchange_(std::make_shared<const Exchange>(std::move(account), std::move(api), clock)), rng_(rng) {}

  Status create_container(std::string_view container, const Call& call) override {
    TRY_ASSIGN(const auto request, exchange_->on_container("PUT", "create container", container, "restype=container"));
    TRY(exchange_->send(request, container, 201, call));
    return {};
  }

  Status delete_container(std::string_view container, const Call& call) override {
    TRY_ASSIGN(const auto request,
               exchange_->on_container("DELETE", "delete container", container, "restype=container"));
    TRY(exchange_->send(request, container, 202, call));
    return {};
  }

  Result<std::vector<ContainerInfo>> list_containers(std::string_view prefix, const Call& call) override {
    const auto request = Exchange::request("GET", "list containers", exchange_->account().endpoint + "/?comp=list");
    return all_pages<ContainerInfo>(request, {}, prefix, parse_container_list, call);
  }

  Result<std::vector<BlobInfo>> list_blobs(std::string_view container, std::string_view prefix,
                                           const Call& call) override {
    TRY_ASSIGN(const auto request,
               exchange_->on_container("GET", "list blobs of", container, "restype=container&comp=list"));
    return all_pages<BlobInfo>(request, container, prefix, parse_blob_list, call);
  }

  Result<BlobInfo> properties(std::string_view container, std::string_view blob, const Call& call) override {
    const std::string place = fmt::format("{}/{}", container, blob);
    TRY_ASSIGN(const auto request, exchange_->on_blob("HEAD", "properties of", container, blob));
    TRY_ASSIGN(const auto answer, exchange_->send(request, place, 200, call));
    auto info = parse_properties(blob, answer);
    if (!info) return fail_within(std::move(info), exchange_->context(request, place));
    return info;
  }

  std::unique_ptr<BlobWriter> write_blob(std::string_view container, std::string_view blob, const Call& call) override {
    return std::make_unique<BlockWriter>(exchange_, container, blob, rng_.hex_id().substr(0, 16), call);
  }

  Result<uint64_t> read_blob(std::string_view container, std::string_view blob, const http::BodySink& sink,
                             const Call& call) override {
    TRY_ASSIGN(const BlobInfo info, properties(container, blob, call));
    const std::string place = fmt::format("{}/{}", container, blob);
    uint64_t done = 0;
    int breaks = 0;
    while (done < info.size) {
      TRY_ASSIGN(http::Request request, exchange_->on_blob("GET", "get blob", container, blob));
      const std::string context = exchange_->context(request, place);
      uint64_t got = 0;
      auto end = read_range(std::move(request), context, info, done, got, sink, call);
      done += got;
      if (end) {
        breaks = 0;
        continue;
      }
      // Nothing came at all: the client below has repeated that as often as makes sense.
      const Error& error = end.error();
      const bool broken = error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kTimeout;
      if (!broken || error.remote_status != 0 || got == 0) return fail(std::move(end).error());
      breaks = got >= kProgressBytes ? 1 : breaks + 1;
      const Millis wait = Backoff{}.after(breaks, rng_);
      if (breaks > kBreaksWithoutProgress || exchange_->clock().steady_now() + wait >= call.deadline) {
        return fail(std::move(end).error());
      }
      if (!exchange_->clock().sleep_for(wait, call.stop)) {
        return fail(ErrorKind::kCancelled, "cancelled", context + ": cancelled");
      }
    }
    return done;
  }

  Status delete_blob(std::string_view container, std::string_view blob, const Call& call) override {
    TRY_ASSIGN(const auto request, exchange_->on_blob("DELETE", "delete blob", container, blob));
    TRY(exchange_->send(request, fmt::format("{}/{}", container, blob), 202, call));
    return {};
  }

  Result<Secret> container_sas_uri(std::string_view container, SystemTime expires) override {
    const StorageAccount& account = exchange_->account();
    if (!account.sas.empty()) return Secret(fmt::format("{}?{}", container_uri(container), account.sas.reveal()));
    if (account.key.empty())
      return fail(
          ErrorKind::kInvalid, "blob.no-key",
          fmt::format("blob storage {}: without the account's key no SAS can be made; jobs must be identity-based",
                      account.name));
    const SystemTime now = exchange_->clock().system_now();
    if (expires <= now) return fail(ErrorKind::kInvalid, "blob.sas-expired", "a SAS must end in the future");
    // It begins in the past, because the clocks of the hub and of this machine differ.
    TRY_ASSIGN(const Secret sas,
               container_sas(account, container, "racwdl", format_iso_seconds(now - std::chrono::minutes{15}),
                             format_iso_seconds(expires)));
    return Secret(fmt::format("{}?{}", container_uri(container), sas.reveal()));
  }

  std::string container_uri(std::string_view container) const override { return exchange_->container_url(container); }

 private:
  template <class Item, class Parse>
  Result<std::vector<Item>> all_pages(const http::Request& first, std::string_view place, std::string_view prefix,
                                      Parse parse, const Call& call) const {
    std::vector<Item> all;
    std::string marker;
    while (true) {
      http::Request request = first;
      if (!prefix.empty()) request.url += "&prefix=" + percent_encode(prefix);
      if (!marker.empty()) request.url += "&marker=" + percent_encode(marker);
      TRY_ASSIGN(const auto answer, exchange_->send(request, place, 200, call));
      auto page = parse(answer.body);
      if (!page) return fail_within(std::move(page), exchange_->context(request, place));
      std::move(page->items.begin(), page->items.end(), std::back_inserter(all));
      if (page->next_marker.empty()) return all;
      if (page->next_marker == marker) {
        return fail(ErrorKind::kCorrupt, "blob.bad-list",
                    exchange_->context(request, place) + ": the list points to the same page again and never ends");
      }
      marker = std::move(page->next_marker);
    }
  }

  /// One request from `from` on; `got` counts what the sink has taken, also when the transfer fails.
  Status read_range(http::Request request, const std::string& context, const BlobInfo& info, uint64_t from,
                    uint64_t& got, const http::BodySink& sink, const Call& call) const {
    const uint64_t want = std::min(kBlockBytes, info.size - from);
    request.headers.push_back({"x-ms-range", fmt::format("bytes={}-{}", from, from + want - 1)});
    if (!info.etag.empty()) request.headers.push_back({"If-Match", fmt::format("\"{}\"", info.etag)});
    std::optional<Error> refused;
    request.sink = [&](std::string_view piece) -> Status {
      Status taken;
      // More than asked for means that the range was ignored, so the bytes are those of another place.
      if (piece.size() > want - got) {
        taken =
            fail(ErrorKind::kCorrupt, "blob.bad-range", context + ": the answer is longer than the range asked for");
      } else {
        taken = sink(piece);
      }
      if (taken)
        got += piece.size();
      else
        refused = taken.error();
      return taken;
    };
    auto answer = exchange_->send_any(request, call);
    if (refused) return fail(std::move(*refused));
    if (!answer) return fail_within(std::move(answer), context);
    const bool whole = answer->status == 200 && from == 0 && want == info.size;
    if (answer->status != 206 && !whole) return fail(blob_error(*answer, context, exchange_->clock().system_now()));
    const std::string_view range = answer->header("Content-Range");
    if (answer->status == 206 && !range.empty() && !range.starts_with(fmt::format("bytes {}-", from))) {
      return fail(ErrorKind::kCorrupt, "blob.bad-range", context + ": the answer is another range than asked for");
    }
    if (got < want) {
      return fail(ErrorKind::kUnavailable, "blob.cut", fmt::format("{}: {} of {} bytes came", context, got, want));
    }
    return {};
  }

  const std::shared_ptr<const Exchange> exchange_;
  Rng& rng_;
};

}  // namespace

std::unique_ptr<BlobClient> make_blob_client_over(StorageAccount account, std::shared_ptr<http::Client> api,
                                                  Clock& clock, Rng& rng) {
  return std::make_unique<RestBlobClient>(std::move(account), std::move(api), clock, rng);
}

}  // namespace twinstep::azure
