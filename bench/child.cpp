#include "child.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>

namespace twinstep::bench {

namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

std::string content(std::FILE* file) {
  std::string out;
  char piece[4096];
  std::rewind(file);
  while (const size_t got = std::fread(piece, 1, sizeof piece, file)) out.append(piece, got);
  return out;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

Result<ChildRun> run_child(const std::vector<std::string>& command) {
  // Files take any amount of output without anybody reading meanwhile.
  const File out(std::tmpfile(), std::fclose);
  const File err(std::tmpfile(), std::fclose);
  const auto failed = [&](const char* doing) {
    return fail(ErrorKind::kUnavailable, "bench.child",
                fmt::format("{}: cannot {}: {}", command.front(), doing, std::strerror(errno)));
  };
  if (!out || !err) return failed("make a temporary file");
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  const auto started = std::chrono::steady_clock::now();
  const pid_t pid = ::fork();
  if (pid < 0) return failed("start a process");
  if (pid == 0) {
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(::fileno(out.get()), STDOUT_FILENO);
    ::dup2(::fileno(err.get()), STDERR_FILENO);
    ::execvp(arguments.front(), arguments.data());
    ::_exit(127);
  }
  int status = 0;
  rusage used{};
  while (::wait4(pid, &status, 0, &used) < 0) {
    if (errno != EINTR) return failed("wait for the process");
  }
  ChildRun run;
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  run.cpu_seconds = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  run.peak_mb = static_cast<double>(used.ru_maxrss) / 1024.0;
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.out = content(out.get());
  run.err = content(err.get());
  return run;
}

}  // namespace twinstep::bench
