// /proc of this process, as Prometheus' own client libraries read it.
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "twinstep/obs/metrics.h"

namespace twinstep::obs {
namespace {

/// Seconds since 1970 when the machine was started.
std::optional<double> boot_time() {
  std::ifstream file("/proc/stat");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("btime ")) return std::stod(line.substr(6));
  return std::nullopt;
}

}  // namespace

ProcessFigures process_figures() {
  ProcessFigures out;
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  // The name in parentheses may hold anything; what counts begins behind the last one.
  const size_t after = text.rfind(')');
  if (after != std::string::npos) {
    std::istringstream fields(text.substr(after + 1));
    std::string skipped;
    for (int i = 3; i < 14; ++i) fields >> skipped;
    double user = 0, system = 0, start = 0, virtual_bytes = 0, resident = 0;
    fields >> user >> system;
    for (int i = 16; i < 22; ++i) fields >> skipped;
    fields >> start >> virtual_bytes >> resident;
    if (fields) {
      const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
      out.cpu_seconds = (user + system) / ticks;
      out.virtual_bytes = virtual_bytes;
      out.resident_bytes = resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
      static const std::optional<double> boot = boot_time();
      if (boot) out.start_time = *boot + start / ticks;
    }
  }
  std::error_code error;
  double open = 0;
  for (auto entry = std::filesystem::directory_iterator("/proc/self/fd", error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    ++open;
  if (!error && open > 0) out.open_fds = open - 1;  // the one that reads the folder
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    out.most_fds = static_cast<double>(limit.rlim_cur);
  return out;
}

}  // namespace twinstep::obs
