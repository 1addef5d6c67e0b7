#include "twinstep/providers/list_cutter.h"

#include <bit>

#include "twinstep/json/byte_masks.h"
#include "twinstep/json/canonical.h"
#include "twinstep/json/json.h"

namespace twinstep::providers {

namespace {

constexpr size_t kLongestItem = 1 << 20;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

}  // namespace

ListCutter::ListCutter(std::string_view pointer) : pointer_(pointer) {
  for (size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] == '/') {
      path_.emplace_back();
    } else if (pointer[i] == '~' && i + 1 < pointer.size()) {
      path_.back().push_back(pointer[++i] == '0' ? '~' : '/');
    } else {
      path_.back().push_back(pointer[i]);
    }
  }
}

void ListCutter::give_up(std::string_view why) {
  if (why_incomplete_.empty()) why_incomplete_ = fmt::format("line {}: {}", line_, why);
}

/// Decides on the form when the first line is there.
Status ListCutter::begin(bool last, const Sink& item, const BrokenSink& broken) {
  std::string_view head = text_;
  if (head.starts_with("\xEF\xBB\xBF")) head.remove_prefix(3);
  const size_t first = head.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  const bool has_line = head.find('\n', first) != std::string_view::npos || head.size() > kLongestItem;
  if (head[first] == '{' && !has_line && !last) return {};
  form_ = form_of(head.substr(first));
  const std::string all(head);
  text_.clear();
  return feed(all, item, broken);
}

ListCutter::Form ListCutter::form_of(std::string_view head) const {
  if (head.front() != '{') return Form::kStream;
  const std::string_view line = trimmed(head.substr(0, head.find('\n')));
  if (!line.ends_with('}')) return Form::kStream;
  if (path_.empty()) return Form::kLines;
  const auto first = json::parse(line, "line");
  if (!first) return Form::kStream;
  const json::value* list = json::at(*first, pointer_);
  return list && list->is_array() ? Form::kStream : Form::kLines;
}

Status ListCutter::feed(std::string_view chunk, const Sink& item, const BrokenSink& broken) {
  if (form_ == Form::kUnknown) {
    text_.append(chunk);
    return begin(false, item, broken);
  }
  if (form_ == Form::kLines) return lines(chunk, item, broken);
  while (!chunk.empty() && why_incomplete_.empty()) {
    if (item_depth_ > 0 && chunk.size() >= json::ByteMasks::kBlock) {
      TRY_ASSIGN(const size_t passed, inside_item(chunk, item, broken));
      chunk.remove_prefix(passed);
      if (passed > 0) continue;
    }
    const char c = chunk.front();
    chunk.remove_prefix(1);
    if (c == '\n') ++line_;
    TRY(stream(c, item, broken));
  }
  return {};
}

/// Passes over what stream() would do byte by byte inside of an item, 64 bytes at a time, to the item's end at most,
/// and says how many bytes that were. Leaves whatever is out of the ordinary to stream().
Result<size_t> ListCutter::inside_item(std::string_view chunk, const Sink& item, const BrokenSink& broken) {
  constexpr size_t kBlock = json::ByteMasks::kBlock;
  size_t at = 0;
  for (; at + kBlock <= chunk.size() && text_.size() + at + kBlock <= kLongestItem; at += kBlock) {
    const json::ByteMasks masks(chunk.data() + at);
    bool escaped_next = escaped_;
    uint64_t strings = json::ByteMasks::parity(masks.quotes & ~masks.escaped(escaped_next));
    if (in_string_) strings = ~strings;
    if ((masks.backslashes & ~strings) != 0) break;
    for (uint64_t brackets = masks.brackets & ~strings; brackets != 0; brackets &= brackets - 1) {
      const auto bit = static_cast<size_t>(std::countr_zero(brackets));
      const char c = chunk[at + bit];
      if (c == '{' || c == '[') {
        levels_.emplace_back().open = c;
        continue;
      }
      const bool fits = (levels_.back().open == '{') == (c == '}');
      if (fits && levels_.size() > item_depth_) {
        levels_.pop_back();
        continue;
      }
      line_ += static_cast<uint64_t>(std::popcount(masks.newlines & ((uint64_t{1} << bit) - 1)));
      in_string_ = escaped_ = false;
      at += bit + 1;
      text_.append(chunk.data(), at);
      if (!fits) {
        give_up("a bracket closes that was not open");
      } else {
        levels_.pop_back();
        TRY(end_item(c, item, broken));
      }
      return at;
    }
    line_ += static_cast<uint64_t>(std::popcount(masks.newlines));
    in_string_ = (strings >> (kBlock - 1)) != 0;
    escaped_ = escaped_next;
  }
  text_.append(chunk.data(), at);
  return at;
}

