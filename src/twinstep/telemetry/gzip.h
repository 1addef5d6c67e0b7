#pragma once

#include <string>
#include <string_view>

#include "twinstep/base/result.h"

namespace twinstep::telemetry {

/// RFC 1952, for Content-Encoding: gzip.
std::string gzip(std::string_view text);

/// Checks length and CRC too. Errors  kCorrupt "telemetry.gzip": not gzip, cut off, damaged, or longer than `most`.
Result<std::string> gunzip(std::string_view bytes, size_t most);

}  // namespace twinstep::telemetry
