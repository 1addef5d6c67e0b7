#include "twinstep/plan/exact_json.h"

#include <simdjson.h>

#include "twinstep/base/encoding.h"

namespace twinstep::plan {
namespace {

constexpr int kMostLevels = 64;

bool convert(simdjson::dom::element from, json::value& to, int level) {
  if (level > kMostLevels) return false;
  switch (from.type()) {
    case simdjson::dom::element_type::OBJECT: {
      json::object& o = to.emplace_object();
      for (const auto& [key, member] : simdjson::dom::object(from))
        if (!convert(member, o[key], level + 1)) return false;
      return true;
    }
    case simdjson::dom::element_type::ARRAY: {
      json::array& a = to.emplace_array();
      for (const simdjson::dom::element item : simdjson::dom::array(from))
        if (!convert(item, a.emplace_back(nullptr), level + 1)) return false;
      return true;
    }
    case simdjson::dom::element_type::STRING: {
      const std::string_view text(from);
      to.emplace_string().assign(text.data(), text.size());
      return true;
    }
    case simdjson::dom::element_type::INT64:
      to = int64_t(from);
      return true;
    case simdjson::dom::element_type::UINT64:
      to = uint64_t(from);
      return true;
    case simdjson::dom::element_type::DOUBLE:
      to = double(from);
      return true;
    case simdjson::dom::element_type::BOOL:
      to = bool(from);
      return true;
    case simdjson::dom::element_type::NULL_VALUE:
      to = nullptr;
      return true;
    default:
      return false;
  }
}

/// Whether a number cannot be read. Younger versions of simdjson say of some whole numbers beyond 64 bits that they are
/// big; older ones do not know that word.
template <class Code>
bool is_about_a_number(Code error) {
  if constexpr (requires { Code::BIGINT_ERROR; }) {
    if (error == Code::BIGINT_ERROR) return true;
  }
  return error == Code::NUMBER_ERROR;
}

}  // namespace

Result<json::object> parse_object_exactly(std::string_view text, std::string_view what) {
  thread_local simdjson::dom::parser parser;
  const auto bad = [&](std::string_view why) {
    return fail(ErrorKind::kCorrupt, "json.syntax", fmt::format("{} {}", what, why));
  };
  simdjson::dom::element root;
  const auto error = parser.parse(text.data(), text.size()).get(root);
  if (is_about_a_number(error)) {
    // Whole numbers beyond 64 bits: a double is all that anybody makes of them.
    TRY_ASSIGN(json::value whole, json::parse(text, what));
    if (!whole.is_object()) return bad("is not a JSON object");
    return std::move(whole.as_object());
  }
  if (error) return bad(fmt::format("is not valid JSON: {}", simdjson::error_message(error)));
  if (!root.is_object()) return bad("is not a JSON object");
  json::value whole;
  if (!convert(root, whole, 1)) return bad("is nested too deeply");
  return std::move(whole.as_object());
}

std::string as_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t good = 0;
    for (size_t size = 1; size <= 4 && i + size <= text.size() && good == 0; ++size)
      if (is_utf8(text.substr(i, size))) good = size;
    if (good == 0) out += "\xEF\xBF\xBD";
    out += text.substr(i, good);
    i += good ? good : 1;
  }
  return out;
}

}  // namespace twinstep::plan
