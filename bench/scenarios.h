#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "twinstep/base/result.h"

/// What twinstep-bench measures. Each scenario prints its usage with a wrong option, and its report as one JSON object;
/// false when what it found is not as it should be, which it says on standard error.
/// Errors  kInvalid "usage"; everything that keeps it from measuring.
namespace twinstep::bench {

/// Times `twinstep diff` beside DuckDB and jq, sort and comm.
Result<bool> compare(const std::vector<std::string>& arguments);

/// How much of a hub's quota twinstep uses while it applies changes, and whether the hub ever refuses.
Result<bool> quota(const std::vector<std::string>& arguments);

/// The daemon's numbers: events taken in, latency, waiting tasks, the idle daemon, replicas. One JSON object for each
/// row.
Result<bool> serve(const std::vector<std::string>& arguments);

/// Path of another program of ours, beside this one.
inline std::string program(const char* name) {
  std::error_code ignored;
  return (std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / name).string();
}

}  // namespace twinstep::bench
