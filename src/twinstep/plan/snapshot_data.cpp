#include "twinstep/plan/snapshot_data.h"

#include <algorithm>

namespace twinstep::plan {

namespace {

constexpr size_t kWindowBytes = 16 * 1024;

void put_number(std::string& out, uint64_t number) {
  while (number >= 0x80) {
    out.push_back(static_cast<char>(number | 0x80));
    number >>= 7;
  }
  out.push_back(static_cast<char>(number));
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out.append(text);
}

/// Takes apart what append_detail wrote.
class Pieces {
 public:
  explicit Pieces(std::string_view bytes) : bytes_(bytes) {}
  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0; !bytes_.empty() && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) break;
    }
    return value;
  }
  std::string_view text() {
    const std::string_view piece = bytes_.substr(0, number_within());
    bytes_.remove_prefix(piece.size());
    return piece;
  }

 private:
  size_t number_within() {
    const uint64_t size = number();
    return std::min<uint64_t>(size, bytes_.size());
  }
  std::string_view bytes_;
};

}  // namespace

void append_detail(const Detail& detail, std::string& out) {
  put_number(out, static_cast<uint64_t>(detail.place.page));
  put_number(out, detail.place.index);
  for (const std::string_view text :
       {detail.id, detail.etag, detail.twin_etag, detail.status_reason, detail.owner, detail.tags, detail.problem}) {
    put_text(out, text);
  }
  for (const std::string_view value : detail.values) put_text(out, value);
}

Result<const Detail*> DetailReader::read(uint64_t offset, uint32_t size) {
  if (offset < begin_ || offset + size > begin_ + window_.size()) {
    const uint64_t rest = data_.details.size() - offset;
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(rest, std::max<size_t>(kWindowBytes, size)));
    window_.resize(wanted);
    begin_ = offset;
    TRY(data_.details.read(offset, window_.data(), wanted));
  }
  Pieces pieces(std::string_view(window_).substr(static_cast<size_t>(offset - begin_), size));
  detail_.place.page = static_cast<int>(pieces.number());
  detail_.place.index = pieces.number();
  for (std::string_view* text : {&detail_.id, &detail_.etag, &detail_.twin_etag, &detail_.status_reason, &detail_.owner,
                                 &detail_.tags, &detail_.problem}) {
    *text = pieces.text();
  }
  detail_.values.resize(data_.tag_count);
  for (std::string_view& value : detail_.values) value = pieces.text();
  return &detail_;
}

}  // namespace twinstep::plan
