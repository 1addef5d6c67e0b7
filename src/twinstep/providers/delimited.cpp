#include "twinstep/providers/delimited.h"

#include <algorithm>
#include <set>
#include <utility>

#include "twinstep/base/encoding.h"
#include "twinstep/json/canonical.h"

namespace twinstep::providers {

namespace {

constexpr size_t kLongestRecord = 1 << 20;

/// Counts separators outside of quotes.
char detect_separator(std::string_view header) {
  size_t counts[3] = {0, 0, 0};
  constexpr char kSeparators[3] = {',', ';', '\t'};
  bool quoted = false;
  for (char c : header) {
    if (c == '"') quoted = !quoted;
    for (int i = 0; i < 3 && !quoted; ++i) counts[i] += c == kSeparators[i] ? 1 : 0;
  }
  return kSeparators[std::max_element(counts, counts + 3) - counts];
}

}  // namespace

bool DelimitedReader::at_field_start() const {
  if (pending_.empty() || (record_line_ == 1 && pending_ == "\xEF\xBB\xBF")) return true;
  const char before = pending_.back();
  if (header_.empty()) return before == ',' || before == ';' || before == '\t';
  return before == separator_;
}

Status DelimitedReader::feed(std::string_view chunk, const RowSink& row, const BrokenSink& broken) {
  for (char c : chunk) {
    if (c == '\n') ++line_;
    const bool closed = std::exchange(just_closed_, false);
    if (c == '"') {  // elsewhere than at a field's border a quote is an ordinary character
      just_closed_ = quoted_;
      quoted_ = !quoted_ && (closed || at_field_start());
    }
    if (c == '\n' && (!quoted_ || pending_.size() > kLongestRecord)) {
      quoted_ = false;
      const Status done = record(pending_, row, broken);
      pending_.clear();
      record_line_ = line_;
      if (!done) return done;
    } else if (pending_.size() <= kLongestRecord) {
      pending_.push_back(c);
    }
  }
  return {};
}

Status DelimitedReader::finish(const RowSink& row, const BrokenSink& broken) {
  if (quoted_) why_incomplete_ = fmt::format("a quote that opens in the row at line {} never closes", record_line_);
  if (!pending_.empty()) TRY(record(pending_, row, broken));
  if (header_.empty() && why_incomplete_.empty()) why_incomplete_ = "there is no header row";
  return {};
}

Result<std::vector<std::string>> DelimitedReader::split(std::string_view text) const {
  std::vector<std::string> fields;
  for (size_t i = 0;;) {
    std::string& field = fields.emplace_back();
    if (i < text.size() && text[i] == '"') {
      for (++i;; ++i) {
        if (i == text.size()) return fail(ErrorKind::kCorrupt, "csv", "a quote never closes");
        if (text[i] == '"' && (i + 1 == text.size() || text[i + 1] != '"')) break;
        if (text[i] == '"') ++i;
        field.push_back(text[i]);
      }
      ++i;
      if (i < text.size() && text[i] != separator_)
        return fail(ErrorKind::kCorrupt, "csv", "text follows a closing quote");
    } else {
      const size_t end = std::min(text.find(separator_, i), text.size());
      field.assign(text.substr(i, end - i));
      i = end;
    }
    if (i >= text.size()) return fields;
    ++i;
  }
}

Status DelimitedReader::record(std::string_view text, const RowSink& row, const BrokenSink& broken) {
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (record_line_ == 1 && text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (text.empty()) return {};
  const auto complain = [&](std::string_view why) { return broken(text.substr(0, 200), record_line_, why); };
  if (header_.empty() && (text.size() >= kLongestRecord || !is_utf8(text))) {
    return fail(ErrorKind::kInvalid, "file.bad-header",
                text.size() >= kLongestRecord ? "the header row is longer than 1 MiB"
                                              : "the header row is not UTF-8 text; save the file as UTF-8");
  }
  if (text.size() >= kLongestRecord) return complain("the row is longer than 1 MiB");
  if (!is_utf8(text)) return complain("not UTF-8 text");
  if (header_.empty()) {
    separator_ = detect_separator(text);
    auto names = split(text);
    if (!names)
      return fail(ErrorKind::kInvalid, "file.bad-header", "the header row cannot be read: " + names.error().what);
    std::set<std::string> once;
    for (std::string& name : *names) {
      name.erase(0, name.find_first_not_of(' '));
      while (name.ends_with(' ')) name.pop_back();
      if (!name.empty() && !once.insert(name).second) {
        return fail(ErrorKind::kInvalid, "file.bad-header", fmt::format("the header row names '{}' twice", name));
      }
    }
    header_ = std::move(*names);
    return {};
  }
  const auto fields = split(text);
  if (!fields) return complain(fields.error().what);
  if (fields->size() > header_.size()) return complain("the row has more fields than the header");
  json_ = "{";
  for (size_t i = 0; i < fields->size(); ++i) {
    if (header_[i].empty() || (*fields)[i].empty()) continue;
    if (json_.size() > 1) json_.push_back(',');
    json::append_canonical_string(header_[i], json_);
    json_.push_back(':');
    json::append_canonical_string((*fields)[i], json_);
  }
  json_.push_back('}');
  if (json_ == "{}") return {};  // separators only, as spreadsheets leave them at the end
  return row(json_, record_line_);
}

}  // namespace twinstep::providers
