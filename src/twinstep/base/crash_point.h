#pragma once

#include <string_view>

namespace twinstep {

/// A named place where tests end the process as `kill -9` would (docs/durability.md lists the names). The process ends
/// by _exit(137) at the N-th passage of the place that the environment variable TWINSTEP_CRASH_AT=NAME[:N] names;
/// otherwise this is one load of a static flag.
///
/// Threads  any.
void crash_point(std::string_view name);

}  // namespace twinstep
