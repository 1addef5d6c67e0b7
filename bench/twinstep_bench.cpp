// The numbers that twinstep must hold, measured. `twinstep-bench [compare|quota|serve] [OPTIONS]`; each scenario prints
// JSON and ends with 1 when it did not find what it should.

#include <iostream>
#include <map>

#include "scenarios.h"

int main(int argc, char** argv) {
  using namespace twinstep::bench;
  const std::map<std::string, decltype(&compare)> scenarios{{"compare", compare}, {"quota", quota}, {"serve", serve}};
  std::vector<std::string> arguments(argv + 1, argv + argc);
  auto chosen = scenarios.find(arguments.empty() ? "" : arguments.front());
  if (chosen != scenarios.end())
    arguments.erase(arguments.begin());
  else
    chosen = scenarios.find("compare");
  const auto good = chosen->second(arguments);
  if (good) return *good ? 0 : 1;
  std::cerr << "twinstep-bench: " << good.error().what << '\n';
  return good.error().code == "usage" ? 64 : 1;
}
