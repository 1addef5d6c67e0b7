#include "sims/hub_twin.h"

#include <fmt/format.h>

#include <tuple>

namespace twinstep::sims {
namespace {

json::object parse_object(const std::string& text) {
  if (text.empty()) return {};
  auto parsed = json::parse(text, "stored section");
  return parsed && parsed->is_object() ? std::move(parsed->as_object()) : json::object{};
}

std::string store(const json::object& o) { return o.empty() ? std::string{} : json::write(json::value(o)); }

json::object leaf_meta(std::string_view time, uint32_t version) {
  return json::object{{"$lastUpdated", time}, {"$lastUpdatedVersion", version}};
}

json::object uniform_meta(const json::object& section, std::string_view time, uint32_t version) {
  json::object meta = leaf_meta(time, version);
  for (const auto& [key, v] : section)
    meta[key] = v.is_object() ? uniform_meta(v.as_object(), time, version) : leaf_meta(time, version);
  return meta;
}

json::object desired_meta(const Entity& e) {
  if (e.extras && !e.extras->desired_meta.empty()) return parse_object(e.extras->desired_meta);
  if (e.desired.empty()) return json::object{{"$lastUpdated", hub_time(e.twin_created_us)}};
  return uniform_meta(parse_object(e.desired), hub_time(e.desired_updated_us), e.desired_version);
}

void merge(json::object& into, json::object* meta, const json::object& patch, std::string_view time, uint32_t version,
           bool top) {
  if (meta != nullptr) {
    (*meta)["$lastUpdated"] = time;
    (*meta)["$lastUpdatedVersion"] = version;
  }
  for (const auto& [key, v] : patch) {
    if (top && !key.empty() && key[0] == '$') continue;  // $metadata and $version are the service's own
    if (v.is_null()) {
      into.erase(key);
      if (meta != nullptr) meta->erase(key);
    } else if (v.is_object()) {
      json::value& slot = into[key];
      if (!slot.is_object()) slot = json::object{};
      json::object* below = nullptr;
      if (meta != nullptr) {
        json::value& m = (*meta)[key];
        if (!m.is_object()) m = json::object{};
        below = &m.as_object();
      }
      merge(slot.as_object(), below, v.as_object(), time, version, false);
    } else {
      into[key] = v;
      if (meta != nullptr) (*meta)[key] = leaf_meta(time, version);
    }
  }
}

json::object without_nulls(const json::object& from, bool top) {
  json::object out;
  for (const auto& [key, v] : from) {
    if (v.is_null() || (top && !key.empty() && key[0] == '$')) continue;
    if (v.is_object())
      out[key] = without_nulls(v.as_object(), false);
    else
      out[key] = v;
  }
  return out;
}

constexpr size_t kTagsLimit = 8 * 1024;
constexpr size_t kPropertiesLimit = 32 * 1024;

struct Sections {
  const json::value* tags = nullptr;
  const json::value* desired = nullptr;
};

Answer<Sections> sections_of(const json::object& body) {
  Sections s;
  s.tags = body.if_contains("tags");
  if (const json::value* properties = body.if_contains("properties"); properties != nullptr && !properties->is_null()) {
    if (!properties->is_object()) return tl::unexpected(argument_invalid("'properties' must be an object."));
    s.desired = properties->as_object().if_contains("desired");
  }
  for (const auto& [v, name] : {std::tuple{s.tags, "tags"}, std::tuple{s.desired, "properties.desired"}}) {
    if (v == nullptr || v->is_null()) continue;
    if (auto ok = check_section(*v, name); !ok) return tl::unexpected(ok.error());
  }
  return s;
}

Answer<void> check_size(const json::object& section, std::string_view name, size_t limit) {
  if (const size_t bytes = section_bytes(json::value(section)); bytes > limit)
    return tl::unexpected(
        argument_invalid(fmt::format("The size of '{}' is {} bytes, more than the limit of {}.", name, bytes, limit)));
  return {};
}

/// Next code point of UTF-8; text from Boost.JSON is well-formed.
uint32_t next_code_point(std::string_view text, size_t& i) {
  const auto byte = [&](size_t k) { return static_cast<uint32_t>(static_cast<unsigned char>(text[k])); };
  const uint32_t first = byte(i);
  size_t more = first < 0x80 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  uint32_t point = more == 0 ? first : more == 1 ? first & 0x1F : more == 2 ? first & 0x0F : first & 0x07;
  for (++i; more > 0 && i < text.size(); --more, ++i) point = point << 6 | (byte(i) & 0x3F);
  return point;
}

bool is_control(uint32_t c) { return c < 0x20 || (c >= 0x7F && c <= 0x9F); }

size_t text_bytes(std::string_view text) {
  size_t bytes = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t at = i;
    if (!is_control(next_code_point(text, i))) bytes += i - at;
  }
  return bytes;
}

Answer<void> check_value(const json::value& v, const std::string& path, int depth, bool in_array) {
  if (v.is_null()) {
    if (in_array) return tl::unexpected(argument_invalid(fmt::format("'{}' holds null inside an array.", path)));
  } else if (v.is_string()) {
    if (v.as_string().size() > 4096)
      return tl::unexpected(argument_invalid(fmt::format("The string value of '{}' is longer than 4096 bytes.", path)));
  } else if (v.is_uint64() || v.is_int64()) {
    const bool big = v.is_uint64() && v.as_uint64() > 4503599627370495ULL;
    if (big || (v.is_int64() && (v.as_int64() > 4503599627370495LL || v.as_int64() < -4503599627370496LL)))
      return tl::unexpected(argument_invalid(fmt::format(
          "The number of '{}' is out of range: integers lie between -4503599627370496 and 4503599627370495.", path)));
  } else if (v.is_array()) {
    for (const json::value& item : v.as_array())
      if (auto ok = check_value(item, path + "[]", depth, true); !ok) return ok;
  } else if (v.is_object()) {
    if (depth > 10) return tl::unexpected(argument_invalid(fmt::format("'{}' is nested deeper than 10 levels.", path)));
    for (const auto& [key, item] : v.as_object()) {
      const std::string_view name(key.data(), key.size());
      if (depth == 0 && (name == "$metadata" || name == "$version")) continue;
      if (name.size() > 1024)
        return tl::unexpected(argument_invalid(fmt::format("A key below '{}' is longer than 1024 bytes.", path)));
      for (size_t i = 0; i < name.size();) {
        const uint32_t c = next_code_point(name, i);
        if (is_control(c) || c == '.' || c == '$' || c == ' ' || c == '#')
          return tl::unexpected(argument_invalid(
              fmt::format("The key '{}' below '{}' holds a character that is not allowed (control, '.', '$', '#', "
                          "space).",
                          name, path)));
      }
      if (auto ok = check_value(item, fmt::format("{}.{}", path, name), depth + 1, in_array); !ok) return ok;
    }
  }
  return {};
}

json::object section_json(const std::string& text, json::object meta, uint32_t version) {
  json::object out = parse_object(text);
  out["$metadata"] = std::move(meta);
  out["$version"] = version;
  return out;
}

json::object reported_json(const Entity& e) {
  const std::string text = e.extras ? e.extras->reported : std::string{};
  json::object meta = text.empty() ? json::object{{"$lastUpdated", hub_time(e.twin_created_us)}}
                                   : uniform_meta(parse_object(text), hub_time(e.twin_created_us), e.reported_version);
  return section_json(text, std::move(meta), e.reported_version);
}

}  // namespace

