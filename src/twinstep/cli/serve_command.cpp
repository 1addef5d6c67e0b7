#include <spdlog/spdlog.h>

#include <condition_variable>

#include "twinstep/app/daemon.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/session.h"
#include "twinstep/config/values.h"

namespace twinstep::cli {
namespace {

/// The configuration with the flags of this command on top.
Result<std::shared_ptr<const config::Config>> configuration(const CommandLine& line) {
  TRY_ASSIGN(config::Loaded loaded, load_configuration(line));
  auto out = std::make_shared<config::Config>(std::move(loaded.config));
  if (!line.listen.empty()) out->serve.listen = line.listen;
  if (!line.operations.empty()) out->serve.operations = line.operations;
  for (const auto& [flag, text] : {std::pair{"--listen", out->serve.listen}, {"--operations", out->serve.operations}})
    if (auto address = config::parse_listen(text); !address) return fail_within(std::move(address), flag);
  if (out->links.empty()) {
    auto none = app::choose_link(*out, "");
    return fail(none.error());
  }
  return std::shared_ptr<const config::Config>(std::move(out));
}

}  // namespace

int run_serve(const CommandLine& line, std::stop_token stop, Hangup& hangup) {
  if (!line.quiet && line.verbose == 0) spdlog::set_level(spdlog::level::info);
  auto config = configuration(line);
  if (!config) return fail_with(config.error(), line, stop);
  auto daemon = app::Daemon::start(*config, real_clock(), Rng::real());
  if (!daemon) return fail_with(daemon.error(), line, stop);
  app::Daemon& running = **daemon;

  hangup.listen([&] {
    running.renew_certificate();
    auto fresh = configuration(line);
    std::vector<std::string> warnings;
    Status reloaded = fresh ? running.reload(*fresh, warnings) : Status(fail(fresh.error()));
    for (const std::string& warning : warnings) spdlog::warn("configuration.later text=\"{}\"", warning);
    if (reloaded)
      spdlog::info("configuration.reloaded links={}", (*fresh)->links.size());
    else
      spdlog::error("configuration.refused reason=\"{}\" next=\"the one before stays in force\"",
                    reloaded.error().what);
  });
  // The first line says where it listens, for people and for programs that start it with port 0.
  const std::string trouble = running.public_trouble();
  json::object where{
      {"listen", running.port()}, {"operations", running.operations_port()}, {"working", running.working()}};
  if (!trouble.empty()) where["publicListener"] = trouble;
  print(line.json ? json::write(where) + "\n"
                  : fmt::format("twinstep serves on port {}, operations on port {}{}\n", running.port(),
                                running.operations_port(),
                                trouble.empty() ? "" : fmt::format(" (public listener: {})", trouble)));
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait(lock, stop, [] { return false; });
  hangup.listen({});
  spdlog::info("daemon.stopping");
  running.stop();
  return kDone;
}

}  // namespace twinstep::cli
