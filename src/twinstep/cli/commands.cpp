#include "twinstep/cli/commands.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <exception>
#include <string_view>
#include <typeinfo>

#include "twinstep/cli/terminal.h"
#include "twinstep/obs/log_context.h"

namespace twinstep::cli {
namespace {

struct Command {
  std::string_view name;
  int (*function)(const CommandLine&, std::stop_token);
};
constexpr std::array kCommands{
    Command{"plan", run_plan},         Command{"apply", run_apply}, Command{"sync", run_sync},
    Command{"diff", run_diff},         Command{"check", run_check}, Command{"config", run_config},
    Command{"provider", run_provider}, Command{"runs", run_runs},   Command{"tasks", run_tasks},
    Command{"approve", run_approve},   Command{"retry", run_retry}, Command{"cancel", run_cancel},
    Command{"explain", run_explain},   Command{"key", run_key},     Command{"store", run_store}};

void log_to_standard_error(int verbose) {
  auto logger = std::make_shared<spdlog::logger>("twinstep", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(verbose > 1 ? spdlog::level::debug : verbose == 1 ? spdlog::level::info : spdlog::level::warn);
  logger->set_formatter(obs::log_formatter());
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

int run(const CommandLine& line, std::stop_token stop, Hangup& hangup) {
  log_to_standard_error(line.verbose);
  const std::string_view first = std::string_view(line.command).substr(0, line.command.find(' '));
  try {
    if (first == "serve") return run_serve(line, stop, hangup);
    for (const Command& command : kCommands)
      if (command.name == first) return command.function(line, stop);
  } catch (const std::exception& bug) {  // a bug or a lost local world: say so instead of dying without a word
    print_error({.kind = ErrorKind::kCorrupt,
                 .what = fmt::format("internal error ({}): {}; please report it", typeid(bug).name(), bug.what()),
                 .code = "internal"},
                line.json);
    return kError;
  }
  print_error(
      {.kind = ErrorKind::kInvalid, .what = fmt::format("unknown command '{}'", line.command), .code = "usage.command"},
      line.json);
  return kUsage;
}

}  // namespace twinstep::cli
