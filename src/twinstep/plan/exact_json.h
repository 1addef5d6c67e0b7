#pragma once

#include <string>
#include <string_view>

#include "twinstep/json/json.h"

namespace twinstep::plan {

/// One JSON object of at most 64 levels, with numbers read exactly: json::parse() may be one unit in the last place off
/// for decimal fractions, which would make a written tag differ from the listed one for ever.
///
/// Threads  any; each keeps a parser of its own.
/// Errors   kCorrupt; the text never quotes the input. `what` names the source.
Result<json::object> parse_object_exactly(std::string_view text, std::string_view what);

/// `text` with bytes that are not UTF-8 replaced by U+FFFD, so that what is written from it is valid JSON.
std::string as_utf8(std::string_view text);

}  // namespace twinstep::plan
