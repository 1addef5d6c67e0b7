#include "twinstep/plan/snapshot.h"

#include <xxhash.h>

#include <algorithm>

#include "twinstep/json/item_splitter.h"
#include "twinstep/plan/hub_line.h"
#include "twinstep/plan/snapshot_data.h"
#include "twinstep/plan/tag_text.h"

namespace twinstep::plan {

namespace {

constexpr size_t kNamedBroken = 20;
constexpr size_t kMaxId = 1024;  // longer ids cannot be in a hub; the rest would only take room

/// The value's hash; never 0, which means that there is none.
uint64_t hash_of(std::string_view value) {
  if (value.empty()) return 0;
  const uint64_t hash = XXH3_64bits(value.data(), value.size());
  return hash == 0 ? 1 : hash;
}

/// True when text that could not be read may hold more than one item, as when a write was cut and the next one follows
/// on the same line: the member that opens the text opens another object further on.
bool may_hold_two(std::string_view text) {
  const size_t brace = text.find('{');
  if (brace == std::string_view::npos) return false;
  const size_t open = text.find('"', brace);
  if (open == std::string_view::npos || text.find_first_not_of(" \t\r\n", brace + 1) != open) return false;
  const size_t close = text.find('"', open + 1);
  if (close == std::string_view::npos) return false;
  const std::string_view name = text.substr(open, close + 1 - open);
  for (size_t at = text.find(name, close); at != std::string_view::npos; at = text.find(name, at + 1)) {
    const size_t before = text.find_last_not_of(" \t\r\n", at - 1);
    if (before != std::string_view::npos && text[before] == '{') return true;
  }
  return false;
}

/// What both builders do with what they read.
class Collector {
 public:
  Collector(const Rules& given, SnapshotOptions wanted, std::string side)
      : rules(given),
        options(std::move(wanted)),
        side_(std::move(side)),
        sorter_(options.folder, options.sort_bytes),
        details_(options.folder),
        hashes_(rules.tags.size()) {
    detail.values.resize(rules.tags.size());
  }

  /// Adds a device whose `detail` is filled.
  Status add_device(std::string_view id, std::string_view item, uint16_t flags) {
    for (size_t i = 0; i < hashes_.size(); ++i) hashes_[i] = rules.uses(i) ? hash_of(detail.values[i]) : 0;
    scratch_.clear();
    append_detail(detail, options.counts_only, scratch_);
    const uint64_t offset = details_.size();
    TRY(details_.write(scratch_));
    ++devices;
    return add_record({offset, XXH3_64bits(item.data(), item.size()), static_cast<uint32_t>(scratch_.size()), flags,
                       canonical(id), std::as_bytes(std::span(hashes_))});
  }
  /// Adds an item of which no more than the id is kept: a module, or what could not be read.
  Status add_bare(std::string_view id, uint16_t flags) {
    std::fill(hashes_.begin(), hashes_.end(), 0);
    return add_record({0, 0, 0, flags, canonical(id), std::as_bytes(std::span(hashes_))});
  }

  Status broken(std::string_view text, const providers::ItemPlace& place, std::string_view why, std::string_view id) {
    if (may_hold_two(text)) id = {};
    ++proof.broken;
    if (id.empty()) ++proof.broken_without_id;
    if (proof.named.size() < kNamedBroken) {
      proof.named.push_back({Problem::Kind::kBroken, side_, std::string(id.substr(0, kMaxId)),
                             providers::to_string(place), std::string(why)});
    }
    return id.empty() ? Status{} : add_bare(id, kBroken);
  }

  void incomplete(std::string_view why) {
    if (proof.why_incomplete.empty()) proof.why_incomplete = why.empty() ? "the list was not read to its end" : why;
  }

  Result<Snapshot> finish() {
    auto data = std::make_unique<Snapshot::Data>(Snapshot::Data{
        rules.tags.size(), {}, devices, skipped, {}, {TempFile(options.folder), {}, 0}, TempFile(options.folder)});
    TRY_ASSIGN(data->records, sorter_.finish());
    TRY(details_.flush());
    data->details = std::move(details_);
    proof.complete = proof.why_incomplete.empty();
    data->proof = std::move(proof);
    data->fingerprint = fmt::format("{:016x}{:016x}", sum_high_, sum_low_);
    return Snapshot(std::move(data));
  }

  const Rules rules;
  const SnapshotOptions options;
  Proof proof;
  Detail detail;
  uint64_t devices = 0;
  uint64_t skipped = 0;

 private:
  std::string_view canonical(std::string_view id) { return canonical_device_id(id, canonical_).substr(0, kMaxId); }