json::object tags_json(const Entity& e) { return parse_object(e.tags); }

json::object properties_json(const Entity& e) {
  return {{"desired", section_json(e.desired, desired_meta(e), e.desired_version)}, {"reported", reported_json(e)}};
}

size_t section_bytes(const json::value& v) {
  if (v.is_string()) return text_bytes(v.as_string());
  if (v.is_bool()) return 4;
  if (v.is_number()) return 8;
  size_t bytes = 0;
  if (v.is_array())
    for (const json::value& item : v.as_array()) bytes += section_bytes(item);
  if (v.is_object())
    for (const auto& [key, item] : v.as_object()) bytes += text_bytes({key.data(), key.size()}) + section_bytes(item);
  return bytes;
}

Answer<void> check_section(const json::value& section, std::string_view name) {
  if (!section.is_object()) return tl::unexpected(argument_invalid(fmt::format("'{}' must be an object.", name)));
  return check_value(section, std::string(name), 0, false);
}

Answer<void> merge_twin(Entity& e, const json::object& patch, int64_t now_us) {
  auto sections = sections_of(patch);
  if (!sections) return tl::unexpected(sections.error());
  const std::string now = hub_time(now_us);
  json::object tags = parse_object(e.tags);
  json::object desired = parse_object(e.desired);
  json::object meta = desired_meta(e);
  if (sections->tags != nullptr) {
    if (sections->tags->is_null())
      tags.clear();
    else
      merge(tags, nullptr, sections->tags->as_object(), now, 0, false);
    if (auto ok = check_size(tags, "tags", kTagsLimit); !ok) return ok;
  }
  bool touched = false;  // a body that only echoes $metadata and $version changes nothing
  if (sections->desired != nullptr) {
    if (sections->desired->is_null()) {
      touched = !desired.empty();
      desired.clear();
      meta = leaf_meta(now, e.desired_version + 1);
    } else {
      for (const auto& [key, v] : sections->desired->as_object()) touched = touched || key.empty() || key[0] != '$';
      if (touched) merge(desired, &meta, sections->desired->as_object(), now, e.desired_version + 1, true);
    }
    if (auto ok = check_size(desired, "properties.desired", kPropertiesLimit); !ok) return ok;
  }
  e.tags = store(tags);
  if (touched) {
    e.desired = store(desired);
    e.more().desired_meta = json::write(json::value(meta));
    ++e.desired_version;
    e.desired_updated_us = now_us;
  }
  ++e.version;
  ++e.twin_etag;
  return {};
}

