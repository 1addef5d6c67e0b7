#include "twinstep/plan/hub_line.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "twinstep/json/canonical.h"
#include "twinstep/json/members.h"

namespace twinstep::plan {

namespace {

namespace ondemand = simdjson::ondemand;

constexpr size_t kIdSearchBytes = 4096;

bool equals_ignoring_case(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] - 'A' + 'a') : a[i];
    if (c != lower[i]) return false;
  }
  return true;
}

/// Names under `tags` that matter: the mapped ones.
struct TagNode {
  std::string name;
  int value = -1;  // index of the TagSpec, -1 = leads on only
  std::vector<TagNode> children;

  TagNode& child(const std::string& wanted) {
    for (TagNode& node : children) {
      if (node.name == wanted) return node;
    }
    children.push_back({wanted, -1, {}});
    return children.back();
  }
  const TagNode* find(std::string_view wanted) const {
    for (const TagNode& node : children) {
      if (node.name == wanted) return &node;
    }
    return nullptr;
  }
};

/// Walks the members of a root object that may be broken further on, without trusting anything.
class IdSearch {
 public:
  explicit IdSearch(std::string_view text) : text_(text.substr(0, kIdSearchBytes)) {}

  std::string_view find() {
    if (!eat('{')) return {};
    while (true) {
      std::string_view key;
      if (!string(key) || !eat(':')) return {};
      space();
      if (key == "id" || key == "deviceId") {
        std::string_view id;
        if (!string(id) || id.find('\\') != std::string_view::npos) return {};
        return id;
      }
      if (!pass_value() || !eat(',')) return {};
    }
  }

 private:
  void space() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) && text_[at_] != '\0') ++at_;
  }
  bool eat(char c) {
    space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool string(std::string_view& out) {
    if (!eat('"')) return false;
    const size_t begin = at_;
    for (; at_ < text_.size(); ++at_) {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) return false;
      if (text_[at_] == '\\') {
        ++at_;
      } else if (text_[at_] == '"') {
        out = text_.substr(begin, at_ - begin);
        ++at_;
        return true;
      }
    }
    return false;
  }
  bool pass_value() {
    int depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      std::string_view ignored;
      if (c == '"') {
        if (!string(ignored)) return false;
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') {
        if (depth == 0) return false;
        --depth;
      }
      if (c == ',' && depth == 0) return true;
      ++at_;
    }
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

struct HubLineReader::Impl {
  struct Slot {
    size_t at = 0, size = 0;
  };

  TagNode wanted;
  ondemand::parser parser;
  json::Canonicalizer canonicalizer;
  std::string buffer;  // the text with the padding that simdjson reads over
  std::string texts;   // canonical values
  std::string tags;
  std::vector<Slot> slots;
  std::vector<std::string_view> values;
  std::string failed_id;

  // What one text holds; reset by read().
  HubLine line;
  std::string_view plain_etag;  // `etag`: of the twin or of the identity
  std::string_view device_etag;
  bool has_authentication = false;
  bool has_authentication_type = false;
  std::string error;

  /// Notes what is wrong with a member. Keeps the first.
  bool wrong(std::string_view member, std::string_view why) {
    if (error.empty()) error = fmt::format("'{}' {}", member, why);
    return false;
  }
  bool syntax(simdjson::error_code code) {
    if (error.empty()) error = fmt::format("not valid JSON: {}", simdjson::error_message(code));
    return false;
  }

  /// A string or null.
  bool text(ondemand::value v, std::string_view member, std::string_view& out) {
    ondemand::json_type type;
    if (const auto code = v.type().get(type)) return syntax(code);
    out = {};
    if (type == ondemand::json_type::null) return null(v);
    if (type != ondemand::json_type::string) return wrong(member, "is not a text");
    if (const auto code = v.get_string().get(out)) return syntax(code);
    return true;
  }

  /// Checks that what begins with `n` is null.
  bool null(ondemand::value v) {
    if (!v.raw_json_token().starts_with("null")) return syntax(simdjson::N_ATOM_ERROR);
    // Steps over the token. Text such as `nullx` is an error here, not an answer.
    bool is_null = false;
    if (const auto code = simdjson::simdjson_result<bool>(v.is_null()).get(is_null)) return syntax(code);
    return is_null || syntax(simdjson::N_ATOM_ERROR);
  }

  /// Calls `member(key, value)` for each member of an object; false from it ends the walk.
  template <class F>
  bool each(ondemand::object o, F member) {
    for (auto element : o) {
      ondemand::field field;
      if (const auto code = std::move(element).get(field)) return syntax(code);
      // The raw name is the name unless it holds an escape.
      const char* raw = field.key().raw();
      size_t size = 0;
      while (raw[size] != '"' && raw[size] != '\\') ++size;
      std::string_view key(raw, size);
      if (raw[size] == '\\') {
        if (const auto code = json::unescaped_key(field).get(key)) return syntax(code);
      }
      if (!member(key, field.value())) return false;
    }
    return true;
  }

