#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/json/json.h"

namespace twinstep::json {

/// Canonical JSON text: equal values have equal text, so values compare and hash as bytes.
///
/// Shape   compact; object members sorted by the bytes of their (unescaped) keys, of repeated keys the last one counts;
///         strings escape only `"`, `\` and control characters (\b \f \n \r \t, else \u00xx in lower-case hex); a
///         number that is a whole number within 64 bits is written as such (5, 5.0 and 5e0 are "5"; -0 is "0"), any
///         other as the shortest decimal text that reads back as the same double.
///
/// Threads  one thread at a time; make one per thread. Reuses its buffers: no allocation in the steady state.
class Canonicalizer {
 public:
  /// Appends the canonical text of `v`, consuming it. On an error `out` is as it was before.
  /// Errors  kCorrupt: the text is not JSON at this place, or is nested deeper than 64 levels.
  Status append(simdjson::ondemand::value v, std::string& out);

 private:
  struct Member {
    size_t key_at, key_size;    // unescaped key in keys_
    size_t text_at, text_size;  // `"key":value` in the output, counted from the object's start
  };
  simdjson::error_code write(simdjson::ondemand::value v, std::string& out, int depth);
  simdjson::error_code write_object(simdjson::ondemand::object o, std::string& out, int depth);

  std::vector<Member> members_;  // stack: one block for each open object
  std::string keys_;             // stack, as members_
  std::string sorted_;
};

/// The same text from a Boost.JSON value. (Boost reads decimal fractions with an error of up to one unit in the last
/// place: where equality of fractions matters, read both sides with simdjson.)
void append_canonical(const value& v, std::string& out);
std::string canonical(const value& v);

/// `"text"` with the fewest escapes. `text` is UTF-8.
void append_canonical_string(std::string_view text, std::string& out);
/// The canonical text of one number.
void append_canonical_number(double number, std::string& out);

}  // namespace twinstep::json
