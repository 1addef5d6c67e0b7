#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/rng.h"
#include "twinstep/telemetry/disk_buffer.h"

namespace twinstep::telemetry {

/// What became of one batch.
struct Outcome {
  std::vector<std::string> again{};  ///< to be sent again later; empty = the batch is settled
  uint64_t refused = 0;              ///< lines that the receiver will never take
  std::optional<Millis> wait{};      ///< until then the receiver wants nothing
  std::string why{};                 ///< of `again` and `refused`, for the log; no secret
};

struct CourierOptions {
  std::string name;  ///< for logs: "application_insights"
  size_t batch_lines = 500;
  size_t batch_bytes = 512u << 10;
  Millis batch_age{1'000};        ///< a line waits no longer for others
  size_t most_lines = 100'000;    ///< in memory; the oldest go for the newest
  size_t most_bytes = 32u << 20;  ///< likewise
  Millis try_time{15'000};        ///< one delivery
  Millis stop_time{2'000};        ///< for what is left when it is stopped; the rest goes to disk
};

struct CourierCounts {
  uint64_t taken = 0;      ///< lines given to offer()
  uint64_t delivered = 0;  ///< lines, each time they were
  uint64_t dropped = 0;    ///< no room in memory or on disk
  uint64_t refused = 0;    ///< by the receiver, for good
  uint64_t waiting = 0;    ///< in memory and on disk
};

/// Brings lines to a receiver that may be slow or away: in batches, in order, again with back-off, by a thread of its
/// own. With a buffer on disk, what cannot be delivered is kept there, and so is what memory has no room for.
///
/// Threads   offer(), counts() any; the others from one at a time.
/// Blocking  offer() never; stop() up to stop_time and a little.
class Courier {
 public:
  /// Sends one batch; called from one thread. Returns before call.deadline and soon after call.stop.
  using Deliver = std::function<Outcome(const std::vector<std::string>& lines, const Call& call)>;

  /// `clock` and `rng` outlive the courier.
  Courier(CourierOptions options, Deliver deliver, Clock& clock, Rng& rng);
  ~Courier();  ///< stop()

  void offer(std::string line) noexcept;
  /// Begins to deliver, what is on disk first.
  void start(std::optional<DiskBuffer> disk);
  /// Delivers what there is, for stop_time at most; the rest goes to disk, or is dropped when there is none.
  void stop();
  CourierCounts counts() const;

  /// For tests, instead of start(): takes the buffer without a thread, one step, and the end.
  void keep_on(std::optional<DiskBuffer> disk) { disk_ = std::move(disk); }
  /// Delivers one batch at most, or moves what is due to disk; gives how long there is nothing to do unless lines come.
  Millis turn(const Call& call);
  void flush(const Call& call);

 private:
  struct Line {
    std::string text;
    SteadyTime at;
  };
  void run();
  std::vector<std::string> take_batch(bool whatever);
  Millis until_due() const;
  void move_to_disk(bool whatever);
  void keep(std::vector<std::string> lines);
  bool deliver_one(std::vector<std::string> batch, bool from_disk, const Call& call);
  void count_dropped(uint64_t lines, std::string why);
  void tell_of_dropped(bool at_once);

  const CourierOptions options_;
  const Deliver deliver_;
  Clock& clock_;
  Rng& rng_;

  mutable std::mutex mutex_;  // guards the next six
  std::condition_variable changed_;
  std::deque<Line> queue_;
  size_t queued_bytes_ = 0;
  CourierCounts counts_;
  bool kicked_ = false, closing_ = false, ended_ = false;

  // Of the one thread that delivers.
  std::optional<DiskBuffer> disk_;
  std::vector<std::string> held_;  // was tried in vain, and there is no disk
  SteadyTime not_before_{};
  int failures_ = 0;
  uint64_t disk_dropped_ = 0;
  SteadyTime told_{}, refused_told_{};
  uint64_t told_count_ = 0;
  std::string why_dropped_;

  std::stop_source abort_;
  std::thread thread_;
};

}  // namespace twinstep::telemetry
