#include "twinstep/plan/snapshot_data.h"

#include <algorithm>
#include <array>

namespace twinstep::plan {

namespace {

constexpr size_t kWindowBytes = 16 * 1024;
constexpr size_t kMostDigits = 10;  // bytes of a 64-bit number

char* put_number(char* out, uint64_t number) {
  while (number >= 0x80) {
    *out++ = static_cast<char>(number | 0x80);
    number >>= 7;
  }
  *out++ = static_cast<char>(number);
  return out;
}

char* put_text(char* out, std::string_view text) {
  out = put_number(out, text.size());
  return std::copy(text.begin(), text.end(), out);
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

void append_detail(const Detail& detail, bool names_only, std::string& out) {
  const std::string_view nothing;
  const std::array texts = names_only
                               ? std::array{detail.id, nothing, nothing, nothing, detail.owner, nothing, detail.problem}
                               : std::array{detail.id,    detail.etag, detail.twin_etag, detail.status_reason,
                                            detail.owner, detail.tags, detail.problem};
  const std::span<const std::string_view> values(detail.values.data(), names_only ? 0 : detail.values.size());
  const size_t begin = out.size();
  size_t room = kMostDigits * (2 + texts.size() + values.size());
  for (const std::string_view text : texts) room += text.size();
  for (const std::string_view value : values) room += value.size();
  out.resize(begin + room);
  char* at = out.data() + begin;
  at = put_number(at, static_cast<uint64_t>(detail.place.page));
  at = put_number(at, detail.place.index);
  for (const std::string_view text : texts) at = put_text(at, text);
  for (const std::string_view value : values) at = put_text(at, value);
  out.resize(static_cast<size_t>(at - out.data()));
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
