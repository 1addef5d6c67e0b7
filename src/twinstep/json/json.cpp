#include "twinstep/json/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace twinstep::json {
namespace {

/// The parser makes infinity of 1e400, which no JSON text can say again.
bool all_finite(const value& v) {
  if (const double* number = v.if_double()) return std::isfinite(*number);
  if (const array* items = v.if_array()) return std::all_of(items->begin(), items->end(), all_finite);
  if (const object* members = v.if_object())
    return std::all_of(members->begin(), members->end(), [](const auto& member) { return all_finite(member.value()); });
  return true;
}

}  // namespace

Result<value> parse(std::string_view text, std::string_view what) {
  boost::json::error_code error;
  boost::json::parse_options options;
  options.max_depth = 64;
  boost::json::parser parser({}, options);
  const size_t read = parser.write(text, error);
  if (error)
    return fail(ErrorKind::kCorrupt, "json.syntax",
                fmt::format("{} is not valid JSON: {} at byte {}", what, error.message(), read));
  value out = parser.release();
  if (!all_finite(out))
    return fail(ErrorKind::kCorrupt, "json.syntax",
                fmt::format("{} holds a number that is too large for JSON readers (beyond 1.8e308)", what));
  return out;
}

std::string write(const value& v) { return boost::json::serialize(v); }

const value* at(const value& root, std::string_view pointer) {
  const value* here = &root;
  while (!pointer.empty()) {
    if (pointer.front() != '/') return nullptr;
    pointer.remove_prefix(1);
    const size_t end = std::min(pointer.find('/'), pointer.size());
    std::string token;
    for (size_t i = 0; i < end; ++i) {
      if (pointer[i] == '~' && i + 1 < end && (pointer[i + 1] == '0' || pointer[i + 1] == '1'))
        token.push_back(pointer[++i] == '0' ? '~' : '/');
      else
        token.push_back(pointer[i]);
    }
    pointer.remove_prefix(end);
    if (const object* o = here->if_object()) {
      here = o->if_contains(token);
    } else if (const array* a = here->if_array()) {
      size_t index = 0;
      const auto [stop, error] = std::from_chars(token.data(), token.data() + token.size(), index);
      const bool number = error == std::errc{} && stop == token.data() + token.size() && !token.empty();
      here = number && index < a->size() ? &(*a)[index] : nullptr;
    } else {
      here = nullptr;
    }
    if (!here) return nullptr;
  }
  return here;
}

const value* find(const object& o, std::string_view key) { return o.if_contains(key); }

const value* find_ignoring_case(const object& o, std::string_view key) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  for (const auto& member : o) {
    const std::string_view name = member.key();
    if (name.size() == key.size() &&
        std::equal(name.begin(), name.end(), key.begin(), [&](char a, char b) { return lower(a) == lower(b); }))
      return &member.value();
  }
  return nullptr;
}

std::string_view string_or(const object& o, std::string_view key, std::string_view otherwise) {
  const value* v = o.if_contains(key);
  if (!v || !v->is_string()) return otherwise;
  return {v->get_string().data(), v->get_string().size()};
}

int64_t int_or(const object& o, std::string_view key, int64_t otherwise) {
  const value* v = o.if_contains(key);
  if (!v) return otherwise;
  if (v->is_int64()) return v->get_int64();
  if (v->is_uint64()) return static_cast<int64_t>(v->get_uint64());
  return otherwise;
}

bool bool_or(const object& o, std::string_view key, bool otherwise) {
  const value* v = o.if_contains(key);
  return v && v->is_bool() ? v->get_bool() : otherwise;
}

const object* object_at(const object& o, std::string_view key) {
  const value* v = o.if_contains(key);
  return v ? v->if_object() : nullptr;
}

const array* array_at(const object& o, std::string_view key) {
  const value* v = o.if_contains(key);
  return v ? v->if_array() : nullptr;
}

Result<std::string> need_string(const object& o, std::string_view key) {
  const value* v = o.if_contains(key);
  if (!v || !v->is_string())
    return fail(ErrorKind::kCorrupt, "json.field",
                fmt::format("member '{}' is {}, expected a string", key, v ? "of another type" : "missing"));
  return std::string(v->get_string());
}

Result<int64_t> need_int(const object& o, std::string_view key) {
  const value* v = o.if_contains(key);
  if (!v || !(v->is_int64() || v->is_uint64()))
    return fail(ErrorKind::kCorrupt, "json.field",
                fmt::format("member '{}' is {}, expected a whole number", key, v ? "of another type" : "missing"));
  return int_or(o, key, 0);
}

}  // namespace twinstep::json
