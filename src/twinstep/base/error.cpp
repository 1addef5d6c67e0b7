#include "twinstep/base/error.h"

namespace twinstep {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kNotFound:
      return "not found";
    case ErrorKind::kConflict:
      return "conflict";
    case ErrorKind::kThrottled:
      return "throttled";
    case ErrorKind::kUnavailable:
      return "unavailable";
    case ErrorKind::kTimeout:
      return "timeout";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kDenied:
      return "denied";
    case ErrorKind::kInvalid:
      return "invalid";
    case ErrorKind::kCorrupt:
      return "corrupt";
  }
  return "unknown";
}

Error Error::within(std::string_view context) && {
  what.insert(0, ": ").insert(0, context);
  return std::move(*this);
}

bool Error::transient() const {
  return kind == ErrorKind::kThrottled || kind == ErrorKind::kUnavailable || kind == ErrorKind::kTimeout;
}

}  // namespace twinstep
