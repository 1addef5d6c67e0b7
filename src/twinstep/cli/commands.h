#pragma once

#include <stop_token>

#include "twinstep/cli/command_line.h"

namespace twinstep::cli {

/// Runs the command and gives the exit code. `stop` ends it at the next safe point.
int run(const CommandLine& line, std::stop_token stop);

// One function per command; called by run().
int run_plan(const CommandLine& line, std::stop_token stop);
int run_apply(const CommandLine& line, std::stop_token stop);
int run_sync(const CommandLine& line, std::stop_token stop);
int run_diff(const CommandLine& line, std::stop_token stop);
int run_check(const CommandLine& line, std::stop_token stop);
int run_config(const CommandLine& line, std::stop_token stop);
int run_provider(const CommandLine& line, std::stop_token stop);
// These talk to the daemon.
int run_runs(const CommandLine& line, std::stop_token stop);
int run_tasks(const CommandLine& line, std::stop_token stop);
int run_approve(const CommandLine& line, std::stop_token stop);
int run_retry(const CommandLine& line, std::stop_token stop);
int run_cancel(const CommandLine& line, std::stop_token stop);
int run_explain(const CommandLine& line, std::stop_token stop);

}  // namespace twinstep::cli
