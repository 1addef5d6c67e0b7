#include "twinstep/cli/terminal.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "twinstep/base/units.h"
#include "twinstep/json/json.h"

namespace twinstep::cli {
namespace {

constexpr std::chrono::milliseconds kRedraw{150};
constexpr std::chrono::seconds kPlainLine{5};

void write_all(FILE* to, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), to);
  std::fflush(to);
}

}  // namespace

std::string progress_text(std::string_view what, uint64_t done, std::optional<uint64_t> total, uint64_t since,
                          Millis took) {
  std::string out = total ? fmt::format("{} of {} {}", format_count(done), format_count(*total), what)
                          : fmt::format("{} {}", format_count(done), what);
  const double seconds = static_cast<double>(took.count()) / 1000.0;
  if (seconds < 1 || done <= since) return out;
  const double rate = static_cast<double>(done - since) / seconds;
  out +=
      rate >= 10 ? fmt::format(", {}/s", format_count(static_cast<uint64_t>(rate))) : fmt::format(", {:.1f}/s", rate);
  if (total && *total > done)
    out += fmt::format(
        ", {} left",
        format_duration(Millis{static_cast<Millis::rep>(static_cast<double>(*total - done) / rate * 1000.0)}));
  return out;
}

TerminalProgress::TerminalProgress(bool quiet, Clock& clock)
    : quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      clock_(clock),
      next_draw_(clock.steady_now() + kRedraw),
      started_(clock.steady_now()) {}

TerminalProgress::~TerminalProgress() { clear(); }

void TerminalProgress::counted(std::string_view what, uint64_t done, std::optional<uint64_t> total) {
  if (quiet_) return;
  std::scoped_lock lock(mutex_);
  const SteadyTime now = clock_.steady_now();
  if (what != what_) {
    what_ = what;
    started_ = now;
    first_done_ = done;
    if (!terminal_) next_draw_ = now + kPlainLine;
  }
  if (now < next_draw_) return;
  next_draw_ = now + (terminal_ ? SteadyTime::duration(kRedraw) : SteadyTime::duration(kPlainLine));
  draw(progress_text(what, done, total, first_done_, std::chrono::duration_cast<Millis>(now - started_)), false);
}

void TerminalProgress::note(std::string_view text) {
  if (quiet_) return;
  std::scoped_lock lock(mutex_);
  draw(std::string(text), true);
}

void TerminalProgress::clear() {
  std::scoped_lock lock(mutex_);
  if (drawn_) write_all(stderr, "\r\033[K");
  drawn_ = false;
}

void TerminalProgress::draw(const std::string& line, bool last) {
  if (!terminal_) return write_all(stderr, line + "\n");
  write_all(stderr, "\r\033[K" + line + (last ? "\n" : ""));
  drawn_ = !last;
}

void print(std::string_view text) { write_all(stdout, text); }

void print_error(const Error& error, bool json) {
  if (!json) return write_all(stderr, fmt::format("twinstep: {}\n", error.what));
  json::object out{{"error", {{"code", error.code}, {"kind", to_string(error.kind)}, {"message", error.what}}}};
  auto& inner = out["error"].as_object();
  if (error.remote_status) inner["status"] = error.remote_status;
  if (!error.remote_code.empty()) inner["remoteCode"] = error.remote_code;
  if (!error.request_id.empty()) inner["requestId"] = error.request_id;
  write_all(stderr, json::write(out) + "\n");
}

void print_warning(std::string_view text) { write_all(stderr, fmt::format("twinstep: warning: {}\n", text)); }

}  // namespace twinstep::cli
