#include "twinstep/plan/tag_text.h"

#include <algorithm>
#include <charconv>

#include "twinstep/json/canonical.h"

namespace twinstep::plan {

namespace {

constexpr size_t kMaxTags = 8 * 1024;
constexpr size_t kMaxText = 4 * 1024;
constexpr size_t kMaxName = 1024;
constexpr int kMaxDepth = 10;
constexpr int64_t kMinWhole = -4503599627370496;
constexpr int64_t kMaxWhole = 4503599627370495;
constexpr size_t kShownCharacters = 64;

struct Placed {
  std::vector<std::string> path;
  std::string_view json;
};

void append_level(std::span<const Placed> values, size_t depth, std::string& out) {
  out.push_back('{');
  for (size_t from = 0; from < values.size();) {
    const std::string& name = values[from].path[depth];
    size_t to = from + 1;
    while (to < values.size() && values[to].path[depth] == name) ++to;
    if (from > 0) out.push_back(',');
    json::append_canonical_string(name, out);
    out.push_back(':');
    if (values[from].path.size() == depth + 1) {
      out.append(values[from].json);
    } else {
      append_level(values.subspan(from, to - from), depth + 1, out);
    }
    from = to;
  }
  out.push_back('}');
}

/// Walks canonical JSON, adding up what the hub counts.
class LimitCheck {
 public:
  explicit LimitCheck(std::string_view text) : text_(text) {}

  /// `depth` objects are around the value already.
  std::string value(int depth, bool in_array) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if (c == '{') return members(depth + 1);
    if (c == '[') return elements(depth);
    if (c == '"') {
      const size_t size = text();
      bytes += size;
      if (size > kMaxText) return fmt::format("a text of {} bytes, IoT Hub takes {}", size, kMaxText);
      return {};
    }
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != ']' && text_[at_] != '}') ++at_;
    const std::string_view token = text_.substr(begin, at_ - begin);
    if (token == "null") return in_array ? "null in an array, which IoT Hub refuses" : "";
    if (token == "true" || token == "false") {
      bytes += 4;
      return {};
    }
    bytes += 8;
    if (token.find_first_of(".eE") != std::string_view::npos) return {};
    int64_t number = 0;
    const auto read = std::from_chars(token.data(), token.data() + token.size(), number);
    if (read.ec != std::errc{} || number < kMinWhole || number > kMaxWhole) {
      return "a whole number of more than 52 bits, which IoT Hub refuses";
    }
    return {};
  }

  size_t bytes = 0;

 private:
  std::string members(int depth) {
    if (depth > kMaxDepth) return fmt::format("more than {} levels, IoT Hub takes no more", kMaxDepth);
    ++at_;
    while (at_ < text_.size() && text_[at_] != '}') {
      if (text_[at_] == ',') ++at_;
      const size_t size = text(true);
      bytes += size;
      if (bad_name_) return "a name with a control character, '.', '$', '#' or a space, which IoT Hub refuses";
      if (size > kMaxName) return fmt::format("a name of {} bytes, IoT Hub takes {}", size, kMaxName);
      ++at_;  // the colon
      if (std::string why = value(depth, false); !why.empty()) return why;
    }
    ++at_;
    return {};
  }
  std::string elements(int depth) {
    ++at_;
    while (at_ < text_.size() && text_[at_] != ']') {
      if (text_[at_] == ',') ++at_;
      if (std::string why = value(depth, true); !why.empty()) return why;
    }
    ++at_;
    return {};
  }
  /// Steps over a string and gives its size without control characters.
  size_t text(bool name = false) {
    size_t size = 0;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      const char c = text_[at_];
      if (c == '\\') {
        ++at_;
        const char escape = at_ < text_.size() ? text_[at_] : '\0';
        if (escape == '"' || escape == '\\') {
          ++size;
        } else {
          if (escape == 'u') at_ += 4;
          if (name) bad_name_ = true;
        }
        continue;
      }
      if (name && (c == '.' || c == '$' || c == '#' || c == ' ' || c == '\x7f')) bad_name_ = true;
      // C1 controls are U+0080 to U+009F.
      if (name && c == '\xC2' && at_ + 1 < text_.size() && static_cast<unsigned char>(text_[at_ + 1]) < 0xA0) {
        bad_name_ = true;
      }
      ++size;
    }
    ++at_;
    return size;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool bad_name_ = false;
};

}  // namespace

std::string tags_object(const std::vector<providers::TagSpec>& specs, std::span<const std::string_view> values,
                        const std::function<bool(size_t)>& pick, const std::string* link) {
  std::vector<Placed> placed;
  std::string owner;
  if (link != nullptr) {
    json::append_canonical_string(*link, owner);
    placed.push_back({{"twinstep", "link"}, owner});
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    if (!values[i].empty() && pick(i)) placed.push_back({specs[i].path, values[i]});
  }
  if (placed.empty()) return "{}";
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.path < b.path; });
  std::string out;
  append_level(placed, 0, out);
  return out;
}

std::string why_refused(const Rules& rules, std::span<const std::string_view> values) {
  size_t total = std::string_view("twinsteplink").size() + rules.link.size();
  for (size_t i = 0; i < rules.tags.size(); ++i) {
    const providers::TagSpec& spec = rules.tags[i];
    if (!rules.uses(i)) continue;
    if (values[i].empty()) {
      if (spec.required) return fmt::format("{} is required and has no value", shown_name(spec));
      continue;
    }
    for (const std::string& name : spec.path) total += name.size();
    LimitCheck check(values[i]);
    if (std::string why = check.value(static_cast<int>(spec.path.size()) - 1, false); !why.empty()) {
      return fmt::format("{} holds {}", shown_name(spec), why);
    }
    total += check.bytes;
  }
  if (total > kMaxTags) return fmt::format("its tags have {} bytes, IoT Hub takes {}", total, kMaxTags);
  return {};
}

std::string why_tags_refused(std::string_view canonical, std::string_view link) {
  LimitCheck check(canonical);
  if (std::string why = check.value(-1, false); !why.empty()) return fmt::format("the tags hold {}", why);
  const size_t total = check.bytes + std::string_view("twinsteplink").size() + link.size();
  if (total > kMaxTags)
    return fmt::format("the tags have {} bytes with the {} of the link's mark, IoT Hub takes {}", total,
                       total - check.bytes, kMaxTags);
  return {};
}

std::string shown_value(std::string_view json) {
  if (json.empty()) return "absent";
  size_t characters = 0;
  for (size_t i = 0; i < json.size(); ++i) {
    if ((static_cast<unsigned char>(json[i]) & 0xC0) == 0x80) continue;
    if (++characters > kShownCharacters) return std::string(json.substr(0, i)) + "…";
  }
  return std::string(json);
}

std::string shown_name(const providers::TagSpec& spec) {
  std::string name = "tags";
  for (const std::string& part : spec.path) name.append(".").append(part);
  return name;
}

}  // namespace twinstep::plan
