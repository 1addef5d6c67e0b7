#pragma once

#include <string>
#include <string_view>

namespace twinstep {

/// A text that others wrote (a path, a parameter's name) without keys in it, for logs and answers: what follows
/// `code=`, and everything that looks like a key of ours ("tsk_...", "tsi_..."), becomes `***`. Where such a thing
/// hides behind percent-encoding, however deep, everything from the first '%' on does.
std::string without_keys(std::string_view text);

/// A text that others wrote as a value of a log line, between quotes: without keys, without anything that could end the
/// value or the line, at most 300 characters.
std::string for_log(std::string_view text);

}  // namespace twinstep
