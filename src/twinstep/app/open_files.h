#pragma once

namespace twinstep::app {

/// Raises the process's limit of open files as far as the system permits, and gives it. Service managers begin with
/// 1,024, because some programs use select(); this one does not.
int raise_open_files();

}  // namespace twinstep::app
