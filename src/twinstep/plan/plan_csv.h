#pragma once

#include <string>
#include <string_view>

#include "twinstep/plan/change.h"

namespace twinstep::plan {

/// RFC 4180, lines end with CRLF. A field that a spreadsheet would take for a formula (it begins with = + - @, tab or
/// CR) gets a leading apostrophe.
std::string csv_header();  ///< op,deviceId,reason,tags
std::string csv_line(const Change& change);
std::string csv_field(std::string_view text);

}  // namespace twinstep::plan
