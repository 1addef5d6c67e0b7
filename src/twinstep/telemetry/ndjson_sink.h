#pragma once

#include <string>
#include <vector>

#include "twinstep/telemetry/courier.h"

namespace twinstep::telemetry {

/// Appends lines to a file, or writes them to standard output.
///
/// Threads   one.
/// Blocking  for the disk; for a reader of standard output as long as the call allows.
/// A file that was renamed or removed (logrotate) is made again at the next batch. A batch is in the file as a whole or
/// not at all: when the disk is full in the middle of it, the file is cut back.
class LineFile {
 public:
  explicit LineFile(std::string path) : path_(std::move(path)) {}  ///< "stdout": standard output
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  Outcome deliver(const std::vector<std::string>& lines, const Call& call);

 private:
  Status reopen();
  Status append(const std::string& text);
  Status print(std::string_view text, const Call& call) const;

  const std::string path_;
  int file_ = -1;
};

}  // namespace twinstep::telemetry
