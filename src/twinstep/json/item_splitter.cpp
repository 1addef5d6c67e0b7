#include "twinstep/json/item_splitter.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "twinstep/json/byte_masks.h"

namespace twinstep::json {

namespace {

constexpr size_t kShownBytes = 4096;    // of a text that is too long: enough to find its id
constexpr size_t kMaxGap = 256 * 1024;  // text between items that is looked at in one piece
constexpr size_t kMaxDepth = 1024;
constexpr std::string_view kBom = "\xEF\xBB\xBF";

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

/// The member name that ends the text before a value: `"a": 1, "devices" : ` gives `devices`. Empty when there is none.
std::string_view last_key(std::string_view gap) {
  gap = trimmed(gap);
  if (gap.empty() || gap.back() != ':') return {};
  gap.remove_suffix(1);
  gap = trimmed(gap);
  if (gap.size() < 2 || gap.back() != '"') return {};
  gap.remove_suffix(1);
  for (size_t begin = gap.size(); begin-- > 0;) {
    if (gap[begin] != '"') continue;
    size_t backslashes = 0;
    while (backslashes < begin && gap[begin - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return gap.substr(begin + 1);
  }
  return {};
}

/// What comes of following the brackets of a text from its start.
struct Head {
  bool closed = false;   // the first object ended
  bool more = false;     // and another one begins on its line
  bool newline = false;  // the first line ended before the object did
  char next = 0;         // first visible byte after that newline
};

Head look_at(std::string_view text) {
  Head head;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      head.newline = true;
      const size_t next = text.find_first_not_of(" \t\r\n", i);
      if (next != std::string_view::npos) head.next = text[next];
      return head;
    }
    if (head.closed) {
      if (is_space(c)) continue;
      head.more = c == '{';
      return head;
    }
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      head.closed = --depth <= 0;
    }
  }
  return head;
}

}  // namespace

ItemSplitter::ItemSplitter(Options options) : options_(std::move(options)) {
  const std::string& text = options_.array_path;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '/') {
      path_.emplace_back();
    } else {
      if (path_.empty()) path_.emplace_back();
      const bool escape = text[i] == '~' && i + 1 < text.size();
      path_.back().push_back(!escape ? text[i] : text[++i] == '0' ? '~' : '/');
    }
  }
}

void ItemSplitter::note(uint64_t line, std::string_view why) {
  if (why_incomplete_.empty()) why_incomplete_ = fmt::format("line {}: {}", line, why);
}

void ItemSplitter::give_up(uint64_t line, std::string_view why) {
  note(line, why);
  stopped_ = true;
}

Status ItemSplitter::report(std::string_view text, uint64_t line, std::string_view why, const BrokenSink& broken) {
  return broken(text.substr(0, kShownBytes), {line, ++index_}, why);
}

/// Lines, unless the root is an array, a path is wanted, or the first object is clearly not one line of its own.
bool ItemSplitter::decide(bool at_end) {
  std::string_view head = carry_;
  if (head.size() < kBom.size() && kBom.starts_with(head) && !at_end) return false;
  if (head.starts_with(kBom)) head.remove_prefix(kBom.size());
  const size_t first = head.find_first_not_of(" \t\r\n");
  if (!path_.empty() || (first != std::string_view::npos && head[first] == '[')) {
    form_ = Form::kStream;
  } else if (first == std::string_view::npos) {
    if (!at_end) return false;
    form_ = Form::kLines;
  } else if (head[first] != '{') {
    form_ = Form::kLines;
  } else {
    const Head seen = look_at(head.substr(first));
    const bool decided = at_end || seen.more || (seen.newline && (seen.closed || seen.next != 0)) ||
                         head.size() > options_.max_item_bytes;
    if (!decided) return false;
    const bool spread = seen.newline && !seen.closed && seen.next != 0 && seen.next != '{';
    form_ = seen.more || spread ? Form::kStream : Form::kLines;
  }
  return true;
}

