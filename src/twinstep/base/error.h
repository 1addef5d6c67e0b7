#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace twinstep {

using Millis = std::chrono::milliseconds;

/// Nine kinds, because nine things are done differently. Retry policy reads the kind, never the text.
enum class ErrorKind {
  kNotFound,     ///< the thing does not exist; often an ordinary answer
  kConflict,     ///< exists already, or an ETag is stale
  kThrottled,    ///< the remote asks to slow down; retry_after says how long when it told
  kUnavailable,  ///< the remote or the way to it is down; may work later
  kTimeout,      ///< no answer before the deadline; the effect is unknown
  kCancelled,    ///< the caller's stop token fired
  kDenied,       ///< credentials or rights; repeating will not help
  kInvalid,      ///< bad input, ours or the user's; repeating will not help
  kCorrupt,      ///< the remote or a file gave something that cannot be read
};

std::string_view to_string(ErrorKind kind);

/// What failed, on what, why, and what to do about it. Never holds a secret. Made by fail(), or with the names of the
/// members that are known: `Error{.kind = ErrorKind::kInvalid, .what = "...", .code = "usage.command"}`.
struct Error {
  ErrorKind kind = ErrorKind::kInvalid;
  std::string what = {};                   ///< for people: what failed, on what, why, what to do
  std::string code = {};                   ///< stable and for programs, e.g. "config.unknown-key", "hub.DeviceNotFound"
  std::optional<Millis> retry_after = {};  ///< as the remote told it, else empty
  int remote_status = 0;                   ///< HTTP status when a remote answered, else 0
  std::string remote_code = {};            ///< the remote's symbolic code, e.g. "DeviceNotFound"
  std::string request_id = {};             ///< the remote's id for the failed request

  /// Puts the caller's context in front: "IoT Hub contoso: get dev-1: " + what.
  Error within(std::string_view context) &&;

  /// True when the same call may succeed later without anybody doing anything.
  bool transient() const;
};

}  // namespace twinstep
