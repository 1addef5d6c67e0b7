#include "twinstep/providers/mapper.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "twinstep/json/canonical.h"
#include "twinstep/json/members.h"

namespace twinstep::providers {

namespace {

/// A value found in an item: canonical JSON text in the arena.
struct Found {
  bool there = false;
  size_t at = 0;
  size_t size = 0;
};

/// The wanted places of an item as a tree of member names, so that one pass finds all of them.
struct Place {
  std::string name;
  std::vector<size_t> slots;  ///< that want the value at this place
  std::vector<Place> inside;
};

struct Target {
  std::vector<size_t> slots;  ///< alternatives in order
  std::vector<Filter> filters;
};

std::vector<std::string> pointer_parts(std::string_view pointer) {
  std::vector<std::string> out;
  for (size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] == '/') {
      out.emplace_back();
    } else if (pointer[i] == '~') {
      out.back().push_back(pointer[++i] == '0' ? '~' : '/');
    } else {
      out.back().push_back(pointer[i]);
    }
  }
  return out;
}

class PointerMapper final : public Mapper {
 public:
  explicit PointerMapper(const Definition& definition) : definition_(definition) {
    id_ = add(definition.device_id);
    for (const TagMapping& tag : definition.tags) tags_.push_back(add(tag.source));
    if (definition.item_filter) filter_slot_ = add_slot(definition.item_filter->pointer);
    values_.resize(tags_.size());
    results_.resize(tags_.size());
  }

  Result<MappedDevice> map(std::string_view item) override {
    id_text_.clear();
    failed_ = true;
    arena_.clear();
    std::fill(found_.begin(), found_.end(), Found{});
    TRY(read(item));
    TRY(read_id());
    TRY(check_filter());
    for (size_t i = 0; i < tags_.size(); ++i) {
      TRY(evaluate(tags_[i], results_[i], i));
      if (!results_[i].there && definition_.tags[i].spec.required) return lacks(definition_.tags[i]);
    }
    for (size_t i = 0; i < tags_.size(); ++i) {
      values_[i] =
          results_[i].there ? std::string_view(arena_).substr(results_[i].at, results_[i].size) : std::string_view{};
    }
    failed_ = false;
    return MappedDevice{id_text_, values_};
  }

  std::string_view failed_id() const override { return failed_ ? std::string_view(id_text_) : std::string_view{}; }
  bool selected() const override { return selected_; }

 private:
  size_t add_slot(const std::string& pointer) {
    Place* at = &root_;
    for (const std::string& name : pointer_parts(pointer)) {
      auto next = std::find_if(at->inside.begin(), at->inside.end(), [&](const Place& p) { return p.name == name; });
      if (next == at->inside.end()) next = at->inside.insert(at->inside.end(), Place{name, {}, {}});
      at = &*next;
    }
    at->slots.push_back(found_.size());
    found_.emplace_back();
    pointers_.push_back(pointer);
    return found_.size() - 1;
  }

  Target add(const ValueSource& source) {
    Target out;
    for (const std::string& pointer : source.from) out.slots.push_back(add_slot(pointer));
    out.filters = source.filters;
    return out;
  }

  static tl::unexpected<Error> corrupt(simdjson::error_code why) {
    return fail(ErrorKind::kCorrupt, "item.not-json",
                fmt::format("not a readable JSON object: {}", simdjson::error_message(why)));
  }

