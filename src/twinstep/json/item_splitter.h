#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::json {

/// Where an item began: line of the text and number of the item, both from 1.
struct ItemAt {
  uint64_t line = 0;
  uint64_t index = 0;
};

/// Cuts a listing into its items without parsing them.
///
/// Takes  NDJSON (LF or CRLF, BOM, blank lines); a JSON array at the root; several arrays or objects one after the
/// other;
///        with a key path such as "/devices", the arrays at that place of root objects. The first bytes decide.
/// Gives  the text of each item, good until the sink returns. NDJSON lines are given as they are, whatever they hold.
/// Speed  bytes are looked at 64 at a time; an item inside one chunk is not copied; nothing is allocated per item.
/// Errors only those of the sinks. Text that is no item goes to the broken sink with its place and why; the splitter
///        then goes on where it safely can. When it cannot, or when an array never closes, complete() is false.
class ItemSplitter {
 public:
  using ItemSink = std::function<Status(std::string_view item, const ItemAt& at)>;
  using BrokenSink = std::function<Status(std::string_view text, const ItemAt& at, std::string_view why)>;
  struct Options {
    std::string array_path;               ///< "" or "/a/b"
    size_t max_item_bytes = 1024 * 1024;  ///< longer items are broken
  };

  ItemSplitter() : ItemSplitter(Options{}) {}
  explicit ItemSplitter(Options options);

  Status feed(std::string_view chunk, const ItemSink& item, const BrokenSink& broken);
  /// The text is over. Call once.
  Status finish(const ItemSink& item, const BrokenSink& broken);

  bool complete() const { return why_incomplete_.empty(); }
  const std::string& why_incomplete() const { return why_incomplete_; }
  uint64_t items() const { return index_; }

 private:
  enum class Form { kUnknown, kLines, kStream };
  /// One open container of the text outside of items.
  struct Level {
    char open = '{';
    bool list = false;   // its elements are the items
    size_t matched = 0;  // names of the path that lead here (objects only)
  };

  bool decide(bool at_end);
  Status lines(std::string_view chunk, const ItemSink& item, const BrokenSink& broken);
  Status give_line(std::string_view line, const ItemSink& item, const BrokenSink& broken);
  Status stream(std::string_view chunk, const ItemSink& item, const BrokenSink& broken);
  Status bracket(char c, const char* at, uint64_t line, const ItemSink& item, const BrokenSink& broken);
  Status open(char c, std::string_view gap, uint64_t line, const BrokenSink& broken);
  Status close(char c, std::string_view gap, uint64_t line, const BrokenSink& broken);
  Status list_gap(std::string_view gap, bool closes, uint64_t line, const BrokenSink& broken);
  Status report(std::string_view text, uint64_t line, std::string_view why, const BrokenSink& broken);
  void keep(std::string_view text);
  std::string_view joined(const char* end);
  void note(uint64_t line, std::string_view why);
  void give_up(uint64_t line, std::string_view why);

  Options options_;
  std::vector<std::string> path_;
  Form form_ = Form::kUnknown;
  std::string why_incomplete_;
  std::string carry_;      // undecided head, or what earlier chunks held of the line, item or gap
  uint64_t line_ = 1;      // of the next byte (kLines: of the next line)
  uint64_t index_ = 0;     // items and broken ones so far
  bool too_long_ = false;  // the line or item in carry_ is cut

  // kStream only.
  std::vector<Level> levels_;
  std::vector<char> inner_;     // open brackets of the item or of a value that is passed over
  const char* mark_ = nullptr;  // where the item or gap goes on in this chunk
  uint64_t item_line_ = 0;
  bool collects_ = false;    // inner_ is an item
  bool after_item_ = false;  // in a list: a comma or the end must follow
  bool list_seen_ = false;   // in this root object
  bool any_list_ = false;
  bool stopped_ = false;
  bool in_string_ = false;
  bool escaped_ = false;  // the next byte follows a backslash
};

}  // namespace twinstep::json
