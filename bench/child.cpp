#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

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

/// As exec wants them; they point into `command`.
std::vector<char*> arguments_of(const std::vector<std::string>& command) {
  std::vector<char*> out;
  for (const std::string& argument : command) out.push_back(const_cast<char*>(argument.c_str()));
  out.push_back(nullptr);
  return out;
}

tl::unexpected<Error> cannot(const std::vector<std::string>& command, const char* what) {
  return fail(ErrorKind::kUnavailable, "bench.child",
              fmt::format("{}: cannot {}: {}", command.front(), what, std::strerror(errno)));
}

}  // namespace

Result<ChildRun> run_child(const std::vector<std::string>& command) {
  // Files take any amount of output without anybody reading meanwhile.
  const File out(std::tmpfile(), std::fclose);
  const File err(std::tmpfile(), std::fclose);
  if (!out || !err) return cannot(command, "make a temporary file");
  const std::vector<char*> arguments = arguments_of(command);

  const auto started = std::chrono::steady_clock::now();
  const pid_t pid = ::fork();
  if (pid < 0) return cannot(command, "start a process");
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
    if (errno != EINTR) return cannot(command, "wait for the process");
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

Result<std::unique_ptr<Server>> Server::start(const std::vector<std::string>& command, const std::string& errors) {
  const std::vector<char*> arguments = arguments_of(command);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return cannot(command, "make a pipe");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // a benchmark that is killed leaves nothing running
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    if (!errors.empty()) ::dup2(::open(errors.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644), STDERR_FILENO);
    ::execvp(arguments.front(), arguments.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string line;
  if (pid > 0) {
    char c = 0;
    while (::read(ends[0], &c, 1) == 1 && c != '\n') line += c;
  }
  ::close(ends[0]);
  if (pid < 0) return cannot(command, "start a process");
  std::unique_ptr<Server> server(new Server(pid, line));
  if (line.empty())
    return fail(ErrorKind::kUnavailable, "bench.child", command.front() + ": ended before it was ready");
  return server;
}

Server::~Server() { end(SIGTERM); }

void Server::end(int signal) {
  if (pid_ == 0) return;
  ::kill(pid_, signal);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
}

}  // namespace twinstep::bench
