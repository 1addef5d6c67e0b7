#pragma once

#include <string_view>

/// Small text rules of HTTP that several files of this folder share.
namespace twinstep::http {

char lower(char c);  ///< ASCII only, whatever the locale

/// Header names and query parameter names compare without case.
bool same_name(std::string_view a, std::string_view b);

/// Without the spaces and tabs around it.
std::string_view trimmed(std::string_view text);

}  // namespace twinstep::http
