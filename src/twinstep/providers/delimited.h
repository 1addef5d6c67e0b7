#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::providers {

/// Reads CSV (RFC 4180) fed in pieces and gives each row as the JSON text of an object of strings, named by the header
/// row. Comma, semicolon or tab, whichever the header row holds most; quoted fields may hold separators, doubled quotes
/// and line breaks; LF or CRLF; a byte order mark and blank lines are skipped. Empty fields are left out.
///
/// Errors  those of the sinks; kInvalid "file.bad-header" when the header row cannot be used, which ends it. A row with
///         more fields than the header, text after a closing quote, an over-long row or bytes that are not UTF-8 go to
///         `broken`; an unclosed quote at the end makes why_incomplete() say so.
class DelimitedReader {
 public:
  using RowSink = std::function<Status(std::string_view json, uint64_t line)>;
  using BrokenSink = std::function<Status(std::string_view text, uint64_t line, std::string_view why)>;

  Status feed(std::string_view chunk, const RowSink& row, const BrokenSink& broken);
  Status finish(const RowSink& row, const BrokenSink& broken);
  const std::string& why_incomplete() const { return why_incomplete_; }

 private:
  Status record(std::string_view text, const RowSink& row, const BrokenSink& broken);
  Result<std::vector<std::string>> split(std::string_view text) const;  ///< the error's text says why

  std::string pending_;  // the unfinished record
  bool at_field_start() const;
  bool quoted_ = false;
  bool just_closed_ = false;  // the byte before closed a quoted field
  uint64_t line_ = 1;         // of the next byte
  uint64_t record_line_ = 1;  // where the pending record began
  char separator_ = ',';
  std::vector<std::string> header_;
  std::string json_, why_incomplete_;
};

}  // namespace twinstep::providers