Status ItemSplitter::feed(std::string_view chunk, const ItemSink& item, const BrokenSink& broken) {
  if (form_ == Form::kUnknown) {
    carry_.append(chunk);
    if (!decide(false)) return {};
    std::string all;
    all.swap(carry_);
    std::string_view rest = all;
    if (rest.starts_with(kBom)) rest.remove_prefix(kBom.size());
    return form_ == Form::kLines ? lines(rest, item, broken) : stream(rest, item, broken);
  }
  return form_ == Form::kLines ? lines(chunk, item, broken) : stream(chunk, item, broken);
}

Status ItemSplitter::finish(const ItemSink& item, const BrokenSink& broken) {
  if (form_ == Form::kUnknown) {
    decide(true);
    std::string all;
    all.swap(carry_);
    std::string_view rest = all;
    if (rest.starts_with(kBom)) rest.remove_prefix(kBom.size());
    TRY(form_ == Form::kLines ? lines(rest, item, broken) : stream(rest, item, broken));
  }
  if (form_ == Form::kLines) {
    const std::string last = std::move(carry_);
    carry_.clear();
    return give_line(last, item, broken);
  }
  if (stopped_) return {};
  if (!inner_.empty()) {
    note(line_, collects_ ? "the text ends inside an item" : "the text ends inside an object");
    if (collects_) return report(carry_, item_line_, "the text ends inside this item", broken);
  } else if (!levels_.empty()) {
    note(line_, levels_.back().list ? "the text ends before the list is closed" : "the text ends inside an object");
    const std::string_view rest = trimmed(carry_);
    if (levels_.back().list && !rest.empty() && rest != ",") return list_gap(rest, true, line_, broken);
  } else {
    const std::string_view rest = trimmed(carry_);
    if (!rest.empty()) TRY(report(rest, line_, "text outside of a list", broken));
    if (!path_.empty() && !any_list_) note(line_, fmt::format("there is no list at {}", options_.array_path));
  }
  return {};
}

Status ItemSplitter::lines(std::string_view chunk, const ItemSink& item, const BrokenSink& broken) {
  const char* at = chunk.data();
  const char* const end = at + chunk.size();
  while (at != end) {
    const auto* newline = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    const std::string_view piece(at, static_cast<size_t>((newline ? newline : end) - at));
    if (!newline) {
      keep(piece);
      return {};
    }
    at = newline + 1;
    Status done;
    if (carry_.empty()) {
      done = give_line(piece, item, broken);
    } else {
      keep(piece);
      done = give_line(carry_, item, broken);
      carry_.clear();
    }
    ++line_;
    if (!done) return done;
  }
  return {};
}

Status ItemSplitter::give_line(std::string_view line, const ItemSink& item, const BrokenSink& broken) {
  line = trimmed(line);
  const bool cut = too_long_ || line.size() > options_.max_item_bytes;
  too_long_ = false;
  if (cut) {
    return report(line, line_, fmt::format("the line is longer than {} bytes", options_.max_item_bytes), broken);
  }
  if (line.empty()) return {};
  return item(line, {line_, ++index_});
}

/// Adds a piece of an unfinished line or item, of which no more is kept than may be given.
void ItemSplitter::keep(std::string_view text) {
  if (too_long_) return;
  carry_.append(text);
  // Room for blanks around a line of the greatest length.
  if (carry_.size() > options_.max_item_bytes + ByteMasks::kBlock) {
    too_long_ = true;
    carry_.resize(std::min(carry_.size(), kShownBytes));
  }
}

/// The item or gap from its start up to `end`, in one piece.
std::string_view ItemSplitter::joined(const char* end) {
  const std::string_view here(mark_, static_cast<size_t>(end - mark_));
  if (carry_.empty()) return here;
  if (inner_.empty()) {
    carry_.append(here);
  } else {
    keep(here);
  }
  return carry_;
}

