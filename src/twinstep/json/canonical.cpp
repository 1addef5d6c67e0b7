#include "twinstep/json/canonical.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "twinstep/json/members.h"

namespace twinstep::json {

namespace {

constexpr int kMaxDepth = 64;

template <class Integer>
void append_integer(Integer number, std::string& out) {
  char buffer[24];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number);
  out.append(buffer, end.ptr);
}

std::string_view trimmed(std::string_view token) {
  while (!token.empty() &&
         (token.back() == ' ' || token.back() == '\t' || token.back() == '\n' || token.back() == '\r')) {
    token.remove_suffix(1);
  }
  return token;
}

/// True for an integer that is already canonical and surely within 64 bits.
bool is_short_integer(std::string_view token) {
  if (!token.empty() && token.front() == '-') {
    token.remove_prefix(1);
    if (token == "0") return false;
  }
  if (token.empty() || token.size() > 18 || (token.front() == '0' && token.size() > 1)) return false;
  return std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Digits only, but more than 64 bits: the JSON grammar allows it and simdjson's number readers do not.
bool is_long_integer(std::string_view token) {
  if (!token.empty() && token.front() == '-') token.remove_prefix(1);
  return token.size() > 18 && token.front() != '0' &&
         std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

void append_canonical_string(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  size_t from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, from, i - from);
    from = i + 1;
    out.push_back('\\');
    switch (c) {
      case '"':
        out.push_back('"');
        break;
      case '\\':
        out.push_back('\\');
        break;
      case '\b':
        out.push_back('b');
        break;
      case '\f':
        out.push_back('f');
        break;
      case '\n':
        out.push_back('n');
        break;
      case '\r':
        out.push_back('r');
        break;
      case '\t':
        out.push_back('t');
        break;
      default:
        out.append("u00");
        out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
        out.push_back(kHex[static_cast<unsigned char>(c) & 15]);
    }
  }
  out.append(text, from, text.size() - from);
  out.push_back('"');
}

void append_canonical_number(double number, std::string& out) {
  // Both limits are powers of two and so exact; what lies between fits one of the 64-bit types.
  if (number == std::trunc(number) && number >= -9223372036854775808.0 && number < 18446744073709551616.0) {
    if (number < 0) {
      append_integer(static_cast<int64_t>(number), out);
    } else {
      append_integer(static_cast<uint64_t>(number), out);
    }
    return;
  }
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number);
  out.append(buffer, end.ptr);
}

Status Canonicalizer::append(simdjson::ondemand::value v, std::string& out) {
  const size_t before = out.size();
  members_.clear();
  keys_.clear();
  if (const auto error = write(v, out, 0)) {
    out.resize(before);
    return fail(ErrorKind::kCorrupt, "json.syntax", std::string("not valid JSON: ") + simdjson::error_message(error));
  }
  return {};
}

simdjson::error_code Canonicalizer::write(simdjson::ondemand::value v, std::string& out, int depth) {
  simdjson::ondemand::json_type type;
  if (const auto error = v.type().get(type)) return error;
  switch (type) {
    case simdjson::ondemand::json_type::object: {
      if (depth >= kMaxDepth) return simdjson::DEPTH_ERROR;
      simdjson::ondemand::object o;
      if (const auto error = v.get_object().get(o)) return error;
      return write_object(o, out, depth + 1);
    }
    case simdjson::ondemand::json_type::array: {
      if (depth >= kMaxDepth) return simdjson::DEPTH_ERROR;
      simdjson::ondemand::array a;
      if (const auto error = v.get_array().get(a)) return error;
      out.push_back('[');
      bool first = true;
      for (auto element : a) {
        simdjson::ondemand::value child;
        if (const auto error = std::move(element).get(child)) return error;
        if (!first) out.push_back(',');
        first = false;
        if (const auto error = write(child, out, depth + 1)) return error;
      }
      out.push_back(']');
      return simdjson::SUCCESS;
    }
    case simdjson::ondemand::json_type::string: {
      const std::string_view token = trimmed(v.raw_json_token());
      // Without a backslash the text is canonical already: simdjson refuses raw control characters.
      if (token.size() >= 2 && token.back() == '"' && token.find('\\') == std::string_view::npos) {
        out.append(token);
        return simdjson::SUCCESS;
      }
      std::string_view text;
      if (const auto error = v.get_string().get(text)) return error;
      append_canonical_string(text, out);
      return simdjson::SUCCESS;
    }
    case simdjson::ondemand::json_type::number: {
      const std::string_view token = trimmed(v.raw_json_token());
      if (is_short_integer(token)) {
        out.append(token);
        return simdjson::SUCCESS;
      }
      simdjson::ondemand::number number;
      if (const auto error = v.get_number().get(number)) {
        if (!is_long_integer(token)) return error;
        const double wide = std::strtod(std::string(token).c_str(), nullptr);
        if (!std::isfinite(wide)) return error;
        append_canonical_number(wide, out);
        return simdjson::SUCCESS;
      }
      if (number.is_int64()) {
        append_integer(number.get_int64(), out);
      } else if (number.is_uint64()) {
        append_integer(number.get_uint64(), out);
      } else {
        append_canonical_number(number.get_double(), out);
      }
      return simdjson::SUCCESS;
    }
    case simdjson::ondemand::json_type::boolean: {
      bool flag = false;
      if (const auto error = v.get_bool().get(flag)) return error;
      out.append(flag ? "true" : "false");
      return simdjson::SUCCESS;
    }
    case simdjson::ondemand::json_type::null: {
      if (trimmed(v.raw_json_token()) != "null") return simdjson::N_ATOM_ERROR;
      out.append("null");
      return simdjson::SUCCESS;
    }
  }
  return simdjson::TAPE_ERROR;
}

