#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "twinstep/base/result.h"

namespace twinstep {

/// "30s", "500ms", "5m", "2h", "6d". A number without unit is refused. Errors  kInvalid with the accepted forms.
Result<Millis> parse_duration(std::string_view text);
/// "64MiB", "10KiB", "1GiB", "512B", "8MB" (decimal). Errors  kInvalid.
Result<uint64_t> parse_size(std::string_view text);

std::string format_duration(Millis span);  ///< for people: "2 h 5 min", "3.2 s", "0.4 s"
std::string format_count(uint64_t count);  ///< for people: "1,234,567"
std::string format_bytes(uint64_t bytes);  ///< for people: "712.5 MiB"

/// The candidate nearest to `word` (edit distance without case, at most a third of its length), else empty.
/// For "unknown key 'tokenUrl'; did you mean 'tokenUri'?"
template <class Range>
std::string nearest(std::string_view word, const Range& candidates);
size_t edit_distance(std::string_view a, std::string_view b);

template <class Range>
std::string nearest(std::string_view word, const Range& candidates) {
  std::string best;
  size_t best_distance = word.size() / 3 + 1;
  for (const auto& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance <= best_distance && (best.empty() || distance < best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace twinstep
