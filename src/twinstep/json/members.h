#pragma once

#include <simdjson.h>

#include <string_view>
#include <utility>

namespace twinstep::json {

/// The name of a member, unescaped. simdjson 3.6 wants an argument that versions before and after it do without.
template <class Field>
simdjson::simdjson_result<std::string_view> unescaped_key(Field& field) {
  if constexpr (requires { field.unescaped_key(); }) {
    return field.unescaped_key();
  } else {
    return field.unescaped_key(false);
  }
}

/// Calls `member(name, value)` for each member of an object, names unescaped, until it returns an error.
template <class F>
simdjson::error_code each_member(simdjson::ondemand::object o, F member) {
  for (auto element : o) {
    simdjson::ondemand::field field;
    if (const auto error = std::move(element).get(field)) return error;
    // The raw name is the name unless it holds an escape.
    const char* raw = field.key().raw();
    size_t size = 0;
    while (raw[size] != '"' && raw[size] != '\\') ++size;
    std::string_view name(raw, size);
    if (raw[size] == '\\') {
      if (const auto error = unescaped_key(field).get(name)) return error;
    }
    if (const simdjson::error_code error = member(name, field.value())) return error;
  }
  return simdjson::SUCCESS;
}

}  // namespace twinstep::json
