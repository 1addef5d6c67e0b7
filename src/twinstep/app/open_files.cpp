#include "twinstep/app/open_files.h"

#include <sys/resource.h>

#include <algorithm>

namespace twinstep::app {

int raise_open_files() {
  constexpr rlim_t kEnough = 1'000'000;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t wanted = std::min(limit.rlim_max, kEnough);
  if (limit.rlim_cur < wanted) {
    const rlimit raised{wanted, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit.rlim_cur = wanted;
  }
  return static_cast<int>(std::min(limit.rlim_cur, kEnough));
}

}  // namespace twinstep::app
