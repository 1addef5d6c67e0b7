#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace twinstep::json {

/// What following brackets and strings needs to know of 64 bytes of JSON text: one bit for each byte.
struct ByteMasks {
  static constexpr size_t kBlock = 64;
  uint64_t quotes = 0, backslashes = 0, brackets = 0, newlines = 0;

  /// Reads kBlock bytes.
  explicit ByteMasks(const char* bytes) {
#ifdef __SSE2__
    for (size_t i = 0; i < kBlock; i += 16) {
      const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
      const auto bits = [i](__m128i equal) {
        return static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(equal))) << i;
      };
      // '[' and '{', ']' and '}' differ in one bit.
      const __m128i folded = _mm_or_si128(v, _mm_set1_epi8(0x20));
      quotes |= bits(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
      backslashes |= bits(_mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
      brackets |=
          bits(_mm_or_si128(_mm_cmpeq_epi8(folded, _mm_set1_epi8('{')), _mm_cmpeq_epi8(folded, _mm_set1_epi8('}'))));
      newlines |= bits(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')));
    }
#else
    for (size_t i = 0; i < kBlock; ++i) {
      const char c = bytes[i];
      const uint64_t bit = uint64_t{1} << i;
      if (c == '"') quotes |= bit;
      if (c == '\\') backslashes |= bit;
      if (c == '{' || c == '}' || c == '[' || c == ']') brackets |= bit;
      if (c == '\n') newlines |= bit;
    }
#endif
  }

  /// The bytes after an odd run of backslashes. `carry` says that the first byte is one, and then that the byte after
  /// the first `size` ones is. Backslashes are rare, so they are walked.
  uint64_t escaped(bool& carry, size_t size = kBlock) const {
    uint64_t out = carry ? 1 : 0;
    carry = false;
    for (uint64_t left = backslashes & ~out; left != 0;) {
      const int bit = std::countr_zero(left);
      left &= left - 1;
      if (static_cast<size_t>(bit) + 1 >= size) {
        carry = true;
      } else {
        out |= uint64_t{1} << (bit + 1);
        left &= ~(uint64_t{1} << (bit + 1));
      }
    }
    return out;
  }

  /// Bit i becomes the parity of the bits up to i: of quotes, the bytes inside strings with the opening quote.
  static uint64_t parity(uint64_t bits) {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^= bits << 32;
    return bits;
  }
};

}  // namespace twinstep::json
