#pragma once

#include <algorithm>
#include <cmath>

#include "twinstep/base/error.h"
#include "twinstep/base/rng.h"

namespace twinstep {

/// Exponential back-off with jitter: a pure function of (attempt, rng).
struct Backoff {
  Millis first{500};
  Millis cap{30'000};
  double factor = 2.0;
  double jitter = 0.2;  ///< the wait varies by this share up and down; 0 = none

  /// The wait after failed attempt number `attempt`, counted from 1.
  Millis after(int attempt, Rng& rng) const {
    const double base = static_cast<double>(first.count()) * std::pow(factor, std::max(0, attempt - 1));
    const double capped = std::min(base, static_cast<double>(cap.count()));
    return Millis{static_cast<Millis::rep>(capped * (1.0 + jitter * (2.0 * rng.unit() - 1.0)))};
  }
};

}  // namespace twinstep