  Status read(std::string_view item) {
    if (buffer_.size() < item.size() + simdjson::SIMDJSON_PADDING)
      buffer_.resize(2 * item.size() + simdjson::SIMDJSON_PADDING);
    std::memcpy(buffer_.data(), item.data(), item.size());
    simdjson::ondemand::document document;
    if (const auto e = parser_.iterate(buffer_.data(), item.size(), buffer_.size()).get(document)) return corrupt(e);
    simdjson::ondemand::object object;
    if (const auto e = document.get_object().get(object)) return corrupt(e);
    if (const auto e = read_object(object, root_)) return corrupt(e);
    // Past the last token there is no location.
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) return corrupt(simdjson::TRAILING_CONTENT);
    return {};
  }

  simdjson::error_code read_object(simdjson::ondemand::object object, const Place& place) {
    for (auto field : object) {
      simdjson::ondemand::field member;
      if (const auto e = std::move(field).get(member)) return e;
      // The raw name is the name unless it holds an escape.
      const char* raw = member.key().raw();
      size_t size = 0;
      while (raw[size] != '"' && raw[size] != '\\') ++size;
      std::string_view key(raw, size);
      if (raw[size] == '\\') {
        if (const auto e = json::unescaped_key(member).get(key)) return e;
      }
      for (const Place& wanted : place.inside) {
        if (wanted.name != key) continue;
        if (const auto e = read_value(member.value(), wanted)) return e;
        break;
      }
    }
    return simdjson::SUCCESS;
  }

  simdjson::error_code read_value(simdjson::ondemand::value v, const Place& place) {
    if (place.slots.empty()) {
      simdjson::ondemand::json_type type;
      if (const auto e = v.type().get(type)) return e;
      if (type == simdjson::ondemand::json_type::object) {
        simdjson::ondemand::object object;
        if (const auto e = v.get_object().get(object)) return e;
        return read_object(object, place);
      }
      if (type != simdjson::ondemand::json_type::array) return simdjson::SUCCESS;
      simdjson::ondemand::array array;
      if (const auto e = v.get_array().get(array)) return e;
      size_t index = 0;
      for (auto element : array) {
        simdjson::ondemand::value child;
        if (const auto e = std::move(element).get(child)) return e;
        char digits[24];
        const std::string_view name(
            digits, static_cast<size_t>(std::to_chars(digits, digits + sizeof digits, index++).ptr - digits));
        for (const Place& wanted : place.inside) {
          if (wanted.name != name) continue;
          if (const auto e = read_value(child, wanted)) return e;
        }
      }
      return simdjson::SUCCESS;
    }
    const size_t at = arena_.size();
    if (!canonicalizer_.append(v, arena_)) return simdjson::TAPE_ERROR;
    for (size_t slot : place.slots) found_[slot] = {true, at, arena_.size() - at};
    // Rare: a place is wanted whole and in parts. The value can be walked only once, so the parts come from its text.
    if (!place.inside.empty()) {
      if (const auto whole = json::parse(std::string_view(arena_).substr(at), "item")) parts_of(*whole, "", place);
    }
    return simdjson::SUCCESS;
  }

  void parts_of(const json::value& whole, const std::string& front, const Place& place) {
    for (const Place& part : place.inside) {
      std::string pointer = front + "/";
      for (char c : part.name) pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
      if (const json::value* v = json::at(whole, pointer)) {
        const size_t at = arena_.size();
        json::append_canonical(*v, arena_);
        for (size_t slot : part.slots) found_[slot] = {true, at, arena_.size() - at};
      }
      parts_of(whole, pointer, part);
    }
  }

  std::string_view text_of(const Found& f) const { return std::string_view(arena_).substr(f.at, f.size); }

  /// The first alternative that has a value; else the first that is null, else nothing.
  Found choose(const Target& target) const {
    Found out;
    for (size_t slot : target.slots) {
      const Found& f = found_[slot];
      if (!f.there) continue;
      const std::string_view text = text_of(f);
      if (text != "null" && (target.slots.size() == 1 || text != "\"\"")) return f;
      if (!out.there) out = f;
    }
    return out;
  }

  /// Filters on a plain string in place; false when the slow way is needed.
  bool filter_fast(const Target& target, Found& f) {
    std::string_view text = text_of(f);
    const bool plain = text.front() == '"' && text.find('\\') == std::string_view::npos;
    for (const Filter& filter : target.filters) {
      if (!plain || (filter.kind != FilterKind::kToText && filter.kind != FilterKind::kUpper &&
                     filter.kind != FilterKind::kLower)) {
        return false;
      }
    }
    for (const Filter& filter : target.filters) {
      if (filter.kind == FilterKind::kToText) continue;
      const size_t at = arena_.size();  // a copy: another target may read the same place
      arena_.append(arena_, f.at, f.size);
      f.at = at;
      const bool up = filter.kind == FilterKind::kUpper;
      for (size_t i = at; i < arena_.size(); ++i) {
        char& c = arena_[i];
        if (up && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
        if (!up && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
      }
    }
    return true;
  }

  Status evaluate(const Target& target, Found& out, size_t tag) {
    out = choose(target);
    if (!target.filters.empty() && !(out.there && filter_fast(target, out))) {
      std::optional<json::value> v;
      if (out.there) {
        TRY_ASSIGN(v, json::parse(text_of(out), "item"));
      }
      auto filtered = apply_filters(target.filters, std::move(v));
      if (!filtered) {
        return fail_within(std::move(filtered),
                           tag == kId ? "the device id" : fmt::format("tag '{}'", definition_.tags[tag].spec.name()));
      }
      out = {};
      if (*filtered) {
        out.there = true;
        out.at = arena_.size();
        json::append_canonical(**filtered, arena_);
        out.size = arena_.size() - out.at;
      }
    }
    if (out.there && text_of(out) == "null") out.there = false;
    return {};
  }

  std::string places(const ValueSource& source) const {
    std::string out;
    for (const std::string& pointer : source.from) out += (out.empty() ? "" : ", ") + pointer;
    return out;
  }

  tl::unexpected<Error> lacks(const TagMapping& tag) const {
    return fail(
        ErrorKind::kInvalid, "item.missing-value",
        fmt::format("the item has no value for the required tag '{}' at {}", tag.spec.name(), places(tag.source)));
  }

  Status read_id() {
    Found f;
    TRY(evaluate(id_, f, kId));
    const std::string where = f.there ? "" : places(definition_.device_id);
    if (!f.there) return fail(ErrorKind::kInvalid, "item.no-id", fmt::format("the item has no device id at {}", where));
    const std::string_view text = text_of(f);
    if (text.front() != '"') {
      return fail(ErrorKind::kInvalid, "item.bad-id",
                  fmt::format("the device id at {} is not a text", places(definition_.device_id)));
    }
    if (text.find('\\') == std::string_view::npos) {
      id_text_.assign(text.substr(1, text.size() - 2));
    } else {
      TRY_ASSIGN(const json::value unescaped, json::parse(text, "item"));
      id_text_.assign(unescaped.get_string());
    }
    if (id_text_.empty()) {
      return fail(ErrorKind::kInvalid, "item.no-id",
                  fmt::format("the device id at {} is empty", places(definition_.device_id)));
    }
    if (!is_legal_hub_device_id(id_text_) && !is_legal_hub_device_id(canonical_device_id(id_text_, canonical_))) {
      return fail(ErrorKind::kInvalid, "item.illegal-id",
                  fmt::format("'{}' at {} cannot be a device id of IoT Hub: 1 to 128 letters, digits and - : . + % _ # "
                              "* ? ! ( ) , = @ ; $ '",
                              id_text_, places(definition_.device_id)));
    }
    return {};
  }

  Status check_filter() {
    selected_ = true;
    if (!definition_.item_filter) return {};
    const Found& f = found_[filter_slot_];
    std::optional<json::value> v;
    if (f.there) {
      TRY_ASSIGN(v, json::parse(text_of(f), "item"));
    }
    selected_ = definition_.item_filter->compare.holds(v ? &*v : nullptr);
    return {};
  }

  static constexpr size_t kId = static_cast<size_t>(-1);

  const Definition& definition_;
  Place root_;
  std::vector<Found> found_;
  std::vector<std::string> pointers_;
  Target id_;
  std::vector<Target> tags_;
  size_t filter_slot_ = 0;
  std::vector<Found> results_;
  std::vector<MappedValue> values_;
  std::string id_text_, canonical_, arena_;
  std::vector<char> buffer_;
  simdjson::ondemand::parser parser_;
  json::Canonicalizer canonicalizer_;
  bool failed_ = false;
  bool selected_ = true;
};

}  // namespace

std::unique_ptr<Mapper> make_mapper(const Definition& definition) {
  return std::make_unique<PointerMapper>(definition);
}

}  // namespace twinstep::providers
