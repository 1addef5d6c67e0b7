#pragma once

#include <string_view>

namespace twinstep::app {

/// Tells systemd how the service stands ("READY=1", "RELOADING=1", "STOPPING=1", "STATUS=..."); nothing happens when
/// the process was not started by it.
///
/// Source  sd_notify(3): one datagram to the Unix socket that NOTIFY_SOCKET names, '@' for an abstract one.
void sd_notify(std::string_view state);

}  // namespace twinstep::app
