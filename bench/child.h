#pragma once

#include <signal.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::bench {

/// What a program that ran to its end cost and said.
struct ChildRun {
  double seconds = 0;  ///< wall clock, from its start to its end
  double cpu_seconds = 0;
  double peak_mb = 0;  ///< resident memory in MiB at its height; of a shell pipeline, that of the greatest program
  int exit_code = 0;   ///< 128 + signal when one ended it; 127 when it is not there
  std::string out;
  std::string err;
};

/// Runs a program, found as the shell finds it, and waits for it. Its input is empty.
/// Errors  kUnavailable "bench.child".
Result<ChildRun> run_child(const std::vector<std::string>& command);

/// A program that serves while others run; ends with SIGTERM when this goes.
class Server {
 public:
  /// Starts a program and waits for the first line of its output, with which it says that it serves. Its errors are
  /// added to the file `errors`, or go where ours go. From the main thread: it ends with the thread that started it.
  /// Errors  kUnavailable "bench.child", also when it ends without a line.
  static Result<std::unique_ptr<Server>> start(const std::vector<std::string>& command, const std::string& errors = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  const std::string& ready_line() const { return ready_line_; }
  pid_t pid() const { return pid_; }
  /// Ends it by this signal and waits until it has ended.
  void end(int signal);

 private:
  Server(pid_t pid, std::string line) : pid_(pid), ready_line_(std::move(line)) {}
  pid_t pid_;  // 0: has ended
  std::string ready_line_;
};

}  // namespace twinstep::bench