  /// An object to walk, or nothing for null.
  bool object(ondemand::value v, std::string_view member, ondemand::object& out, bool& there) {
    ondemand::json_type type;
    if (const auto code = v.type().get(type)) return syntax(code);
    there = false;
    if (type == ondemand::json_type::null) return null(v);
    if (type != ondemand::json_type::object) return wrong(member, "is not an object");
    if (const auto code = v.get_object().get(out)) return syntax(code);
    there = true;
    return true;
  }

  bool auth_kind(std::string_view name) {
    if (equals_ignoring_case(name, "sas")) {
      line.auth = azure::AuthKind::kSas;
    } else if (equals_ignoring_case(name, "selfsigned")) {
      line.auth = azure::AuthKind::kSelfSigned;
    } else if (equals_ignoring_case(name, "certificateauthority")) {
      line.auth = azure::AuthKind::kCertificateAuthority;
    } else if (equals_ignoring_case(name, "none")) {
      line.auth = azure::AuthKind::kNone;
    } else if (!name.empty()) {
      return wrong("authentication", "has a type that is not known");
    }
    return true;
  }

  bool authentication(ondemand::value v) {
    has_authentication = true;
    ondemand::object o;
    bool there = false;
    if (!object(v, "authentication", o, there)) return false;
    if (!there) return true;
    bool typed = false;
    bool thumbprint = false;
    const bool read = each(o, [&](std::string_view key, ondemand::value member) {
      if (equals_ignoring_case(key, "type")) {
        std::string_view name;
        if (!text(member, "authentication.type", name)) return false;
        typed = !name.empty();
        return auth_kind(name);
      }
      if (equals_ignoring_case(key, "x509thumbprint")) {
        ondemand::object prints;
        bool has = false;
        if (!object(member, "authentication.x509Thumbprint", prints, has)) return false;
        return !has || each(prints, [&](std::string_view name, ondemand::value print) {
          std::string_view digits;
          if (!text(print, name, digits)) return false;
          thumbprint = thumbprint || !digits.empty();
          return true;
        });
      }
      return true;
    });
    if (read && !typed && thumbprint) line.auth = azure::AuthKind::kSelfSigned;
    return read;
  }

  bool capabilities(ondemand::value v) {
    ondemand::object o;
    bool there = false;
    if (!object(v, "capabilities", o, there)) return false;
    return !there || each(o, [&](std::string_view key, ondemand::value member) {
      if (!equals_ignoring_case(key, "iotedge")) return true;
      if (member.raw_json_token().starts_with("null")) return null(member);
      if (member.get_bool().get(line.edge)) return wrong("capabilities.iotEdge", "is not true or false");
      return true;
    });
  }

  bool read_tags(ondemand::value v) {
    line.tags = {};
    line.marked = line.has_ref = false;
    line.owner = {};
    texts.clear();
    std::fill(slots.begin(), slots.end(), Slot{});
    ondemand::object o;
    bool there = false;
    if (!object(v, "tags", o, there)) return false;
    if (!there) return true;
    std::string_view raw;
    if (const auto code = o.raw_json().get(raw)) return syntax(code);
    line.tags = raw;
    if (const auto code = o.reset().error()) return syntax(code);
    return tags_under(o, wanted, true);
  }

  bool tags_under(ondemand::object o, const TagNode& node, bool root) {
    return each(o, [&](std::string_view key, ondemand::value v) {
      const TagNode* next = node.find(key);
      ondemand::json_type type;
      if (const auto code = v.type().get(type)) return syntax(code);
      const bool is_null = type == ondemand::json_type::null;
      if (root && key == "ref") line.has_ref = !is_null;
      if (root && key == "twinstep") {
        line.marked = !is_null;
        line.owner = {};
        if (next == nullptr && type == ondemand::json_type::object) return owner(v);
      }
      if (next == nullptr) return true;
      clear(*next);
      if (is_null) return null(v);
      if (next->value >= 0) return value(v, static_cast<size_t>(next->value));
      if (type != ondemand::json_type::object) return true;
      ondemand::object inner;
      if (const auto code = v.get_object().get(inner)) return syntax(code);
      return tags_under(inner, *next, false);
    });
  }

  /// Of repeated names the last one counts, with everything under it.
  void clear(const TagNode& node) {
    if (node.value >= 0) slots[static_cast<size_t>(node.value)] = {};
    for (const TagNode& child : node.children) clear(child);
  }

  bool owner(ondemand::value v) {
    ondemand::object mark;
    if (const auto code = v.get_object().get(mark)) return syntax(code);
    return each(mark, [&](std::string_view key, ondemand::value member) {
      if (key != "link") return true;
      ondemand::json_type type;
      if (const auto code = member.type().get(type)) return syntax(code);
      line.owner = {};
      return type != ondemand::json_type::string || text(member, "tags.twinstep.link", line.owner);
    });
  }