simdjson::error_code Canonicalizer::write_object(simdjson::ondemand::object o, std::string& out, int depth) {
  const size_t first_member = members_.size();
  const size_t keys_before = keys_.size();
  out.push_back('{');
  const size_t start = out.size();
  bool in_order = true;
  for (auto field : o) {
    simdjson::ondemand::field member;
    if (const auto error = std::move(field).get(member)) return error;
    std::string_view key;
    if (const auto error = unescaped_key(member).get(key)) return error;
    const size_t key_at = keys_.size();
    keys_.append(key);
    if (members_.size() > first_member) {
      const Member& last = members_.back();
      if (std::string_view(keys_).substr(last.key_at, last.key_size) >= key) in_order = false;
      out.push_back(',');
    }
    const size_t text_at = out.size() - start;
    append_canonical_string(key, out);
    out.push_back(':');
    const size_t key_size = key.size();
    if (const auto error = write(member.value(), out, depth)) return error;
    members_.push_back({key_at, key_size, text_at, out.size() - start - text_at});
  }
  if (!in_order) {
    const auto key_of = [this](const Member& m) { return std::string_view(keys_).substr(m.key_at, m.key_size); };
    const auto begin = members_.begin() + static_cast<std::ptrdiff_t>(first_member);
    std::sort(begin, members_.end(), [&](const Member& a, const Member& b) {
      const int order = key_of(a).compare(key_of(b));
      return order != 0 ? order < 0 : a.text_at < b.text_at;
    });
    sorted_.clear();
    for (auto it = begin; it != members_.end(); ++it) {
      if (std::next(it) != members_.end() && key_of(*it) == key_of(*std::next(it))) continue;
      if (!sorted_.empty()) sorted_.push_back(',');
      sorted_.append(out, start + it->text_at, it->text_size);
    }
    out.resize(start);
    out.append(sorted_);
  }
  out.push_back('}');
  members_.resize(first_member);
  keys_.resize(keys_before);
  return simdjson::SUCCESS;
}

void append_canonical(const value& v, std::string& out) {
  switch (v.kind()) {
    case boost::json::kind::null:
      out.append("null");
      return;
    case boost::json::kind::bool_:
      out.append(v.get_bool() ? "true" : "false");
      return;
    case boost::json::kind::int64:
      append_integer(v.get_int64(), out);
      return;
    case boost::json::kind::uint64:
      append_integer(v.get_uint64(), out);
      return;
    case boost::json::kind::double_:
      append_canonical_number(v.get_double(), out);
      return;
    case boost::json::kind::string:
      append_canonical_string({v.get_string().data(), v.get_string().size()}, out);
      return;
    case boost::json::kind::array: {
      out.push_back('[');
      bool first = true;
      for (const value& element : v.get_array()) {
        if (!first) out.push_back(',');
        first = false;
        append_canonical(element, out);
      }
      out.push_back(']');
      return;
    }
    case boost::json::kind::object: {
      std::vector<const object::value_type*> members;
      members.reserve(v.get_object().size());
      for (const auto& member : v.get_object()) members.push_back(&member);
      std::sort(members.begin(), members.end(), [](const auto* a, const auto* b) { return a->key() < b->key(); });
      out.push_back('{');
      bool first = true;
      for (const auto* member : members) {
        if (!first) out.push_back(',');
        first = false;
        append_canonical_string({member->key().data(), member->key().size()}, out);
        out.push_back(':');
        append_canonical(member->value(), out);
      }
      out.push_back('}');
      return;
    }
  }
}

std::string canonical(const value& v) {
  std::string out;
  append_canonical(v, out);
  return out;
}

}  // namespace twinstep::json
