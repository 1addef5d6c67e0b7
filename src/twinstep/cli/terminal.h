#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/workflows/progress.h"

namespace twinstep::cli {

/// How standard error may be written to.
struct TerminalStyle {
  bool redraws = false;           ///< a terminal that knows how to clear a line
  std::optional<size_t> columns;  ///< from COLUMNS; empty = ask the terminal each time, for its window may change
};

/// Standard error's, with TERM and COLUMNS of `environment`. No colours are ever used, which is what NO_COLOR asks for.
TerminalStyle terminal_style(const std::map<std::string, std::string>& environment);

/// Progress of one or more things at the same time: one line that is redrawn on a terminal and never wider than it, a
/// plain line every few seconds elsewhere.
///
/// Threads  any method, any thread.
class TerminalProgress final : public workflows::Progress {
 public:
  using Write = std::function<void(std::string_view)>;

  TerminalProgress(TerminalStyle style, Clock& clock, Write write);
  ~TerminalProgress() override;
  void counted(std::string_view what, uint64_t done, std::optional<uint64_t> total) override;
  void note(std::string_view text) override;
  /// Removes the line that is being redrawn, before something else is printed. What was counted so far is over.
  void clear();

 private:
  /// One thing that is counted.
  struct Task {
    std::string what;
    uint64_t first = 0;
    uint64_t done = 0;
    std::optional<uint64_t> total;
    SteadyTime started;
    SteadyTime counted;
    SteadyTime next_line;  // where lines are not redrawn
    std::string text() const;
  };
  Task& task(std::string_view what, uint64_t done, SteadyTime now);
  void redraw(SteadyTime now);

  std::mutex mutex_;  // guards all below
  const TerminalStyle style_;
  Clock& clock_;
  const Write write_;
  SteadyTime next_draw_;
  std::vector<Task> tasks_;
  bool drawn_ = false;
};

/// "12,000 of 50,000 devices written, 83/s, 8 min left"
std::string progress_text(std::string_view what, uint64_t done, std::optional<uint64_t> total, uint64_t since,
                          Millis took);

/// How wide tables on standard output may be: COLUMNS, else the terminal's width; empty = not a terminal, any width.
std::optional<size_t> table_columns(const std::map<std::string, std::string>& environment);

/// A text cut to `columns` characters of UTF-8.
std::string_view cut_to(std::string_view text, size_t columns);

/// Writes to standard error; what TerminalProgress writes by.
void write_to_terminal(std::string_view text);
/// Writes to standard output. A reader that went away (`| head`) is no error.
void print(std::string_view text);
/// "twinstep: ..." on standard error, or one JSON object with --output json.
void print_error(const Error& error, bool json);
void print_warning(std::string_view text);

}  // namespace twinstep::cli
