#include "twinstep/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "twinstep/base/units.h"
#include "twinstep/json/json.h"

namespace twinstep::cli {
namespace {

constexpr std::chrono::milliseconds kRedraw{150};
constexpr std::chrono::seconds kPlainLine{5};
/// What has not been counted for so long is no longer shown.
constexpr std::chrono::seconds kForgotten{3};
constexpr size_t kUsualColumns = 80;
constexpr const char* kClearLine = "\r\033[K";

void write_all(FILE* to, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), to);
  std::fflush(to);
}

size_t columns_of(const TerminalStyle& style) {
  if (style.columns) return *style.columns;
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kUsualColumns;
}

std::optional<size_t> stated_columns(const std::map<std::string, std::string>& environment) {
  const auto columns = environment.find("COLUMNS");
  if (columns == environment.end()) return std::nullopt;
  const std::string& text = columns->second;
  size_t count = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (problem != std::errc{} || end != text.data() + text.size() || count == 0) return std::nullopt;
  return count;
}

}  // namespace

TerminalStyle terminal_style(const std::map<std::string, std::string>& environment) {
  TerminalStyle style;
  const auto terminal = environment.find("TERM");
  style.redraws = isatty(STDERR_FILENO) == 1 && !(terminal != environment.end() && terminal->second == "dumb");
  style.columns = stated_columns(environment);
  return style;
}

std::optional<size_t> table_columns(const std::map<std::string, std::string>& environment) {
  if (const auto stated = stated_columns(environment)) return stated;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
  return size.ws_col;
}

std::string_view cut_to(std::string_view text, size_t columns) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
    if (begins && columns-- == 0) break;
  }
  return text.substr(0, at);
}

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

std::string TerminalProgress::Task::text() const {
  return progress_text(what, done, total, first, std::chrono::duration_cast<Millis>(counted - started));
}

TerminalProgress::TerminalProgress(TerminalStyle style, Clock& clock, Write write)
    : style_(style), clock_(clock), write_(std::move(write)), next_draw_(clock.steady_now() + kRedraw) {}

TerminalProgress::~TerminalProgress() { clear(); }

TerminalProgress::Task& TerminalProgress::task(std::string_view what, uint64_t done, SteadyTime now) {
  const auto found = std::find_if(tasks_.begin(), tasks_.end(), [&](const Task& one) { return one.what == what; });
  if (found != tasks_.end() && found->done <= done) return *found;
  if (found != tasks_.end()) tasks_.erase(found);  // it began anew
  return tasks_.emplace_back(Task{std::string(what), done, done, {}, now, now, now + kPlainLine});
}

void TerminalProgress::counted(std::string_view what, uint64_t done, std::optional<uint64_t> total) {
  std::scoped_lock lock(mutex_);
  const SteadyTime now = clock_.steady_now();
  Task& one = task(what, done, now);
  one.done = done;
  one.total = total;
  one.counted = now;
  if (style_.redraws) return redraw(now);
  if (now < one.next_line) return;
  one.next_line = now + kPlainLine;
  write_(one.text() + "\n");
}

void TerminalProgress::redraw(SteadyTime now) {
  if (now < next_draw_) return;
  next_draw_ = now + kRedraw;
  std::string line;
  // What began last comes first, where nothing is cut off.
  for (auto one = tasks_.rbegin(); one != tasks_.rend(); ++one)
    if (now - one->counted < kForgotten) line += (line.empty() ? "" : "; ") + one->text();
  // One column stays free: a full line makes some terminals go to the next one, where it could not be cleared.
  write_(kClearLine + std::string(cut_to(line, columns_of(style_) - 1)));
  drawn_ = true;
}

void TerminalProgress::note(std::string_view text) {
  std::scoped_lock lock(mutex_);
  write_(fmt::format("{}{}\n", drawn_ ? kClearLine : "", text));
  drawn_ = false;
}

void TerminalProgress::clear() {
  std::scoped_lock lock(mutex_);
  if (drawn_) write_(kClearLine);
  drawn_ = false;
  tasks_.clear();
}

void write_to_terminal(std::string_view text) { write_all(stderr, text); }

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
