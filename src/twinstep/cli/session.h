#pragma once

#include <memory>
#include <optional>

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
  /// `lock` keeps other processes away from the link.
  static Result<std::unique_ptr<Session>> open(const CommandLine& line, const std::string& link, bool lock);

  config::Loaded loaded;
  app::LinkServices services;
  std::unique_ptr<store::StateFile> state;
  std::unique_ptr<store::WorkflowStore> tasks;  ///< of the same store
  std::optional<store::LinkLock> lock;
  std::unique_ptr<TerminalProgress> progress;
  std::unique_ptr<workflows::LinkContext> context;
};

}  // namespace twinstep::cli
