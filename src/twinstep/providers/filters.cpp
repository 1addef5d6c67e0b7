#include "twinstep/providers/filters.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "twinstep/base/encoding.h"
#include "twinstep/base/units.h"
#include "twinstep/json/canonical.h"

namespace twinstep::providers {

namespace {

constexpr size_t kMaxRegexText = 4096;  // libstdc++ recurses once per character

struct Known {
  std::string_view name;
  FilterKind kind;
  size_t least_args;
  size_t most_args;
};
constexpr std::array<Known, 17> kKnown{{
    {"upper", FilterKind::kUpper, 0, 0},
    {"lower", FilterKind::kLower, 0, 0},
    {"hex-only", FilterKind::kHexOnly, 0, 0},
    {"to-hex", FilterKind::kToHex, 0, 1},
    {"prefix", FilterKind::kPrefix, 1, 1},
    {"strip-prefix", FilterKind::kStripPrefix, 1, 1},
    {"regex", FilterKind::kRegex, 1, 1},
    {"truncate", FilterKind::kTruncate, 1, 1},
    {"replace", FilterKind::kReplace, 2, 2},
    {"url-encode", FilterKind::kUrlEncode, 0, 0},
    {"default", FilterKind::kDefault, 1, 1},
    {"to-text", FilterKind::kToText, 0, 0},
    {"to-number", FilterKind::kToNumber, 0, 0},
    {"to-boolean", FilterKind::kToBoolean, 0, 0},
    {"join", FilterKind::kJoin, 1, 1},
    {"table", FilterKind::kTable, 1, 1},
    {"raw", FilterKind::kRaw, 0, 0},
}};

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_hex(char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f'); }

Result<std::vector<std::string>> split_args(std::string_view text) {
  std::vector<std::string> parts(1);
  bool quoted = false;
  for (char c : text) {
    if (c == '\'') {
      quoted = !quoted;
    } else if (c == ':' && !quoted) {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  if (quoted)
    return fail(ErrorKind::kInvalid, "definition.bad-filter", fmt::format("filter '{}' lacks a closing quote", text));
  return parts;
}

Result<json::value> to_number(const std::string& text) {
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  if (const auto r = std::from_chars(text.data(), end, whole); r.ec == std::errc{} && r.ptr == end) return whole;
  double real = 0;
  if (const auto r = std::from_chars(text.data(), end, real);
      r.ec == std::errc{} && r.ptr == end && text.find_first_of("0123456789") != std::string::npos) {
    return real;
  }
  return fail(ErrorKind::kInvalid, "template.bad-value", "the value is not a number (filter to-number)");
}

Result<std::string> to_hex(const std::string& text, size_t width) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  if (const auto r = std::from_chars(text.data(), end, number); r.ec != std::errc{} || r.ptr != end || text.empty()) {
    return fail(ErrorKind::kInvalid, "template.bad-value", "the value is not a whole decimal number (filter to-hex)");
  }
  return fmt::format("{:0{}x}", number, width);
}

std::string truncate(const std::string& text, size_t most) {
  size_t characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) continue;
    if (characters++ == most) return text.substr(0, i);
  }
  return text;
}

/// Filters that turn a text into a text.
Result<std::optional<json::value>> apply_to_text(const Filter& filter, std::string text) {
  const auto done = [](std::string_view out) { return std::optional<json::value>(json::string(out)); };
  switch (filter.kind) {
    case FilterKind::kUpper:
      std::transform(text.begin(), text.end(), text.begin(), upper);
      return done(text);
    case FilterKind::kLower:
      std::transform(text.begin(), text.end(), text.begin(), lower);
      return done(text);
    case FilterKind::kHexOnly:
      text.erase(std::remove_if(text.begin(), text.end(), [](char c) { return !is_hex(c); }), text.end());
      return done(text);
    case FilterKind::kToHex: {
      TRY_ASSIGN(const std::string hex, to_hex(text, filter.number));
      return done(hex);
    }
    case FilterKind::kPrefix:
      return done(filter.args[0] + text);
    case FilterKind::kStripPrefix:
      return done(text.starts_with(filter.args[0]) ? text.substr(filter.args[0].size()) : text);
    case FilterKind::kRegex: {
      const auto group = filter.regex->extract(text);
      if (!group) return std::optional<json::value>{};
      return done(*group);
    }
    case FilterKind::kTruncate:
      return done(truncate(text, filter.number));
    case FilterKind::kReplace: {
      std::string out;
      size_t from = 0;
      for (size_t at; (at = text.find(filter.args[0], from)) != std::string::npos; from = at + filter.args[0].size()) {
        out.append(text, from, at - from).append(filter.args[1]);
      }
      return done(out.append(text, from));
    }
    case FilterKind::kUrlEncode:
      return done(percent_encode(text));
    case FilterKind::kToNumber: {
      TRY_ASSIGN(json::value number, to_number(text));
      return std::optional<json::value>(std::move(number));
    }
    case FilterKind::kToBoolean:
      if (text == "true" || text == "1") return std::optional<json::value>(true);
      if (text == "false" || text == "0") return std::optional<json::value>(false);
      return fail(ErrorKind::kInvalid, "template.bad-value", "the value is not true or false (filter to-boolean)");
    case FilterKind::kTable: {
      const auto row = filter.table->find(text);
      if (row != filter.table->end()) return done(row->second);
      return fail(ErrorKind::kInvalid, "template.bad-value",
                  fmt::format("the value is not in the table '{}'", filter.args[0]));
    }
    default:
      return done(text);
  }
}

}  // namespace

Result<Regex> Regex::compile(std::string_view pattern) {
  auto flags = std::regex::ECMAScript | std::regex::optimize;
  std::string_view body = pattern;
  if (body.starts_with("(?i)")) {
    body.remove_prefix(4);
    flags |= std::regex::icase;
  }
  Regex out;
  try {
    out.compiled_ = std::make_shared<const std::regex>(body.begin(), body.end(), flags);
  } catch (const std::regex_error& bad) {  // the library's way to report; it goes no further than here
    return fail(ErrorKind::kInvalid, "definition.bad-pattern",
                fmt::format("'{}' is not a regular expression: {}", pattern, bad.what()));
  }
  return out;
}

bool Regex::search(std::string_view text) const {
  text = text.substr(0, kMaxRegexText);
  try {
    return std::regex_search(text.begin(), text.end(), *compiled_);
  } catch (const std::regex_error&) {  // too complex for this text: no match
    return false;
  }
}

std::optional<std::string> Regex::extract(std::string_view text) const {
  text = text.substr(0, kMaxRegexText);
  std::match_results<std::string_view::const_iterator> groups;
  try {
    if (!std::regex_search(text.begin(), text.end(), groups, *compiled_)) return {};
  } catch (const std::regex_error&) {  // as in search()
    return {};
  }
  return groups[groups.size() > 1 ? 1 : 0].str();
}

Result<Filter> parse_filter(std::string_view text, const Tables& tables) {
  TRY_ASSIGN(std::vector<std::string> parts, split_args(text));
  std::vector<std::string> names;
  for (const Known& known : kKnown) {
    names.emplace_back(known.name);
    if (known.name != parts[0]) continue;
    Filter out;
    out.kind = known.kind;
    out.args.assign(parts.begin() + 1, parts.end());
    if (out.args.size() < known.least_args || out.args.size() > known.most_args) {
      return fail(
          ErrorKind::kInvalid, "definition.bad-filter",
          fmt::format("filter '{}' takes {} argument(s), not {}", known.name, known.least_args, out.args.size()));
    }
    if ((out.kind == FilterKind::kTruncate || out.kind == FilterKind::kToHex) && !out.args.empty()) {
      const std::string& arg = out.args[0];
      const auto r = std::from_chars(arg.data(), arg.data() + arg.size(), out.number);
      if (r.ec != std::errc{} || r.ptr != arg.data() + arg.size() || out.number == 0 || out.number > 10'000) {
        return fail(ErrorKind::kInvalid, "definition.bad-filter",
                    fmt::format("filter '{}' needs a number from 1 to 10000, not '{}'", known.name, arg));
      }
    }
    if (out.kind == FilterKind::kReplace && out.args[0].empty()) {
      return fail(ErrorKind::kInvalid, "definition.bad-filter", "filter 'replace' needs something to replace");
    }
    if (out.kind == FilterKind::kRegex) {
      TRY_ASSIGN(out.regex, Regex::compile(out.args[0]));
    }
    if (out.kind == FilterKind::kTable) {
      const auto table = tables.find(out.args[0]);
      if (table == tables.end()) {
        return fail(ErrorKind::kInvalid, "definition.unknown-table",
                    fmt::format("there is no table '{}'", out.args[0]));
      }
      out.table = std::make_shared<const std::map<std::string, std::string>>(table->second);
    }
    return out;
  }
  const std::string meant = nearest(parts[0], names);
  return fail(
      ErrorKind::kInvalid, "definition.unknown-filter",
      fmt::format("unknown filter '{}'{}", parts[0], meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
}

std::optional<std::string> as_text(const json::value& v) {
  if (v.is_string()) return std::string(v.get_string());
  if (v.is_null() || v.is_object() || v.is_array()) return {};
  return json::canonical(v);
}

Result<std::optional<json::value>> apply_filters(const std::vector<Filter>& filters, std::optional<json::value> v) {
  for (const Filter& filter : filters) {
    if (filter.kind == FilterKind::kRaw) continue;
    if (filter.kind == FilterKind::kDefault) {
      if (!v || v->is_null() || (v->is_string() && v->get_string().empty())) v = json::string(filter.args[0]);
      continue;
    }
    if (filter.kind == FilterKind::kToText && v && v->is_null()) v = json::string("");
    if (!v || v->is_null()) continue;
    if (filter.kind == FilterKind::kJoin && v->is_array()) {
      std::string out;
      bool first = true;
      for (const json::value& element : v->get_array()) {
        const auto text = as_text(element);
        if (!text)
          return fail(ErrorKind::kInvalid, "template.bad-value", "the list holds more than plain values (filter join)");
        out += (first ? "" : filter.args[0]) + *text;
        first = false;
      }
      v = json::string(out);
      continue;
    }
    auto text = as_text(*v);
    if (!text && filter.kind == FilterKind::kToText) text = json::canonical(*v);
    if (!text) {
      return fail(ErrorKind::kInvalid, "template.bad-value",
                  "the value is a list or an object where plain text is needed");
    }
    TRY_ASSIGN(v, apply_to_text(filter, std::move(*text)));
  }
  return v;
}

}  // namespace twinstep::providers
