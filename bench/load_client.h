#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::bench {

/// What came of the requests of one run.
struct LoadResult {
  double seconds = 0;  ///< from the first request to the last answer
  uint64_t good = 0;   ///< answered 200 or 201
  uint64_t bad = 0;    ///< answered otherwise, or not at all
  /// Of each good one, ascending: from the send to the end of the answer; with a rate from when it was due, so that a
  /// request that waits for a free connection counts its wait.
  std::vector<uint32_t> micros;
  double percentile(double p) const;  ///< of these, in milliseconds; 0 without any
};

/// Sends every body once as POST to 127.0.0.1, over so many kept-alive connections, each with one request at a time;
/// all from one thread, so that the client takes little of the machine. `per_second` limits the rate; 0 = as fast as
/// answers come. Errors  kUnavailable "bench.load": no connection could be made.
Result<LoadResult> post_all(uint16_t port, const std::string& path, const std::vector<std::string>& bodies,
                            size_t connections, double per_second = 0);
/// The same, each body to the path of the same place.
Result<LoadResult> post_all(uint16_t port, const std::vector<std::string>& paths,
                            const std::vector<std::string>& bodies, size_t connections, double per_second = 0);

}  // namespace twinstep::bench