  Status add_record(const Record& record) {
    // A sum does not mind the order in which items are listed.
    scratch_.assign(reinterpret_cast<const char*>(&record.flags), sizeof record.flags);
    scratch_.append(reinterpret_cast<const char*>(record.hashes.data()), record.hashes.size());
    scratch_.append(record.id);
    const XXH128_hash_t hash = XXH3_128bits(scratch_.data(), scratch_.size());
    sum_low_ += hash.low64;
    sum_high_ += hash.high64 + (sum_low_ < hash.low64 ? 1 : 0);
    return sorter_.add(record);
  }

  std::string side_;
  RecordSorter sorter_;
  TempFile details_;
  std::vector<uint64_t> hashes_;
  std::string scratch_;
  std::string canonical_;
  uint64_t sum_low_ = 0, sum_high_ = 0;
};

/// The id under which a device would be created.
std::string_view created_id(std::string_view id, config::IdSpelling spelling, std::string& out) {
  if (spelling == config::IdSpelling::kAsListed) return id;
  canonical_device_id(id, out);
  const bool dev_eui = out.size() == 16 && out.find_first_not_of("0123456789ABCDEF") == std::string::npos;
  if (!dev_eui) return id;
  if (spelling == config::IdSpelling::kLower) {
    for (char& c : out) c = c >= 'A' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

}  // namespace

Snapshot::Snapshot(std::unique_ptr<Data> data) : data_(std::move(data)) {}
Snapshot::~Snapshot() = default;
Snapshot::Snapshot(Snapshot&&) noexcept = default;
Snapshot& Snapshot::operator=(Snapshot&&) noexcept = default;
const Proof& Snapshot::proof() const { return data_->proof; }
uint64_t Snapshot::devices() const { return data_->devices; }
uint64_t Snapshot::skipped() const { return data_->skipped; }
const std::string& Snapshot::fingerprint() const { return data_->fingerprint; }

struct HubSnapshotBuilder::Impl {
  Impl(const Rules& rules, SnapshotOptions options) : collector(rules, std::move(options), "hub"), reader(rules) {}

  Status item(std::string_view text, const providers::ItemPlace& place, bool first) {
    if (text.empty() || text.front() != '{') {
      // With keys left out, the service opens an export with a sentence that says so. Markup is an answer gone wrong.
      if (first && !text.empty() && text.front() != '<') return {};
      return collector.broken(text, place, "not a JSON object", {});
    }
    Result<HubLine> read = reader.read(text);
    if (!read) return collector.broken(text, place, read.error().what, reader.failed_id());
    const HubLine& line = *read;
    if (!line.module_id.empty()) return collector.add_bare(line.id, kModule);

    uint16_t flags = 0;
    const auto set = [&flags](bool on, RecordFlag flag) {
      if (on) flags = static_cast<uint16_t>(flags | flag);
    };
    const bool certificate =
        line.auth == azure::AuthKind::kSelfSigned || line.auth == azure::AuthKind::kCertificateAuthority;
    set(line.marked && !line.owner.empty() && line.owner == collector.rules.link, kOurs);
    set(line.marked, kMarked);
    set(line.has_ref, kRef);
    set(line.edge, kEdge);
    set(certificate, kCertificate);
    set(!line.enabled, kDisabled);
    set(line.status_reason.starts_with(kAbsentReason), kAbsent);

    Detail& detail = collector.detail;
    detail.place = place;
    detail.id = line.id;
    detail.etag = line.etag;
    detail.twin_etag = line.twin_etag;
    detail.status_reason = line.status_reason;
    detail.owner = line.owner;
    detail.tags = collector.options.keep_hub_tags ? line.tags : std::string_view{};
    std::copy(line.values.begin(), line.values.end(), detail.values.begin());
    return collector.add_device(line.id, text, flags);
  }

  Collector collector;
  HubLineReader reader;
  json::ItemSplitter splitter;
};

HubSnapshotBuilder::HubSnapshotBuilder(const Rules& rules, SnapshotOptions options)
    : impl_(std::make_unique<Impl>(rules, std::move(options))) {}
HubSnapshotBuilder::~HubSnapshotBuilder() = default;
HubSnapshotBuilder::HubSnapshotBuilder(HubSnapshotBuilder&&) noexcept = default;

Status HubSnapshotBuilder::feed(std::string_view bytes) {
  Impl* const impl = impl_.get();
  return impl->splitter.feed(
      bytes,
      [impl](std::string_view text, const json::ItemAt& at) {
        return impl->item(text, {0, at.line}, at.index == 1);
      },
      [impl](std::string_view text, const json::ItemAt& at, std::string_view why) {
        return impl->collector.broken(text, {0, at.line}, why, {});
      });
}

Status HubSnapshotBuilder::add_page(std::string_view array, int page) {
  Impl* const impl = impl_.get();
  json::ItemSplitter splitter;
  const json::ItemSplitter::ItemSink item = [impl, page](std::string_view text, const json::ItemAt& at) {
    return impl->item(text, {page, at.index}, false);
  };
  const json::ItemSplitter::BrokenSink broken = [impl, page](std::string_view text, const json::ItemAt& at,
                                                             std::string_view why) {
    return impl->collector.broken(text, {page, at.index}, why, {});
  };
  TRY(splitter.feed(array, item, broken));
  TRY(splitter.finish(item, broken));
  if (!splitter.complete()) incomplete(fmt::format("page {}: {}", page, splitter.why_incomplete()));
  return {};
}

void HubSnapshotBuilder::incomplete(std::string_view why) { impl_->collector.incomplete(why); }

Result<Snapshot> HubSnapshotBuilder::finish() {
  Impl* const impl = impl_.get();
  TRY(impl->splitter.finish(
      [impl](std::string_view text, const json::ItemAt& at) {
        return impl->item(text, {0, at.line}, at.index == 1);
      },
      [impl](std::string_view text, const json::ItemAt& at, std::string_view why) {
        return impl->collector.broken(text, {0, at.line}, why, {});
      }));
  if (!impl->splitter.complete()) impl->collector.incomplete(impl->splitter.why_incomplete());
  return impl->collector.finish();
}

struct ExternalSnapshotBuilder::Impl {
  Impl(const Rules& rules, providers::Mapper& map, SnapshotOptions options)
      : collector(rules, std::move(options), "external"), mapper(map) {}

  Status device(std::string_view id, std::string_view text, const providers::ItemPlace& place, std::string_view problem,
                uint16_t flags) {
    const std::string_view created = created_id(id, collector.rules.id_spelling, spelled);
    if (!is_legal_hub_device_id(created)) flags = static_cast<uint16_t>(flags | kIllegalId);
    collector.detail.place = place;
    collector.detail.id = created;
    collector.detail.problem = problem;
    return collector.add_device(id, text, flags);
  }

  Collector collector;
  providers::Mapper& mapper;
  std::string spelled;
};

ExternalSnapshotBuilder::ExternalSnapshotBuilder(const Rules& rules, providers::Mapper& mapper, SnapshotOptions options)
    : impl_(std::make_unique<Impl>(rules, mapper, std::move(options))) {}
ExternalSnapshotBuilder::~ExternalSnapshotBuilder() = default;
ExternalSnapshotBuilder::ExternalSnapshotBuilder(ExternalSnapshotBuilder&&) noexcept = default;

Status ExternalSnapshotBuilder::add(std::string_view item, const providers::ItemPlace& place) {
  Impl& impl = *impl_;
  std::vector<std::string_view>& values = impl.collector.detail.values;
  const Result<providers::MappedDevice> mapped = impl.mapper.map(item);
  if (!mapped) {
    const std::string_view id = impl.mapper.failed_id();
    if (mapped.error().kind != ErrorKind::kInvalid || id.empty()) {
      return impl.collector.broken(item, place, mapped.error().what, id);
    }
    std::fill(values.begin(), values.end(), std::string_view{});
    return impl.device(id, item, place, mapped.error().what, kUnusable);
  }
  if (!impl.mapper.selected()) {
    ++impl.collector.skipped;
    return {};
  }
  if (mapped->id.empty()) return impl.collector.broken(item, place, "the item has no id", {});
  for (size_t i = 0; i < values.size(); ++i) {
    const bool used = i < mapped->values.size() && impl.collector.rules.uses(i);
    values[i] = used && mapped->values[i] != "null" ? mapped->values[i] : std::string_view{};
  }
  const std::string refused = why_refused(impl.collector.rules, values);
  return impl.device(mapped->id, item, place, refused, refused.empty() ? 0 : kUnusable);
}

Status ExternalSnapshotBuilder::broken(std::string_view text, const providers::ItemPlace& place, std::string_view why) {
  // Whoever cut the list could not read this as an item; the mapper may still find the id.
  const Result<providers::MappedDevice> mapped = impl_->mapper.map(text);
  return impl_->collector.broken(text, place, why, mapped ? mapped->id : impl_->mapper.failed_id());
}

Result<Snapshot> ExternalSnapshotBuilder::finish(const providers::ListProof& proof) {
  if (!proof.complete) impl_->collector.incomplete(proof.why_incomplete);
  return impl_->collector.finish();
}

}  // namespace twinstep::plan
