#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "twinstep/app/event_maker.h"
#include "twinstep/http/client.h"
#include "twinstep/store/notice_store.h"
#include "twinstep/telemetry/notice.h"

namespace twinstep::app {

/// Watches for what a person should know (blocked runs, lanes whose credentials are refused, backlogs) and tells it to
/// the channels of `notices:`, once for each condition and once more when it is over. What is to be said is a row in
/// the store: of many replicas one says it, and a channel that is away hears it later.
///
/// Threads   rested() any; start(), stop() from one; a thread of its own does the rest.
/// Blocking  rested() never; stop() until a channel that is being told gives up, a second at most.
class Notifier {
 public:
  /// All references outlive the notifier. `instance` is this host's name. Unknown hubs are told of as `unknown` counts
  /// them.
  Notifier(const config::Config& config, store::Database& database, EventMaker& events, http::Client& client,
           std::string instance, Clock& clock, Rng& rng);
  ~Notifier();  ///< stop()

  /// Counts of events by unknown hub, for EventOfUnknownHub.
  using Unknown = std::function<std::map<std::string, uint64_t>()>;
  void start(Unknown unknown);
  void stop();
  void rested(const engine::LaneRest& rest);

  /// For tests, instead of start(): one look at the store, one round of telling.
  void look(const Call& call);
  void tell(const Call& call);

 private:
  struct Channel {
    std::string id;  ///< of the configured entry; the same in every replica
    const telemetry::NoticeOptions* options;
  };
  void run(std::stop_token stop);
  void look_at_lanes(const std::vector<store::NoticeOpen>& open, const Call& call);
  void look_at_runs(const std::vector<store::NoticeOpen>& open, const Call& call);
  void look_at_pauses(const std::vector<store::NoticeOpen>& open, const Call& call);
  void look_at_backlog(const std::vector<store::NoticeOpen>& open, const Call& call);
  void look_at_unknown_hubs();
  /// Writes nothing when the store knows of it already and this process has named its channels.
  Status raise(const telemetry::Notice& notice, const std::vector<store::NoticeOpen>& open, const Call& call);
  Status resolve(telemetry::Notice notice, const Call& call);
  Status say(const Channel& channel, const telemetry::Notice& notice, const std::string& id, const Call& call);
  telemetry::Notice lane_notice(std::string_view kind, std::string_view lane) const;

  const config::Config& config_;
  store::NoticeStore notices_;
  store::WorkflowStore workflows_;
  EventMaker& events_;
  http::Client& client_;
  const std::string instance_;
  Clock& clock_;
  Rng& rng_;
  std::vector<Channel> channels_;
  Unknown unknown_;

  std::mutex mutex_;  // guards rests_ and kicked_
  std::condition_variable_any changed_;
  std::deque<engine::LaneRest> rests_;
  bool kicked_ = false;

  // Of the one thread that looks.
  std::set<std::string> raised_;
  std::set<std::string> backlogged_;
  SteadyTime backlog_at_{};
  std::map<std::string, uint64_t> unknown_told_;
  std::jthread thread_;
};

}  // namespace twinstep::app
