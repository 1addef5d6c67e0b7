#include "arguments.h"

#include <algorithm>
#include <charconv>

namespace twinstep::bench {

tl::unexpected<Error> Arguments::wrong(const std::string& what) const {
  return fail(ErrorKind::kInvalid, "usage", what + "\n" + std::string(usage_));
}

Status Arguments::read(const std::vector<std::string>& arguments) const {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    const auto bound = std::find_if(bound_.begin(), bound_.end(), [&](const Bound& one) { return one.name == name; });
    if (bound == bound_.end()) return wrong(fmt::format("unknown option '{}'", name));
    if (bool* const* flag = std::get_if<bool*>(&bound->into)) {
      **flag = true;
      continue;
    }
    if (i + 1 == arguments.size()) return wrong(name + " needs a value");
    const std::string& value = arguments[++i];
    if (std::string* const* text = std::get_if<std::string*>(&bound->into)) {
      **text = value;
      continue;
    }
    uint64_t& number = *std::get<uint64_t*>(bound->into);
    const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
    if (read.ec != std::errc{} || read.ptr != value.data() + value.size() || number == 0 || number > 1'000'000'000)
      return wrong(fmt::format("{} needs a number from 1 to 1000000000, not '{}'", name, value));
  }
  return {};
}

}  // namespace twinstep::bench
