#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::bench {

/// The options of a scenario, each bound to what it sets: a bool is a flag, the others take a value.
class Arguments {
 public:
  /// `usage` ends every complaint.
  explicit Arguments(std::string_view usage) : usage_(usage) {}

  /// A number is from 1 to 1,000,000,000; what is bound outlives read().
  void bind(std::string_view name, std::variant<bool*, uint64_t*, std::string*> into) {
    bound_.push_back({name, into});
  }
  /// Errors  kInvalid "usage".
  Status read(const std::vector<std::string>& arguments) const;
  /// The complaint about a value that only the scenario can judge.
  tl::unexpected<Error> wrong(const std::string& what) const;

 private:
  struct Bound {
    std::string_view name;
    std::variant<bool*, uint64_t*, std::string*> into;
  };
  std::string_view usage_;
  std::vector<Bound> bound_;
};

}  // namespace twinstep::bench
