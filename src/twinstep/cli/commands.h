#pragma once

#include <functional>
#include <mutex>
#include <stop_token>

#include "twinstep/cli/command_line.h"

namespace twinstep::cli {

/// What SIGHUP means at the moment: a stop request, or for a daemon that its configuration is to be read again.
///
/// Threads  any.
class Hangup {
 public:
  /// True when somebody listened and was told.
  bool tell() {
    std::scoped_lock lock(mutex_);
    if (listener_) listener_();
    return static_cast<bool>(listener_);
  }
  void listen(std::function<void()> listener) {
    std::scoped_lock lock(mutex_);
    listener_ = std::move(listener);
  }

 private:
  std::mutex mutex_;  // guards listener_, and is held while it runs
  std::function<void()> listener_;
};

/// Runs the command and gives the exit code. `stop` ends it at the next safe point.
int run(const CommandLine& line, std::stop_token stop, Hangup& hangup);

// One function per command; called by run().
int run_plan(const CommandLine& line, std::stop_token stop);
int run_apply(const CommandLine& line, std::stop_token stop);
int run_sync(const CommandLine& line, std::stop_token stop);
int run_diff(const CommandLine& line, std::stop_token stop);
int run_check(const CommandLine& line, std::stop_token stop);
int run_config(const CommandLine& line, std::stop_token stop);
int run_provider(const CommandLine& line, std::stop_token stop);
int run_serve(const CommandLine& line, std::stop_token stop, Hangup& hangup);
int run_key(const CommandLine& line, std::stop_token stop);
int run_store(const CommandLine& line, std::stop_token stop);
// These talk to the daemon.
int run_runs(const CommandLine& line, std::stop_token stop);
int run_tasks(const CommandLine& line, std::stop_token stop);
int run_approve(const CommandLine& line, std::stop_token stop);
int run_retry(const CommandLine& line, std::stop_token stop);
int run_cancel(const CommandLine& line, std::stop_token stop);
int run_explain(const CommandLine& line, std::stop_token stop);

}  // namespace twinstep::cli
