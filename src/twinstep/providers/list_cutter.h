#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::providers {

/// Cuts a saved list, fed in pieces, into the texts of its items without parsing them: NDJSON; a JSON array at the
/// root, or several one after the other; with a pointer such as "/devices", the arrays at that place of the root
/// objects, or NDJSON when the first line is an object without such an array. Without a pointer, root objects over
/// several lines are items too. Memory is bounded by the longest item.
///
/// Errors  those of the sinks. Elements that are no objects go to `broken`; where the text cannot be followed any more,
///         or ends too early, why_incomplete() says so.
class ListCutter {
 public:
  using Sink = std::function<Status(std::string_view item, uint64_t line)>;
  using BrokenSink = std::function<Status(std::string_view text, uint64_t line, std::string_view why)>;

  explicit ListCutter(std::string_view pointer);

  Status feed(std::string_view chunk, const Sink& item, const BrokenSink& broken);
  Status finish(const Sink& item, const BrokenSink& broken);
  const std::string& why_incomplete() const { return why_incomplete_; }

 private:
  enum class Form { kUnknown, kLines, kStream };
  struct Level {
    char open = '{';
    bool list = false;     // the array whose elements are the items
    bool on_path = false;  // the pointer leads through here
    bool expects_key = true;
    bool key_matches = false;
  };
  Status begin(bool last, const Sink& item, const BrokenSink& broken);
  Form form_of(std::string_view head) const;
  Status lines(std::string_view chunk, const Sink& item, const BrokenSink& broken);
  Result<size_t> inside_item(std::string_view chunk, const Sink& item, const BrokenSink& broken);
  Status end_item(char c, const Sink& item, const BrokenSink& broken);
  Status stream(char c, const Sink& item, const BrokenSink& broken);
  Status end_of_scalar(const BrokenSink& broken);
  void give_up(std::string_view why);

  std::string pointer_;
  std::vector<std::string> path_;  // names as they stand in JSON text
  Form form_ = Form::kUnknown;
  std::string text_;  // the unfinished line, item, key or scalar
  std::vector<Level> levels_;
  size_t item_depth_ = 0;  // levels while inside an item; 0 = outside
  bool in_string_ = false, escaped_ = false, keeps_ = false;
  bool list_seen_ = false;
  uint64_t line_ = 1, item_line_ = 1;
  std::string why_incomplete_;
};

}  // namespace twinstep::providers
