#pragma once

#include <cstdint>
#include <mutex>
#include <random>
#include <string>

namespace twinstep {

/// Jitter and ids from a seed; key material comes from OpenSSL only.
///
/// Threads   any method, any thread.
class Rng {
 public:
  explicit Rng(uint64_t seed) : engine_(seed) {}
  /// Seeded by the operating system.
  static Rng& real();

  /// Uniform in [0, 1).
  double unit();
  uint64_t next();
  /// 32 lower-case hex digits, the form of a GUID without dashes.
  std::string hex_id();

 private:
  std::mutex mutex_;  // guards engine_
  std::mt19937_64 engine_;
};

}  // namespace twinstep
