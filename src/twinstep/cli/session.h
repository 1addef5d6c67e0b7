#pragma once

#include <memory>

#include "twinstep/app/services.h"
#include "twinstep/cli/command_line.h"
#include "twinstep/cli/terminal.h"
#include "twinstep/store/link_lock.h"
#include "twinstep/store/state_file.h"
#include "twinstep/store/workflow_store.h"

namespace twinstep::cli {

/// Loads the configuration of this command line and prints its warnings.
Result<config::Loaded> load_configuration(const CommandLine& line);

/// Prints the error and gives the exit code that fits: 64 for a mistake of the user's before anything was contacted.
int fail_with(const Error& error, const CommandLine& line, std::stop_token stop);

/// Everything that plan, apply, sync and check need for one link.
class Session {
 public:
  /// `lock` keeps other processes away from the link, on this machine or wherever the store is shared, for work that
  /// changes something: that takes a link whose master is external. Others may be looked at.
  static Result<std::unique_ptr<Session>> open(const CommandLine& line, const std::string& link, bool lock);

  /// For everything that is done with the link: nothing is changed any more once the lock is lost.
  Call call(std::stop_token stop) const { return {SteadyTime::max(), std::move(stop), lock.get()}; }

  config::Loaded loaded;
  app::LinkServices services;
  std::unique_ptr<store::StateFile> state;
  std::unique_ptr<store::WorkflowStore> tasks;  ///< of the same store
  std::unique_ptr<store::LinkLock> lock;
  std::unique_ptr<TerminalProgress> progress;
  std::unique_ptr<workflows::LinkContext> context;
};

}  // namespace twinstep::cli
