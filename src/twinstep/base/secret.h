#pragma once

#include <fmt/format.h>

#include <ostream>
#include <string>
#include <string_view>

namespace twinstep {

/// A value that cannot be printed: streams, fmt and logs show `***`. Reading it takes an explicit reveal(), which is
/// easy to find in a review. The memory is wiped when the value goes.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret(Secret&& other) noexcept : value_(std::move(other.value_)) { other.wipe(); }
  Secret& operator=(const Secret& other);
  Secret& operator=(Secret&& other) noexcept;
  ~Secret() { wipe(); }

  std::string_view reveal() const { return value_; }
  bool empty() const { return value_.empty(); }
  friend bool operator==(const Secret& a, const Secret& b);  ///< constant time for equal lengths
  friend std::ostream& operator<<(std::ostream& out, const Secret&) { return out << "***"; }

 private:
  void wipe() noexcept;

  std::string value_;
};

}  // namespace twinstep

template <>
struct fmt::formatter<twinstep::Secret> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const twinstep::Secret&, Context& context) const {
    return fmt::formatter<std::string_view>::format("***", context);
  }
};