Status ListCutter::end_item(char c, const Sink& item, const BrokenSink& broken) {
  item_depth_ = 0;
  std::string text;
  text.swap(text_);
  const Status done = c == '}' ? item(text, item_line_)
                               : broken(std::string_view(text).substr(0, 200), item_line_, "not a JSON object");
  text.clear();
  text_.swap(text);  // keeps the buffer
  return done;
}

Status ListCutter::lines(std::string_view chunk, const Sink& item, const BrokenSink& broken) {
  while (!chunk.empty()) {
    const size_t end = chunk.find('\n');
    if (text_.size() <= kLongestItem) text_.append(chunk.substr(0, end));
    if (end == std::string_view::npos) return {};
    chunk.remove_prefix(end + 1);
    const std::string_view line = trimmed(text_);
    Status done;
    if (line.size() > kLongestItem) {
      done = broken(line.substr(0, 200), line_, "the line is longer than 1 MiB");
    } else if (!line.empty() && (line.front() != '{' || line.back() != '}')) {
      done = broken(line.substr(0, 200), line_, "not a JSON object");
    } else if (!line.empty()) {
      done = item(line, line_);
    }
    text_.clear();
    ++line_;
    if (!done) return done;
  }
  return {};
}

Status ListCutter::end_of_scalar(const BrokenSink& broken) {
  if (text_.empty()) return {};
  std::string text;
  text.swap(text_);
  return broken(std::string_view(text).substr(0, 200), line_, "not a JSON object");
}

Status ListCutter::stream(char c, const Sink& item, const BrokenSink& broken) {
  const bool in_item = item_depth_ > 0;
  const bool list_level = !in_item && !levels_.empty() && levels_.back().list;
  if (in_item) text_.push_back(c);
  if (text_.size() > kLongestItem) return give_up("an item is longer than 1 MiB"), Status{};
  if (in_string_) {
    if (!in_item && keeps_ && c != '"') text_.push_back(c);
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      if (!in_item && keeps_ && !list_level) {
        Level& level = levels_.back();
        level.key_matches = level.on_path && levels_.size() <= path_.size() && text_ == path_[levels_.size() - 1];
        text_.clear();
      }
      keeps_ = false;
    }
    return {};
  }
  switch (c) {
    case '"':
      if (levels_.empty()) return give_up("text outside of a list"), Status{};
      in_string_ = true;
      keeps_ = !in_item && (list_level || (levels_.back().open == '{' && levels_.back().expects_key));
      if (list_level) text_.push_back('"');
      return {};
    case '{':
    case '[': {
      Level level;
      level.open = c;
      const bool at_root = levels_.empty();
      const bool leads = at_root || (levels_.back().on_path && levels_.back().key_matches);
      if (!in_item && leads && !list_level) {
        const size_t depth = levels_.size();  // names of the path that are behind us
        level.list = c == '[' && (depth == path_.size() || at_root);
        level.on_path = c == '{' && depth < path_.size();
        list_seen_ = list_seen_ || level.list;
      }
      levels_.push_back(level);
      const bool root_item = at_root && c == '{' && path_.empty();
      list_seen_ = list_seen_ || root_item;
      if (list_level || root_item) {
        item_depth_ = levels_.size();
        item_line_ = line_;
        text_.assign(1, c);
      }
      return {};
    }
    case '}':
    case ']': {
      if (levels_.empty() || (levels_.back().open == '{') != (c == '}'))
        return give_up("a bracket closes that was not open"), Status{};
      if (list_level) TRY(end_of_scalar(broken));
      const bool item_ends = in_item && levels_.size() == item_depth_;
      levels_.pop_back();
      return item_ends ? end_item(c, item, broken) : Status{};
    }
    case ':':
      if (!in_item && !levels_.empty()) levels_.back().expects_key = false;
      return {};
    case ',':
      if (in_item || levels_.empty()) return {};
      levels_.back().expects_key = true;
      levels_.back().key_matches = false;
      return list_level ? end_of_scalar(broken) : Status{};
    default:
      if (is_space(c) || in_item) return {};
      if (levels_.empty()) return give_up("text outside of a list"), Status{};
      if (list_level) text_.push_back(c);
      return {};
  }
}

Status ListCutter::finish(const Sink& item, const BrokenSink& broken) {
  if (form_ == Form::kUnknown) TRY(begin(true, item, broken));
  if (form_ == Form::kLines) {
    const std::string_view rest = trimmed(text_);
    if (!rest.empty() && rest.back() != '}') give_up("the text ends in the middle of an item");
    return lines("\n", item, broken);
  }
  if (form_ == Form::kUnknown) return {};  // an empty file is an empty list
  if (!levels_.empty() || in_string_) give_up("the text ends in the middle of a list");
  if (!list_seen_) give_up("there is no list in it");
  return {};
}

}  // namespace twinstep::providers
