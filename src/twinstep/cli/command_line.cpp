#include "twinstep/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <sstream>

#include "twinstep/base/units.h"
#include "twinstep/version.h"

namespace twinstep::cli {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 error, 2 changes pending (only with --exit-code), 3 blocked by the guard, 4 some devices\n"
    "failed, 64 usage, 130 and 143 interrupted.";

void add_link(CLI::App& command, CommandLine& out) {
  command.add_option("link", out.link, "name of the link; may be left out when there is only one");
}

const std::vector<std::string> kStates{"queued", "waiting", "running", "blocked", "done", "failed", "cancelled"};

void add_key_option(CLI::App& command, CommandLine& out) {
  command.add_option("--key", out.key, "env:NAME or file:/path of a key for the daemon; else the key in $TWINSTEP_KEY");
}

/// What the commands that talk to the daemon share.
CLI::App* add_daemon_command(CLI::App& app, CommandLine& out, const char* name, const char* text) {
  CLI::App* command = app.add_subcommand(name, text);
  command->add_option("--url", out.url, "where the daemon is; else $TWINSTEP_URL, else serve.operations");
  add_key_option(*command, out);
  command->footer(kExitCodes);
  return command;
}

void add_filter(CLI::App& command, CommandLine& out, bool tasks) {
  command.add_option("--link", out.link, "only of this link");
  command.add_option("--state", out.state, "only in this state")->check(CLI::IsMember(kStates));
  if (!tasks) return;
  command.add_option("--device", out.device, "only of this device, in any spelling");
  command.add_option("--code", out.code, "only with this code");
}

void add_pages(CLI::App& command, CommandLine& out) {
  command.add_option("--limit", out.limit, "most lines of a page; 100 when not given")->check(CLI::Range(1, 1000));
  command.add_flag("--all", out.all, "every page");
}

void add_daemon_commands(CLI::App& app, CommandLine& out) {
  auto* runs = add_daemon_command(app, out, "runs", "synchronizations of the daemon, or one of them");
  runs->add_option("run", out.id, "id of a run: everything about it");
  add_filter(*runs, out, false);
  add_pages(*runs, out);

  auto* tasks = add_daemon_command(app, out, "tasks", "what the daemon does for single devices, or one of them");
  tasks->add_option("task", out.id, "id of a task: everything about it");
  add_filter(*tasks, out, true);
  add_pages(*tasks, out);

  auto* approve = add_daemon_command(app, out, "approve", "let a run go on that the guard blocked, or end it");
  approve->add_option("run", out.id, "id of the run")->required();
  approve->add_flag("--reject", out.reject, "end it instead");
  approve->add_option("--plan", out.plan_id, "id of the plan that you looked at; another one is refused");
  approve->add_flag("-y,--yes", out.yes, "do not ask");

  auto* retry = add_daemon_command(app, out, "retry", "try a run or task again now, or all tasks of a filter");
  auto* cancel = add_daemon_command(app, out, "cancel", "end a run or task, or all tasks of a filter");
  for (auto* command : {retry, cancel}) {
    command->add_option("id", out.id, "id of a run or task");
    add_filter(*command, out, true);
    command->add_flag("--all", out.all, "all tasks, without any other filter");
    command->add_flag("--dry-run", out.dry_run, "only count the tasks");
  }
  cancel->add_flag("-y,--yes", out.yes, "do not ask before many are ended");

  auto* explain = add_daemon_command(app, out, "explain", "how a device stands in both registries, and why");
  explain->add_option("device", out.device, "device id")->required();
  explain->add_option("--link", out.link, "only of this link");
}

/// Keys and what is sealed: in the store itself, or at a daemon.
void add_key_commands(CLI::App& app, CommandLine& out) {
  auto* key = app.add_subcommand("key", "who may use the daemon: make, list, revoke and rotate keys");
  key->require_subcommand(1);
  auto* create = key->add_subcommand("create", "make a key; it is shown once");
  create->add_option("--name", out.name, "name of the key")->required();
  create
      ->add_option("--scope", out.scopes, "events, facade (when not given), read, operate, admin; several with commas")
      ->delimiter(',');
  create->add_option("--hubs", out.hubs, "facade: only these hubs")->delimiter(',');
  create->add_option("--ids", out.ids, "facade: only device ids that fit one of these; * any text, ? one character")
      ->delimiter(',');
  create->add_option("--may", out.may, "facade: create, delete, read; all when not given")->delimiter(',');
  create->add_option("--rate", out.rate, "requests, such as 10/s, 600/m, 1000/h");
  create->add_option("--expires", out.expires, "ends after that time, such as 90d");
  create->footer(
      "Example: twinstep key create --name tp --hubs contoso --ids 'lora-*' --may create,delete --rate 10/s");
  auto* list = key->add_subcommand("list", "all keys, revoked ones too; never what is shown to use one");
  auto* revoke = key->add_subcommand("revoke", "end a key: here at once, at running daemons within 5 s");
  auto* rotate = key->add_subcommand("rotate", "give a key another text; the one before works on for a while");
  // Not "key": younger versions of CLI11 take it for the same option as --key.
  for (auto* command : {revoke, rotate}) command->add_option("name", out.id, "name or id of the key")->required();
  rotate->add_option("--overlap", out.overlap, "how long the text before works on; 24h when not given");
  for (auto* command : {create, list, revoke, rotate}) {
    command->add_option("--url", out.url, "ask the daemon there; else the store is opened");
    add_key_option(*command, out);
    command->footer(command->get_footer().empty() ? kExitCodes : command->get_footer() + "\n" + kExitCodes);
  }

  auto* store = app.add_subcommand("store", "look after the store");
  store->require_subcommand(1);
  auto* rekey = store->add_subcommand("rekey", "seal everything that is sealed with store_key, or with a new key");
  rekey->add_option("--new-key", out.new_key, "env:NAME or file:/path of the key that comes after store_key");
  rekey->footer(std::string("May be repeated. Afterwards write the new key as store_key and restart the daemons.\n") +
                kExitCodes);
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CommandLine out;
  CLI::App app("twinstep keeps Azure IoT Hub and another device registry in step.", "twinstep");
  app.footer(std::string("Settings come from flags, environment variables, and twinstep.yaml, in this order.\n") +
             kExitCodes);
  app.set_version_flag("--version", std::string("twinstep ") + kVersion);
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--config", out.config_file, "configuration file; else $TWINSTEP_CONFIG, else ./twinstep.yaml");
  app.add_option("--store", out.store, "sqlite:PATH or postgresql://..., or env:NAME or file:/path that holds it");
  app.add_option("--ca-file", out.ca_file, "PEM file to trust instead of the system's authorities");
  std::string output = "text";
  app.add_option("--output", output, "text or json")->check(CLI::IsMember({"text", "json"}));
  app.add_flag("-v,--verbose", out.verbose, "log more to standard error; twice for every request");
  app.add_flag("-q,--quiet", out.quiet, "no progress");

  auto* plan =
      app.add_subcommand("plan", "list both registries, print the changes and what the guard says; writes nothing");
  add_link(*plan, out);
  plan->add_option("-o,--out", out.plan_file, "write the plan to this file, for apply");
  plan->add_option("--format", out.format, "text, json or csv")->check(CLI::IsMember({"text", "json", "csv"}));
  plan->add_flag("--all", out.all, "print every change, not only the first 20 of each kind");
  plan->add_flag("--exit-code", out.exit_code, "exit with 2 when there are changes");
  plan->footer(std::string("Example: twinstep plan -o plan.json && twinstep apply plan.json\n") + kExitCodes);

  auto* apply =
      app.add_subcommand("apply", "execute exactly one plan, once; stale, used, expired or edited plans are refused");
  apply->add_option("plan", out.plan_file, "file made by twinstep plan -o")->required();
  apply->add_option("--approve", out.approve, "id of the plan, when the guard blocked it and you looked at it");
  apply->footer(kExitCodes);

  auto* sync = app.add_subcommand("sync", "plan, guard and apply in one go");
  add_link(*sync, out);
  sync->footer(kExitCodes);

  auto* diff =
      app.add_subcommand("diff", "compare an export of the hub and an external listing, both as files; no network");
  diff->add_option("--hub", out.hub_file, "export of the hub (devices.txt)")->required();
  diff->add_option("--external", out.external_file, "listing: JSON array, NDJSON, CSV, or pages one after the other")
      ->required();
  diff->add_option("--provider", out.provider, "built-in definition or path of one; it says how the listing is read")
      ->required();
  diff->add_flag("--summary", out.summary, "counts only");
  std::string scope = "owned", deletes = "delete";
  diff->add_option("--scope", scope, "owned or whole-hub")->check(CLI::IsMember({"owned", "whole-hub"}));
  diff->add_option("--link", out.link, "name of the link that owns devices (default: default)");
  diff->add_option("--deletes", deletes, "delete, disable or never")
      ->check(CLI::IsMember({"delete", "disable", "never"}));
  diff->add_option("--include", out.include, "also manage these kinds: edge,modules,certificates");
  diff->add_flag("--copy-secrets", out.copy_secrets, "compare and copy secret tags too");
  diff->add_flag("--exit-code", out.exit_code, "exit with 2 when there are changes");
  diff->footer(
      std::string(
          "Example: twinstep diff --hub devices.txt --external thingpark.json --provider actility --summary\n") +
      kExitCodes);

  auto* check = app.add_subcommand("check", "probe every remote: reachability, credentials, rights, clock, paging");
  add_link(*check, out);
  check->footer(kExitCodes);

  auto* serve = app.add_subcommand(
      "serve", "the daemon: takes the hub's events, keeps devices in step in real time and by schedule");
  serve->add_option("--listen", out.listen, "ADDRESS:PORT of webhook and API; else serve.listen");
  serve->add_option("--operations", out.operations, "ADDRESS:PORT of health; else serve.operations");
  serve->footer(
      "SIGTERM ends it at the next safe point, SIGHUP makes it read its configuration again, kill -9 loses nothing.\n"
      "Example: twinstep --store sqlite:/var/lib/twinstep/twinstep.db serve --listen 127.0.0.1:8080");

  auto* config = app.add_subcommand("config", "look at the configuration");
  config->require_subcommand(1);
  config->add_subcommand("check", "validate it; contacts nothing");
  config->add_subcommand("show", "effective values and where each comes from; secrets as ***");
  config->add_subcommand("schema", "JSON Schema of the configuration file");

  auto* provider = app.add_subcommand("provider", "look at external systems' definitions");
  provider->require_subcommand(1);
  provider->add_subcommand("list", "names of the built-in definitions");
  auto* provider_check = provider->add_subcommand("check", "validate a definition file or a built-in one");
  provider_check->add_option("definition", out.definition, "file or name")->required();
  auto* provider_try =
      provider->add_subcommand("try", "list one page and show how five devices are mapped; changes nothing");
  provider_try->add_option("name", out.name, "external system of the configuration")->required();

  add_daemon_commands(app, out);
  add_key_commands(app, out);

  try {
    app.parse(argc, const_cast<char**>(argv));
  } catch (const CLI::ParseError& end) {  // the library's way to report help, version and usage errors
    out.ended = true;
    std::ostringstream text, errors;
    const int code = app.exit(end, text, errors);
    out.text = text.str() + errors.str();
    out.exit = code == 0 ? kDone : kUsage;
    if (code != 0) {
      for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word.starts_with("-")) continue;
        std::vector<std::string> names;
        for (const auto* command : app.get_subcommands({})) names.push_back(command->get_name());
        if (std::find(names.begin(), names.end(), word) != names.end()) break;
        if (const std::string meant = nearest(word, names); !meant.empty())
          out.text += fmt::format("'{}' is no command; did you mean '{}'?\n", word, meant);
        break;
      }
    }
    return out;
  }
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    out.command += (out.command.empty() ? "" : " ") + at->get_name();
  }
  out.json = output == "json";
  out.scope = scope == "owned" ? config::Scope::kOwned : config::Scope::kWholeHub;
  out.deletes = deletes == "delete"    ? config::Deletes::kDelete
                : deletes == "disable" ? config::Deletes::kDisable
                                       : config::Deletes::kNever;
  return out;
}

}  // namespace twinstep::cli
