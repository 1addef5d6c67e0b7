#pragma once

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
  /// Starts a program and waits for the first line of its output, with which it says that it serves.
  /// Errors  kUnavailable "bench.child", also when it ends without a line.
  static Result<std::unique_ptr<Server>> start(const std::vector<std::string>& command);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  const std::string& ready_line() const { return ready_line_; }

 private:
  Server(pid_t pid, std::string line) : pid_(pid), ready_line_(std::move(line)) {}
  pid_t pid_;
  std::string ready_line_;
};

}  // namespace twinstep::bench
