#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "twinstep/base/result.h"

/// JSON for everything that is not bulk: Boost.JSON values and hand-written field readers. Bulk lists go through
/// simdjson (plan/, providers/). Readers ignore unknown members: remote answers grow new ones.
namespace twinstep::json {

using boost::json::array;
using boost::json::object;
using boost::json::string;
using boost::json::value;

/// Parses one document of at most 64 levels. Errors  kCorrupt with the byte offset; `what` names the source.
Result<value> parse(std::string_view text, std::string_view what);

/// Compact text.
std::string write(const value& v);

/// RFC 6901 pointer ("" = the value itself, "/a/0/b"); null when there is no such place.
const value* at(const value& root, std::string_view pointer);

/// The member, or null when absent. Lookups without case serve answers whose casing differs between versions.
const value* find(const object& o, std::string_view key);
const value* find_ignoring_case(const object& o, std::string_view key);

/// The member's text, or `otherwise` when it is absent, null or not a string.
std::string_view string_or(const object& o, std::string_view key, std::string_view otherwise = {});
int64_t int_or(const object& o, std::string_view key, int64_t otherwise);
bool bool_or(const object& o, std::string_view key, bool otherwise);
const object* object_at(const object& o, std::string_view key);  ///< null when absent or not an object
const array* array_at(const object& o, std::string_view key);    ///< null when absent or not an array

/// Members that must be there with the right type. Errors  kCorrupt naming the member.
Result<std::string> need_string(const object& o, std::string_view key);
Result<int64_t> need_int(const object& o, std::string_view key);

}  // namespace twinstep::json