Status ItemSplitter::stream(std::string_view chunk, const ItemSink& item, const BrokenSink& broken) {
  if (stopped_ || chunk.empty()) return {};
  mark_ = chunk.data();
  char padded[ByteMasks::kBlock];
  for (size_t offset = 0; offset < chunk.size(); offset += ByteMasks::kBlock) {
    const char* const block = chunk.data() + offset;
    const size_t size = std::min(ByteMasks::kBlock, chunk.size() - offset);
    const char* bytes = block;
    if (size < ByteMasks::kBlock) {
      std::memset(padded, ' ', ByteMasks::kBlock);
      std::memcpy(padded, block, size);
      bytes = padded;
    }
    const ByteMasks masks(bytes);

    const uint64_t escaped = masks.escaped(escaped_, size);
    uint64_t strings = ByteMasks::parity(masks.quotes & ~escaped);
    if (in_string_) strings = ~strings;
    in_string_ = (strings >> 63) != 0;

    const uint64_t bad = masks.newlines & strings;
    uint64_t brackets = masks.brackets & ~strings;
    if (bad != 0) brackets &= (bad & (~bad + 1)) - 1;
    while (brackets != 0) {
      const int bit = std::countr_zero(brackets);
      brackets &= brackets - 1;
      const uint64_t before = (uint64_t{1} << bit) - 1;
      // The number of the line is needed where items begin only, but popcount costs less than the branch.
      const uint64_t line = line_ + static_cast<uint64_t>(std::popcount(masks.newlines & before));
      TRY(bracket(block[bit], block + bit, line, item, broken));
      if (stopped_) return {};
    }
    if (bad != 0) {
      const uint64_t line = line_ + static_cast<uint64_t>(std::popcount(masks.newlines & ((bad & (~bad + 1)) - 1)));
      give_up(line, "a string is not closed on its line, so the rest cannot be read");
      if (collects_ && !inner_.empty()) {
        const std::string_view text = joined(block + std::countr_zero(bad));
        return report(text, item_line_, "a string is not closed on its line", broken);
      }
      return {};
    }
    line_ += static_cast<uint64_t>(std::popcount(masks.newlines));
  }

  // What is left belongs to an item or gap that goes on in the next chunk.
  const std::string_view rest(mark_, static_cast<size_t>(chunk.data() + chunk.size() - mark_));
  if (!inner_.empty()) {
    if (collects_) keep(rest);
    return {};
  }
  carry_.append(rest);
  if (carry_.size() <= kMaxGap) return {};
  if (levels_.empty() || levels_.back().list) {
    const std::string_view visible = trimmed(carry_);
    if (!visible.empty()) {
      give_up(line_, "there is a long text that is no list of objects");
      return report(visible, line_, "not a JSON object", broken);
    }
    carry_.clear();
  } else {
    carry_.erase(0, carry_.size() - kMaxGap / 2);  // of members that are passed over the last name matters only
  }
  return {};
}

Status ItemSplitter::bracket(char c, const char* at, uint64_t line, const ItemSink& item, const BrokenSink& broken) {
  const bool opens = c == '{' || c == '[';
  if (!inner_.empty()) {
    if (opens) {
      if (inner_.size() >= kMaxDepth) {
        give_up(line, fmt::format("more than {} levels of brackets", kMaxDepth));
        return {};
      }
      inner_.push_back(c);
      return {};
    }
    if ((c == '}') != (inner_.back() == '{')) {
      give_up(line, "a bracket does not fit, so the rest cannot be read");
      if (!collects_) return {};
      return report(joined(at + 1), item_line_, "a bracket does not fit", broken);
    }
    if (inner_.size() > 1) {
      inner_.pop_back();
      return {};
    }
    Status done;
    if (collects_) {
      const std::string_view text = joined(at + 1);
      if (too_long_ || text.size() > options_.max_item_bytes) {
        done =
            report(text, item_line_, fmt::format("the item is longer than {} bytes", options_.max_item_bytes), broken);
      } else if (text.front() != '{') {
        done = report(text, item_line_, "not a JSON object", broken);
      } else {
        done = item(text, {item_line_, ++index_});
      }
    }
    inner_.clear();
    carry_.clear();
    too_long_ = false;
    mark_ = at + 1;
    return done;
  }
  const std::string_view gap = joined(at);
  const Status done = opens ? open(c, gap, line, broken) : close(c, gap, line, broken);
  carry_.clear();
  mark_ = inner_.empty() ? at + 1 : at;
  return done;
}

