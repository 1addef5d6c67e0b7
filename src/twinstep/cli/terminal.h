#pragma once

#include <mutex>
#include <string>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/workflows/progress.h"

namespace twinstep::cli {

/// Progress on standard error: one line that is redrawn on a terminal, a plain line every few seconds elsewhere.
///
/// Threads  any method, any thread.
class TerminalProgress final : public workflows::Progress {
 public:
  TerminalProgress(bool quiet, Clock& clock);
  ~TerminalProgress() override;
  void counted(std::string_view what, uint64_t done, std::optional<uint64_t> total) override;
  void note(std::string_view text) override;
  /// Removes the line that is being redrawn, before something else is printed.
  void clear();

 private:
  void draw(const std::string& line, bool last);

  std::mutex mutex_;  // guards all below
  const bool quiet_;
  const bool terminal_;
  Clock& clock_;
  SteadyTime next_draw_;
  std::string what_;
  uint64_t first_done_ = 0;
  SteadyTime started_;
  bool drawn_ = false;
};

/// "12,000 of 50,000 devices written, 83/s, 8 min left"
std::string progress_text(std::string_view what, uint64_t done, std::optional<uint64_t> total, uint64_t since,
                          Millis took);

/// Writes to standard output. A reader that went away (`| head`) is no error.
void print(std::string_view text);
/// "twinstep: ..." on standard error, or one JSON object with --output json.
void print_error(const Error& error, bool json);
void print_warning(std::string_view text);

}  // namespace twinstep::cli
