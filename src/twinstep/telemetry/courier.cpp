#include "twinstep/telemetry/courier.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <new>

#include "twinstep/base/backoff.h"

namespace twinstep::telemetry {
namespace {

constexpr Backoff kAgain{.first = Millis{1'000}, .cap = Millis{60'000}};
constexpr Millis kLongestTold{15 * 60'000};
constexpr Millis kIdle{60'000};
constexpr Millis kTellEvery{60'000};  // of what is dropped
constexpr size_t kHighMark = 10;      // batches that may wait in memory before they go to disk

}  // namespace

Courier::Courier(CourierOptions options, Deliver deliver, Clock& clock, Rng& rng)
    : options_(std::move(options)), deliver_(std::move(deliver)), clock_(clock), rng_(rng) {}

Courier::~Courier() { stop(); }

void Courier::offer(std::string line) noexcept try {
  std::unique_lock lock(mutex_);
  ++counts_.taken;
  queued_bytes_ += line.size();
  queue_.push_back({std::move(line), clock_.steady_now()});
  while (queue_.size() > options_.most_lines || (queued_bytes_ > options_.most_bytes && queue_.size() > 1)) {
    queued_bytes_ -= queue_.front().text.size();
    queue_.pop_front();
    ++counts_.dropped;
  }
  if (queue_.size() != 1 && queue_.size() % options_.batch_lines != 0) return;
  kicked_ = true;
  lock.unlock();
  changed_.notify_one();
} catch (const std::bad_alloc&) {
  // An event that there is no memory for is an event less.
}

CourierCounts Courier::counts() const {
  std::scoped_lock lock(mutex_);
  CourierCounts out = counts_;
  out.waiting += queue_.size();
  return out;
}

void Courier::count_dropped(uint64_t lines, std::string why) {
  std::scoped_lock lock(mutex_);
  counts_.dropped += lines;
  why_dropped_ = std::move(why);
}

/// One line a minute at most, however many go.
void Courier::tell_of_dropped(bool at_once) {
  const SteadyTime now = clock_.steady_now();
  if (!at_once && told_ != SteadyTime{} && now - told_ < kTellEvery) return;
  uint64_t dropped = 0;
  {
    std::scoped_lock lock(mutex_);
    dropped = counts_.dropped;
  }
  if (dropped == told_count_) return;
  spdlog::warn("telemetry.dropped sink={} events={} reason=\"{}\"", options_.name,
               dropped - std::exchange(told_count_, dropped),
               why_dropped_.empty() ? "more came than could be delivered; the oldest go first" : why_dropped_);
  told_ = now;
}

std::vector<std::string> Courier::take_batch(bool whatever) {
  std::scoped_lock lock(mutex_);
  std::vector<std::string> out;
  const bool due =
      !queue_.empty() && (whatever || queue_.size() >= options_.batch_lines || queued_bytes_ >= options_.batch_bytes ||
                          clock_.steady_now() - queue_.front().at >= options_.batch_age);
  if (!due) return out;
  size_t bytes = 0;
  while (!queue_.empty() && out.size() < options_.batch_lines &&
         (out.empty() || bytes + queue_.front().text.size() <= options_.batch_bytes)) {
    bytes += queue_.front().text.size();
    out.push_back(std::move(queue_.front().text));
    queue_.pop_front();
  }
  queued_bytes_ -= bytes;
  return out;
}

Millis Courier::until_due() const {
  std::scoped_lock lock(mutex_);
  if (queue_.empty()) return kIdle;
  if (queue_.size() >= options_.batch_lines || queued_bytes_ >= options_.batch_bytes) return Millis{0};
  const auto left = options_.batch_age - (clock_.steady_now() - queue_.front().at);
  return std::max(Millis{0}, std::chrono::ceil<Millis>(left));
}

void Courier::keep(std::vector<std::string> lines) {
  if (lines.empty()) return;
  if (!disk_) {
    held_ = std::move(lines);
    return;
  }
  if (auto kept = disk_->write(lines); !kept) {
    count_dropped(lines.size(), kept.error().what);
    return;
  }
  if (const uint64_t gone = disk_->dropped(); gone != disk_dropped_)
    count_dropped(gone - std::exchange(disk_dropped_, gone), "the buffer on disk is full; the oldest go first");
}

void Courier::move_to_disk(bool whatever) {
  for (auto batch = take_batch(whatever); !batch.empty(); batch = take_batch(whatever)) keep(std::move(batch));
}

/// False when the receiver wants to be left alone for a while.
bool Courier::deliver_one(std::vector<std::string> batch, bool from_disk, const Call& call) {
  Outcome outcome;
  try {
    outcome = deliver_(batch, call);
  } catch (const std::exception& bug) {
    outcome.again = batch;
    outcome.why = fmt::format("internal error ({}); please report it", bug.what());
  }
  const uint64_t settled = batch.size() - std::min(batch.size(), outcome.again.size());
  {
    std::scoped_lock lock(mutex_);
    counts_.delivered += settled - std::min(settled, outcome.refused);
    counts_.refused += outcome.refused;
  }
  if (outcome.refused > 0 && (refused_told_ == SteadyTime{} || clock_.steady_now() - refused_told_ >= kTellEvery)) {
    refused_told_ = clock_.steady_now();
    spdlog::error("telemetry.refused sink={} events={} reason=\"{}\"", options_.name, outcome.refused, outcome.why);
  }
  if (outcome.again.empty()) {
    if (from_disk) disk_->remove_oldest();
    if (std::exchange(failures_, 0) > 0) spdlog::info("telemetry.back sink={}", options_.name);
    return true;
  }
  const std::string why = std::move(outcome.why);
  const bool fewer = outcome.again.size() < batch.size();
  if (!from_disk) {
    keep(std::move(outcome.again));
  } else if (fewer) {
    // What cannot be written again is sent again as a whole: twice is better than never.
    (void)disk_->replace_oldest(outcome.again);
  }
  if (call.stop.stop_requested()) return false;
  if (failures_++ == 0)
    spdlog::warn("telemetry.away sink={} reason=\"{}\" next=\"kept and tried again\"", options_.name, why);
  const Millis wait =
      outcome.wait ? std::clamp(*outcome.wait, Millis{100}, kLongestTold) : kAgain.after(failures_, rng_);
  not_before_ = clock_.steady_now() + wait;
  return false;
}

Millis Courier::turn(const Call& call) {
  const SteadyTime now = clock_.steady_now();
  tell_of_dropped(false);
  const bool away = now < not_before_;
  bool crowded = false;
  {
    std::scoped_lock lock(mutex_);
    crowded = queue_.size() > kHighMark * options_.batch_lines || queued_bytes_ > kHighMark * options_.batch_bytes;
  }
  if (disk_ && (away || crowded || !disk_->empty())) move_to_disk(false);
  if (away) {
    const Millis left = std::chrono::ceil<Millis>(not_before_ - now);
    return disk_ ? std::min(left, std::max(until_due(), Millis{1})) : left;
  }
  if (disk_ && !disk_->empty()) {
    auto batch = disk_->read_oldest();
    if (!batch) {
      spdlog::error("telemetry.skipped sink={} reason=\"{}\"", options_.name, batch.error().what);
      disk_->remove_oldest();
      return Millis{0};
    }
    deliver_one(std::move(*batch), true, call);
    return Millis{0};
  }
  auto batch = held_.empty() ? take_batch(false) : std::exchange(held_, {});
  if (batch.empty()) return until_due();
  deliver_one(std::move(batch), false, call);
  return Millis{0};
}

void Courier::flush(const Call& call) {
  while (!call.stop.stop_requested() && clock_.steady_now() < call.deadline && clock_.steady_now() >= not_before_) {
    if (disk_ && !disk_->empty()) break;  // the next start goes on in order
    auto batch = held_.empty() ? take_batch(true) : std::exchange(held_, {});
    if (batch.empty() || !deliver_one(std::move(batch), false, call)) break;
  }
  if (disk_) move_to_disk(true);
  uint64_t lost = held_.size();
  for (auto batch = take_batch(true); !batch.empty(); batch = take_batch(true)) lost += batch.size();
  held_.clear();
  if (lost > 0) count_dropped(lost, "stopped before they were delivered");
  tell_of_dropped(true);
}

void Courier::start(std::optional<DiskBuffer> disk) {
  disk_ = std::move(disk);
  if (disk_ && !disk_->empty()) spdlog::info("telemetry.left_over sink={} events={}", options_.name, disk_->lines());
  thread_ = std::thread([this] { run(); });
}

void Courier::run() {
  for (;;) {
    {
      std::scoped_lock lock(mutex_);
      if (closing_) break;
      kicked_ = false;
    }
    const Millis wait = turn({clock_.steady_now() + options_.try_time, abort_.get_token()});
    std::unique_lock lock(mutex_);
    counts_.waiting = held_.size() + (disk_ ? disk_->lines() : 0);
    if (wait > Millis{0}) changed_.wait_for(lock, wait, [&] { return closing_ || kicked_; });
  }
  flush({clock_.steady_now() + options_.stop_time, abort_.get_token()});
  {
    std::scoped_lock lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
}

void Courier::stop() {
  {
    std::unique_lock lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (!thread_.joinable()) return;
  {
    // Real time: a receiver that hangs may hold the end up for so long and no longer.
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, options_.stop_time, [&] { return ended_; });
  }
  abort_.request_stop();
  thread_.join();
  disk_.reset();
}

}  // namespace twinstep::telemetry
