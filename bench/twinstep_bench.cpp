// The numbers that twinstep must hold, measured. `twinstep-bench [compare|quota] [OPTIONS]`; each scenario prints one
// JSON object and ends with 1 when it did not find what it should.

#include <iostream>

#include "scenarios.h"

int main(int argc, char** argv) {
  using namespace twinstep::bench;
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool named = !arguments.empty() && (arguments.front() == "compare" || arguments.front() == "quota");
  const bool is_quota = named && arguments.front() == "quota";
  if (named) arguments.erase(arguments.begin());
  const auto good = is_quota ? quota(arguments) : compare(arguments);
  if (good) return *good ? 0 : 1;
  std::cerr << "twinstep-bench: " << good.error().what << '\n';
  return good.error().code == "usage" ? 64 : 1;
}
