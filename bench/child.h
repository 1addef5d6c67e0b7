#pragma once

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

}  // namespace twinstep::bench