Answer<void> replace_twin(Entity& e, const json::object& body, int64_t now_us, bool whole, bool fresh) {
  auto sections = sections_of(body);
  if (!sections) return tl::unexpected(sections.error());
  const auto content = [](const json::value* v, bool own) {
    return v != nullptr && v->is_object() ? without_nulls(v->as_object(), own) : json::object{};
  };
  const json::object tags = content(sections->tags, false);
  const json::object desired = content(sections->desired, true);
  if (auto ok = check_size(tags, "tags", kTagsLimit); !ok) return ok;
  if (auto ok = check_size(desired, "properties.desired", kPropertiesLimit); !ok) return ok;
  const bool named = whole || (sections->tags != nullptr && !sections->tags->is_null()) ||
                     (sections->desired != nullptr && !sections->desired->is_null());
  if (!named) return {};
  if (whole || (sections->tags != nullptr && !sections->tags->is_null())) e.tags = store(tags);
  if (whole || (sections->desired != nullptr && !sections->desired->is_null())) {
    e.desired = store(desired);
    if (e.extras) e.extras->desired_meta.clear();
    e.desired_updated_us = fresh ? 0 : now_us;
    if (!fresh) ++e.desired_version;
    if (!fresh && desired.empty())
      e.more().desired_meta = json::write(json::value(leaf_meta(hub_time(now_us), e.desired_version)));
    const json::value* given = sections->desired != nullptr && sections->desired->is_object()
                                   ? sections->desired->as_object().if_contains("$metadata")
                                   : nullptr;
    if (given != nullptr && given->is_object()) e.more().desired_meta = json::write(*given);
  }
  if (!fresh) {
    ++e.version;
    ++e.twin_etag;
  }
  return {};
}

}  // namespace twinstep::sims
