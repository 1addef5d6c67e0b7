#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

/// What the fuzz targets share.
namespace twinstep::fuzz {

/// Ends the process as a finding when a property does not hold.
inline void check(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "property does not hold: %s\n", property);
  std::abort();
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return size == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char*>(data), size);
}

/// Cuts the first line off `text`.
inline std::string_view take_line(std::string_view& text) {
  const size_t feed = text.find('\n');
  const std::string_view line = text.substr(0, feed);
  text = feed == std::string_view::npos ? std::string_view() : text.substr(feed + 1);
  return line;
}

/// Looks at every byte, so that a view of memory that is gone is found.
inline void touch(std::string_view text) {
  unsigned sum = 0;
  for (const char c : text) sum += static_cast<unsigned char>(c);
  [[maybe_unused]] volatile unsigned seen = sum;
}

/// True when the text could end a header or smuggle in another one.
inline bool has_control(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return true;
  return false;
}

}  // namespace twinstep::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
