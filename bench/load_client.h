#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::bench {

/// What came of the requests of one run.
struct LoadResult {
  double seconds = 0;                 ///< from the first request to the last answer
  uint64_t good = 0;                  ///< answered 200
  uint64_t bad = 0;                   ///< answered otherwise, or not at all
  std::vector<uint32_t> micros;       ///< of each good one: from the send to the end of the answer, ascending
  double percentile(double p) const;  ///< of these, in milliseconds; 0 without any
};

/// Sends every body once as POST to 127.0.0.1, over so many kept-alive connections, each with one request at a time;
/// all from one thread, so that the client takes little of the machine. `per_second` limits the rate; 0 = as fast as
/// answers come. Errors  kUnavailable "bench.load": no connection could be made.
Result<LoadResult> post_all(uint16_t port, const std::string& path, const std::vector<std::string>& bodies,
                            size_t connections, double per_second = 0);

}  // namespace twinstep::bench
