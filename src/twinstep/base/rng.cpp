#include "twinstep/base/rng.h"

#include <fmt/format.h>

namespace twinstep {

Rng& Rng::real() {
  static Rng rng([] {
    std::random_device device;
    return (static_cast<uint64_t>(device()) << 32) ^ device();
  }());
  return rng;
}

double Rng::unit() {
  std::scoped_lock lock(mutex_);
  return std::uniform_real_distribution<double>(0.0, 1.0)(engine_);
}

uint64_t Rng::next() {
  std::scoped_lock lock(mutex_);
  return engine_();
}

std::string Rng::hex_id() {
  const uint64_t high = next();
  return fmt::format("{:016x}{:016x}", high, next());
}

}  // namespace twinstep
