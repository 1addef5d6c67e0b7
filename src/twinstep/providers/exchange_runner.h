#pragma once

#include <vector>

#include "twinstep/providers/definition.h"

namespace twinstep::providers {

struct ExchangeResult {
  std::string name;
  std::string place;   ///< "actility.yaml:141"
  std::string failed;  ///< what differed, for people; empty = passed
};

/// Runs the tests that a definition carries: the engine sends each test's requests to a scripted remote that checks
/// them and gives the recorded answers. No network, no waiting.
///
/// Blocking  computes only.
std::vector<ExchangeResult> run_definition_tests(const Definition& definition);

}  // namespace twinstep::providers
