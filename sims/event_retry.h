#pragma once

#include <chrono>
#include <string_view>

#include "twinstep/base/rng.h"
#include "twinstep/http/client.h"

/// What Event Grid makes of an endpoint's answer, and when it tries again. Where versions of the documentation differ
/// the one that is harsher for the endpoint is taken.
/// Source  azure.md 2.4
namespace twinstep::sims {

struct DeliveryOutcome {
  std::string_view name;  ///< as dead letters show it: NotFound, Busy, ...; static text
  bool delivered = false;
  bool again = true;                   ///< false: not retried
  std::chrono::seconds at_least{10};   ///< before the next try
  std::chrono::seconds probation{10};  ///< how long an endpoint that fails again and again is left alone
};
DeliveryOutcome judge(const Result<http::Response>& answer);

/// The wait after `attempts` failed tries: the schedule's, at least the outcome's, up to a fifth longer at random.
std::chrono::nanoseconds retry_wait(int attempts, const DeliveryOutcome& outcome, Rng& rng);

}  // namespace twinstep::sims