  bool value(ondemand::value v, size_t index) {
    const size_t at = texts.size();
    if (const Status done = canonicalizer.append(v, texts); !done) return wrong("tags", done.error().what);
    slots[index] = {at, texts.size() - at};
    return true;
  }

  bool member(std::string_view key, ondemand::value v) {
    switch (key.empty() ? '\0' : key.front()) {
      case 'i':
        if (key == "id") return text(v, key, line.id);
        break;
      case 'd':
        if (key == "deviceId") return text(v, key, line.id);
        if (key == "deviceEtag") return text(v, key, device_etag);
        break;
      case 'm':
        if (key == "moduleId") return text(v, key, line.module_id);
        break;
      case 'e':
        if (key == "eTag") return text(v, key, line.etag);
        if (key == "etag") return text(v, key, plain_etag);
        break;
      case 't':
        if (key == "twinETag") return text(v, key, line.twin_etag);
        if (key == "tags") return read_tags(v);
        break;
      case 's':
        if (key == "statusReason") return text(v, key, line.status_reason);
        if (key == "status") {
          std::string_view status;
          if (!text(v, key, status)) return false;
          line.enabled = !equals_ignoring_case(status, "disabled");
          if (line.enabled && !status.empty() && !equals_ignoring_case(status, "enabled")) {
            return wrong(key, "is neither enabled nor disabled");
          }
          return true;
        }
        break;
      case 'a':
        if (key == "authentication") return authentication(v);
        if (key == "authenticationType") {
          has_authentication_type = true;
          std::string_view name;
          return text(v, key, name) && auth_kind(name);
        }
        break;
      case 'c':
        if (key == "capabilities") return capabilities(v);
        break;
      default:
        break;
    }
    return true;
  }

  bool parse(std::string_view input) {
    // simdjson reads up to SIMDJSON_PADDING bytes past the end.
    buffer.reserve(input.size() + simdjson::SIMDJSON_PADDING);
    buffer.assign(input);
    buffer.append(simdjson::SIMDJSON_PADDING, ' ');
    ondemand::document document;
    const simdjson::padded_string_view view(buffer.data(), input.size(), buffer.size());
    if (const auto code = parser.iterate(view).get(document)) return syntax(code);
    ondemand::object root;
    if (document.get_object().get(root)) return wrong("the text", "is not a JSON object");
    if (!each(root, [this](std::string_view key, ondemand::value v) { return member(key, v); })) return false;
    const char* rest = nullptr;
    if (!document.current_location().get(rest)) return wrong("the text", "goes on after its end");
    if (line.id.empty()) return wrong("id", "is missing");
    return true;
  }
};

HubLineReader::HubLineReader(const Rules& rules) : impl_(std::make_unique<Impl>()) {
  impl_->slots.resize(rules.tags.size());
  impl_->values.resize(rules.tags.size());
  for (size_t i = 0; i < rules.tags.size(); ++i) {
    if (!rules.uses(i)) continue;
    TagNode* node = &impl_->wanted;
    for (const std::string& name : rules.tags[i].path) node = &node->child(name);
    node->value = static_cast<int>(i);
  }
}

HubLineReader::~HubLineReader() = default;
HubLineReader::HubLineReader(HubLineReader&&) noexcept = default;
HubLineReader& HubLineReader::operator=(HubLineReader&&) noexcept = default;

Result<HubLine> HubLineReader::read(std::string_view text) {
  Impl& impl = *impl_;
  impl.line = {};
  impl.plain_etag = impl.device_etag = {};
  impl.has_authentication = impl.has_authentication_type = false;
  impl.error.clear();
  impl.failed_id.clear();
  impl.texts.clear();
  std::fill(impl.slots.begin(), impl.slots.end(), Impl::Slot{});
  if (!impl.parse(text)) {
    impl.failed_id = IdSearch(text).find();
    return fail(ErrorKind::kCorrupt, "plan.broken-line", impl.error);
  }
  HubLine& line = impl.line;
  if (!impl.plain_etag.empty()) {
    // An identity carries its own etag under this name; a twin that of the twin.
    const bool identity = impl.has_authentication && !impl.has_authentication_type && impl.device_etag.empty();
    std::string_view& place = identity ? line.etag : line.twin_etag;
    if (place.empty()) place = impl.plain_etag;
  }
  if (line.etag.empty()) line.etag = impl.device_etag;
  for (size_t i = 0; i < impl.slots.size(); ++i) {
    impl.values[i] = std::string_view(impl.texts).substr(impl.slots[i].at, impl.slots[i].size);
  }
  line.values = impl.values;
  return line;
}

std::string_view HubLineReader::failed_id() const { return impl_->failed_id; }

}  // namespace twinstep::plan
