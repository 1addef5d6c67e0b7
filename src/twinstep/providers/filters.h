#pragma once

#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/json/json.h"

namespace twinstep::providers {

/// Look-up tables of a definition: table name -> (value -> replacement).
using Tables = std::map<std::string, std::map<std::string, std::string>>;

/// A regular expression (ECMAScript; a leading `(?i)` ignores case) that never throws and looks at 4 KiB at most.
class Regex {
 public:
  /// Errors  kInvalid "definition.bad-pattern".
  static Result<Regex> compile(std::string_view pattern);
  bool search(std::string_view text) const;
  /// Group 1, or the whole match when there is no group; empty optional = no match.
  std::optional<std::string> extract(std::string_view text) const;

 private:
  std::shared_ptr<const std::regex> compiled_;
};

enum class FilterKind {
  kUpper,
  kLower,
  kHexOnly,      ///< keeps hex digits only: strips separators
  kToHex,        ///< a whole number (or its decimal text) as hex digits; argument: width, filled with zeros
  kPrefix,       ///< puts the argument in front
  kStripPrefix,  ///< removes the argument from the front when it is there
  kRegex,        ///< group 1 of the argument; no match = no value
  kTruncate,     ///< at most that many characters (UTF-8 is not cut apart)
  kReplace,      ///< every first argument becomes the second
  kUrlEncode,
  kDefault,  ///< the argument when there is no value, null or an empty text
  kToText,   ///< numbers and booleans as text, null as the empty text
  kToNumber,
  kToBoolean,
  kJoin,   ///< a list as one text, the argument between its elements
  kTable,  ///< looked up in the named table; a value that is not there is an error
  kRaw,    ///< in paths and queries: not percent-encoded
};

struct Filter {
  FilterKind kind = FilterKind::kUpper;
  std::vector<std::string> args;
  size_t number = 0;                                                ///< of kTruncate and kToHex
  std::optional<Regex> regex;                                       ///< of kRegex
  std::shared_ptr<const std::map<std::string, std::string>> table;  ///< of kTable
};

/// Parses `name` or `name:argument:argument`; an argument in single quotes may hold any character.
/// Errors  kInvalid "definition.unknown-filter" with the nearest name, "definition.bad-filter".
Result<Filter> parse_filter(std::string_view text, const Tables& tables);

/// A JSON scalar as plain text; empty optional for null, lists and objects.
std::optional<std::string> as_text(const json::value& v);

/// Runs the filters in order. An absent or null value stays as it is, except where a filter says otherwise.
/// Errors  kInvalid "template.bad-value"; never names the value.
Result<std::optional<json::value>> apply_filters(const std::vector<Filter>& filters, std::optional<json::value> v);

}  // namespace twinstep::providers
