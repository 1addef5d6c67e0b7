#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "twinstep/base/secret.h"

namespace twinstep::security {

/// What the status addresses carry as `code` that a starter of runs is answered: the right to look at that one
/// instance, or to end it too, for as long as the key that started it is in force. The caller's own key is not in them.
///
///   "tsi_<r|o>_<key id>_<HMAC-SHA256 over right, key id and instance>"
///
/// Threads  any.
class InstanceKeys {
 public:
  /// `secret` is shared by whoever shall take the addresses of the others.
  explicit InstanceKeys(Secret secret) : secret_(std::move(secret)) {}

  std::string make(std::string_view key_id, std::string_view instance, bool operate) const;

  struct Grant {
    std::string key_id;  ///< to be checked: it may be revoked
    bool operate = false;
  };
  /// What `text` grants for that instance; empty for anything else.
  std::optional<Grant> check(std::string_view text, std::string_view instance) const;
  /// True for a text that means to be one.
  static bool looks_like(std::string_view text) { return text.starts_with("tsi_"); }

 private:
  Secret secret_;
};

}  // namespace twinstep::security