Status ItemSplitter::open(char c, std::string_view gap, uint64_t line, const BrokenSink& broken) {
  const auto begin_inner = [&](bool collects) {
    inner_.push_back(c);
    collects_ = collects;
    item_line_ = line;
  };
  const auto begin_list = [&] {
    levels_.push_back({c, true, 0});
    after_item_ = false;
    list_seen_ = any_list_ = true;
  };
  if (levels_.empty()) {
    if (const std::string_view text = trimmed(gap); !text.empty()) {
      TRY(report(text, line, "text outside of a list", broken));
    }
    if (path_.empty()) {
      if (c == '[') {
        begin_list();
      } else {
        begin_inner(true);
      }
    } else if (c == '{') {
      levels_.push_back({c, false, 0});
      list_seen_ = false;
    } else {
      note(line, fmt::format("there is an array where an object with {} should be", options_.array_path));
      begin_inner(false);
    }
    return {};
  }
  const Level top = levels_.back();
  if (top.list) {
    TRY(list_gap(gap, false, line, broken));
    begin_inner(true);
    after_item_ = true;
    return {};
  }
  if (last_key(gap) != path_[top.matched]) {
    begin_inner(false);
  } else if (top.matched + 1 < path_.size()) {
    if (c == '{') {
      levels_.push_back({c, false, top.matched + 1});
    } else {
      begin_inner(false);
    }
  } else if (c == '[') {
    begin_list();
  } else {
    note(line, fmt::format("{} is an object, not an array", options_.array_path));
    begin_inner(false);
  }
  return {};
}

Status ItemSplitter::close(char c, std::string_view gap, uint64_t line, const BrokenSink& broken) {
  if (levels_.empty() || (c == '}') != (levels_.back().open == '{')) {
    give_up(line, "a bracket does not fit, so the rest cannot be read");
    return report(gap, line, "a bracket does not fit", broken);
  }
  if (levels_.back().list) TRY(list_gap(gap, true, line, broken));
  levels_.pop_back();
  if (levels_.empty() && !list_seen_) note(line, fmt::format("there is no list at {}", options_.array_path));
  return {};
}

/// The text between two items of a list: one comma, or elements that are no objects.
Status ItemSplitter::list_gap(std::string_view gap, bool closes, uint64_t line, const BrokenSink& broken) {
  bool needs_comma = after_item_;
  bool element = false;  // one was seen since the last comma
  bool comma = false;
  size_t from = 0;
  bool in_string = false;
  for (size_t i = 0; i <= gap.size(); ++i) {
    const bool end = i == gap.size();
    if (!end && in_string) {
      if (gap[i] == '\\') {
        ++i;
      } else if (gap[i] == '"') {
        in_string = false;
      }
      continue;
    }
    if (!end && gap[i] == '"') in_string = true;
    if (!end && gap[i] != ',') continue;
    const std::string_view text = trimmed(gap.substr(std::min(from, gap.size()), i - std::min(from, i)));
    from = i + 1;
    element = !text.empty();
    if (element) {
      TRY(report(text, line, needs_comma ? "text between two items" : "not a JSON object", broken));
    } else if (!end && !needs_comma) {
      TRY(report(gap, line, "a comma without an item", broken));
    }
    if (!end) {
      needs_comma = false;
      comma = true;
    }
  }
  if (!closes && !element && needs_comma) {
    TRY(report({}, line, "a comma is missing before this item", broken));
  }
  if (!closes && element) TRY(report({}, line, "a comma is missing before this item", broken));
  if (closes && comma && !element) TRY(report({}, line, "a comma before the end of the list", broken));
  if (closes) after_item_ = false;
  return {};
}

}  // namespace twinstep::json
