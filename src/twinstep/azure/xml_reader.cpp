#include "twinstep/azure/xml_reader.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "twinstep/base/encoding.h"

namespace twinstep::azure {
namespace {

using Attributes = std::vector<std::pair<std::string, std::string>>;

constexpr size_t kMaxDepth = 32;
constexpr std::string_view kSpace = " \t\r\n";

bool is_space(char c) { return kSpace.find(c) != std::string_view::npos; }

// Everything above ASCII counts as part of a name; the document was checked to be UTF-8.
bool is_name(char c) {
  const auto u = static_cast<unsigned char>(c);
  return u >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == ':';
}

void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::optional<uint32_t> character_number(std::string_view digits) {
  int base = 10;
  if (digits.starts_with('x')) {
    base = 16;
    digits.remove_prefix(1);
  }
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return std::nullopt;
  return code;
}

class Reader {
 public:
  Reader(std::string_view text, const std::function<Status(const XmlElement&)>& visit) : text_(text), visit_(visit) {}

  Status run() {
    if (!is_utf8(text_)) return bad("it is not UTF-8");
    skip("\xEF\xBB\xBF");
    bool seen_root = false;
    while (at_ < text_.size()) {
      if (text_[at_] != '<') {
        TRY(characters());
        continue;
      }
      if (skip("<?")) {
        TRY(pass("?>"));
      } else if (skip("<!--")) {
        TRY(pass("-->"));
      } else if (skip("<![CDATA[")) {
        if (open_.empty()) return bad("text outside of the root element");
        const size_t from = at_;
        TRY(pass("]]>"));
        open_.back().text += text_.substr(from, at_ - 3 - from);
      } else if (text_.substr(at_).starts_with("<!")) {
        return bad("document type declarations are refused");
      } else if (skip("</")) {
        TRY(end_tag());
      } else {
        if (open_.empty() && seen_root) return bad("more than one root element");
        seen_root = true;
        ++at_;
        TRY(start_tag());
      }
    }
    if (!open_.empty()) return bad(fmt::format("it stops inside of <{}>", open_.back().name));
    if (!seen_root) return bad("it has no element");
    return {};
  }

 private:
  struct Open {
    std::string name;
    size_t path_before = 0;
    std::string text;
    Attributes attributes;
  };

  tl::unexpected<Error> bad(std::string_view why) const {
    return fail(ErrorKind::kCorrupt, "xml.malformed", fmt::format("the XML cannot be read at byte {}: {}", at_, why));
  }

  bool skip(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    return true;
  }

  Status pass(std::string_view end) {
    const size_t found = text_.find(end, at_);
    if (found == std::string_view::npos) return bad(fmt::format("'{}' is missing", end));
    at_ = found + end.size();
    return {};
  }

  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  Result<std::string> name() {
    const size_t from = at_;
    while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    if (at_ == from) return bad("a name is expected");
    return std::string(text_.substr(from, at_ - from));
  }

  Result<std::string> decoded(std::string_view raw) const {
    std::string out;
    out.reserve(raw.size());
    while (!raw.empty()) {
      const size_t amp = std::min(raw.find('&'), raw.size());
      out += raw.substr(0, amp);
      raw.remove_prefix(amp);
      if (raw.empty()) break;
      const size_t end = raw.find(';');
      if (end == std::string_view::npos) return bad("an '&' without its ';'");
      const std::string_view entity = raw.substr(1, end - 1);
      raw.remove_prefix(end + 1);
      if (entity == "amp")
        out += '&';
      else if (entity == "lt")
        out += '<';
      else if (entity == "gt")
        out += '>';
      else if (entity == "quot")
        out += '"';
      else if (entity == "apos")
        out += '\'';
      else if (const auto code = entity.starts_with('#') ? character_number(entity.substr(1)) : std::nullopt)
        append_utf8(out, *code);
      else
        return bad("an unknown entity");
    }
    return out;
  }

  Status characters() {
    const size_t end = std::min(text_.find('<', at_), text_.size());
    const std::string_view raw = text_.substr(at_, end - at_);
    if (open_.empty()) {
      if (raw.find_first_not_of(kSpace) != std::string_view::npos) return bad("text outside of the root element");
    } else {
      TRY_ASSIGN(const std::string text, decoded(raw));
      open_.back().text += text;
    }
    at_ = end;
    return {};
  }

  Status start_tag() {
    if (open_.size() == kMaxDepth) return bad("elements are nested too deep");
    Open element;
    TRY_ASSIGN(element.name, name());
    while (true) {
      const size_t before = at_;
      skip_space();
      if (skip("/>")) {
        enter(std::move(element));
        return leave();
      }
      if (skip(">")) {
        enter(std::move(element));
        return {};
      }
      if (at_ == before) return bad("a tag is not closed");
      TRY_ASSIGN(std::string key, name());
      skip_space();
      if (!skip("=")) return bad("an attribute has no '='");
      skip_space();
      const char quote = at_ < text_.size() ? text_[at_] : '\0';
      if (quote != '"' && quote != '\'') return bad("an attribute has no quotes");
      const size_t from = ++at_;
      TRY(pass(std::string_view(&quote, 1)));
      TRY_ASSIGN(std::string value, decoded(text_.substr(from, at_ - 1 - from)));
      element.attributes.emplace_back(std::move(key), std::move(value));
    }
  }

  Status end_tag() {
    TRY_ASSIGN(const std::string closing, name());
    skip_space();
    if (!skip(">")) return bad("an end tag is not closed");
    if (open_.empty() || open_.back().name != closing) return bad("an end tag does not match its start tag");
    return leave();
  }

  void enter(Open element) {
    element.path_before = path_.size();
    if (!path_.empty()) path_ += '/';
    path_ += element.name;
    open_.push_back(std::move(element));
  }

  Status leave() {
    const Open element = std::move(open_.back());
    open_.pop_back();
    TRY(visit_(XmlElement{path_, element.text, element.attributes}));
    path_.resize(element.path_before);
    return {};
  }

  const std::string_view text_;
  const std::function<Status(const XmlElement&)>& visit_;
  size_t at_ = 0;
  std::string path_;
  std::vector<Open> open_;
};

}  // namespace

std::string_view XmlElement::attribute(std::string_view name) const {
  for (const auto& [key, value] : attributes) {
    if (key == name) return value;
  }
  return {};
}

Status read_xml(std::string_view document, const std::function<Status(const XmlElement&)>& visit) {
  return Reader(document, visit).run();
}

}  // namespace twinstep::azure
