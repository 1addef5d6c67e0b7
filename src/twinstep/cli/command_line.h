#pragma once

#include <string>
#include <vector>

#include "twinstep/config/config.h"

namespace twinstep::cli {

/// Exit codes, the same for every command.
enum Exit : int {
  kDone = 0,
  kError = 1,
  kChangesPending = 2,  ///< only with --exit-code
  kBlocked = 3,         ///< by the guard
  kSomeFailed = 4,
  kUsage = 64,
  kInterrupted = 130,
  kTerminated = 143,
};

/// What the user asked for, as plain values.
struct CommandLine {
  std::string command;  ///< "plan", "apply", "config show", ...; empty when `ended`
  // Everywhere
  std::string config_file;
  std::string store;
  std::string ca_file;
  bool json = false;
  int verbose = 0;
  bool quiet = false;
  // plan, apply, sync, check
  std::string link;
  std::string plan_file;  ///< plan -o, apply FILE
  std::string approve;
  std::string format;  ///< plan: text, json, csv; empty = by `json`
  bool all = false;
  bool exit_code = false;
  // diff
  std::string hub_file;
  std::string external_file;
  std::string provider;
  std::string items;
  bool summary = false;
  config::Scope scope = config::Scope::kOwned;
  config::Deletes deletes = config::Deletes::kDelete;
  std::string include;  ///< comma-separated kinds
  bool copy_secrets = false;
  // serve
  std::string listen;
  std::string operations;
  // provider
  std::string definition;  ///< check FILE
  std::string name;        ///< try NAME
  // runs, tasks, approve, retry, cancel, explain
  std::string url;     ///< of the daemon
  std::string id;      ///< of a run or task
  std::string device;  ///< explain DEVICE; a filter of tasks
  std::string state, code;
  int limit = 0;  ///< 0 = the daemon's usual page
  bool reject = false;
  std::string plan_id;
  bool yes = false;
  bool dry_run = false;

  std::string key;  ///< of the daemon: env:NAME or file:/path
  // key
  std::vector<std::string> scopes, hubs, ids, may;
  std::string rate, expires, overlap;
  // store rekey
  std::string new_key;

  bool ended = false;  ///< help, version or a usage error: print `text` and exit with `exit`
  int exit = kDone;
  std::string text;
};

/// Parses the arguments; never prints, never exits.
CommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace twinstep::cli
