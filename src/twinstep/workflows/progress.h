#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace twinstep::workflows {

/// Hears how far long work is. The command line prints it; a daemon logs it.
///
/// Threads  any method, any thread.
class Progress {
 public:
  virtual ~Progress() = default;
  /// `what` ("hub devices read") stands at `done`, of `total` when that is known.
  virtual void counted(std::string_view what, uint64_t done, std::optional<uint64_t> total) = 0;
  /// Something a person waits for or should know, one line.
  virtual void note(std::string_view text) = 0;
};

}  // namespace twinstep::workflows
