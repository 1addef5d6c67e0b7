#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::telemetry {

/// Batches of lines kept in a folder while their receiver is away, the oldest first. Each is one gzip file, written
/// beside its place and renamed into it, so that a crash leaves a whole one or none. Never more bytes than the bound:
/// the oldest go for the newest.
///
/// Threads   one.
/// Blocking  for the disk.
/// Owns      the folder's lock: of two processes the second one cannot open it.
class DiskBuffer {
 public:
  /// Makes the folder when there is none; takes what an earlier process left.
  /// Errors  kConflict "telemetry.buffer-busy" while another process uses it; kUnavailable "telemetry.buffer".
  static Result<DiskBuffer> open(std::string folder, uint64_t most_bytes);
  ~DiskBuffer();
  DiskBuffer(DiskBuffer&& other) noexcept;
  DiskBuffer& operator=(DiskBuffer&& other) noexcept;

  bool empty() const { return files_.empty(); }
  uint64_t bytes() const { return bytes_; }
  /// Lines that went because the bound was reached.
  uint64_t dropped() const { return dropped_; }
  uint64_t lines() const;

  /// On disk when it returns. Errors  kUnavailable "telemetry.buffer": full, read-only; the lines are not kept.
  Status write(const std::vector<std::string>& lines);
  /// The oldest batch. Errors  kCorrupt: it is damaged; remove_oldest() skips it.
  Result<std::vector<std::string>> read_oldest() const;
  void remove_oldest();
  /// Puts what is left of the oldest one in its place. Errors  as write(); the old one then stays.
  Status replace_oldest(const std::vector<std::string>& lines);

 private:
  struct File {
    std::string name;
    uint64_t bytes = 0;
    uint64_t lines = 0;
  };
  DiskBuffer(std::string folder, uint64_t most_bytes, int lock)
      : folder_(std::move(folder)), most_bytes_(most_bytes), lock_(lock) {}
  Status scan();
  Status put(const std::string& name, const std::string& packed) const;
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
  uint64_t most_bytes_;
  int lock_ = -1;
  std::map<uint64_t, File> files_;  // by sequence number
  uint64_t bytes_ = 0;
  uint64_t dropped_ = 0;
  uint64_t next_ = 1;
};

}  // namespace twinstep::telemetry
