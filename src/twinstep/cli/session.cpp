#include "twinstep/cli/session.h"

#include <filesystem>

#include "twinstep/workflows/facade_device.h"

namespace twinstep::cli {
namespace {

constexpr Millis kLockWithin{30'000};

}  // namespace

Result<config::Loaded> load_configuration(const CommandLine& line) {
  config::LoadOptions options;
  options.file = line.config_file;
  options.store = line.store;
  options.ca_file = line.ca_file;
  options.environment = config::process_environment();
  options.provider_settings = app::provider_settings;
  auto loaded = config::load(options);
  if (loaded)
    for (const std::string& warning : loaded->warnings) print_warning(warning);
  return loaded;
}

int fail_with(const Error& error, const CommandLine& line, std::stop_token stop) {
  if (error.kind == ErrorKind::kCancelled && stop.stop_requested()) {
    print_error({.kind = ErrorKind::kCancelled, .what = "stopped before anything was changed", .code = "cancelled"},
                line.json);
    return kError;  // main turns it into 130 or 143
  }
  print_error(error, line.json);
  for (const char* usage : {"config.", "yaml.", "definition.", "provider.", "file.", "hub.bad-connection-string",
                            "storage.", "usage.", "plan.other-"})
    if (error.code.starts_with(usage)) return kUsage;
  if (error.kind == ErrorKind::kInvalid && error.code.starts_with("key.")) return kUsage;
  return error.code == "plan.blocked" ? kBlocked : kError;
}

Result<std::unique_ptr<Session>> Session::open(const CommandLine& line, const std::string& link, bool lock) {
  auto session = std::make_unique<Session>();
  TRY_ASSIGN(session->loaded, load_configuration(line));
  const config::Config& config = session->loaded.config;
  TRY_ASSIGN(const config::Link* chosen, app::choose_link(config, link));
  if (lock && chosen->master != config::Master::kExternal)
    return fail(
        ErrorKind::kInvalid, "config.master-hub",
        fmt::format("link {} has the hub as master; plan, apply and sync work on links whose master is external",
                    chosen->name));
  TRY_ASSIGN(session->services, app::open_link(config, *chosen, real_clock(), Rng::real()));
  const std::string store(app::store_of(config).reveal());
  TRY_ASSIGN(session->state, store::StateFile::open(store, real_clock()));
  if (lock) {
    store::LinkLocks locks(session->state->database(), store, config.serve.lease, real_clock(), Rng::real());
    const std::string who = store::who_in_this_process("twinstep " + line.command);
    TRY_ASSIGN(session->lock,
               locks.take(chosen->name, {Rng::real().hex_id(), who}, {real_clock().steady_now() + kLockWithin, {}}));
  }
  session->progress = std::make_unique<TerminalProgress>(
      terminal_style(config::process_environment()), real_clock(),
      line.quiet ? TerminalProgress::Write([](std::string_view) {}) : TerminalProgress::Write(write_to_terminal));
  std::error_code ignored;
  const auto temporary = std::filesystem::temp_directory_path(ignored);
  session->context = std::make_unique<workflows::LinkContext>(workflows::LinkContext{
      config, *chosen, *session->services.hub_config, *session->services.hub.client, session->services.blobs.get(),
      *session->services.external, *session->state, real_clock(), Rng::real(), *session->progress,
      temporary.empty() ? std::string("/tmp") : temporary.string()});
  session->tasks = std::make_unique<store::WorkflowStore>(session->state->database());
  session->context->spared = [tasks = session->tasks.get(), chosen, grace = config.facade.grace](const DeviceId& id,
                                                                                                 const Call& call) {
    return workflows::why_spared(*tasks, *chosen, id, grace, real_clock(), call);
  };
  return session;
}

}  // namespace twinstep::cli
