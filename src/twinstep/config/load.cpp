#include "twinstep/config/load.h"

#include <unistd.h>

#include <filesystem>

#include "twinstep/config/draft.h"
#include "twinstep/config/keys.h"

extern char** environ;

namespace twinstep::config {
namespace {

std::string find_file(const Draft& draft) {
  if (!draft.options.file.empty()) return draft.options.file;
  if (const auto named = draft.environment.get("TWINSTEP_CONFIG")) return *named;
  std::error_code ignored;
  return std::filesystem::exists("twinstep.yaml", ignored) ? std::string("twinstep.yaml") : std::string();
}

/// Which link a device made by the façade belongs to must be plain, where somebody wants the façade.
Status check_facade(Draft& draft) {
  const Config& config = draft.loaded.config;
  for (const Link& link : config.links)
    if (link.facade.value_or(false) && link.master != Master::kExternal)
      return fail(ErrorKind::kInvalid, "config.facade",
                  fmt::format("link {}: facade: true needs an external system as master", link.name));
  if (!config.facade.enabled) return {};
  for (const Hub& hub : config.hubs) {
    const auto links = config.facade_links(hub.name);
    if (links.size() > 1) {
      std::string names;
      for (const Link* link : links) names += (names.empty() ? "" : ", ") + link->name;
      const std::string text = fmt::format(
          "hub {}: the facade cannot tell which of the links {} its devices belong to; write 'facade: true' at one "
          "of them",
          hub.name, names);
      if (draft.facade_asked_for) return fail(ErrorKind::kInvalid, "config.facade", text);
      draft.loaded.warnings.push_back(text + ", or 'facade: {enabled: false}'");
    }
    if (links.size() == 1 && config.facade.soft_delete && links.front()->deletes == Deletes::kDelete)
      draft.loaded.warnings.push_back(
          fmt::format("link {}: runs delete what the facade only disables, because the link says 'deletes: delete'; "
                      "'deletes: disable' keeps the keys",
                      links.front()->name));
  }
  return {};
}

Status check(Draft& draft) {
  const Otlp& otlp = draft.loaded.config.otlp;
  if (!otlp.traces_endpoint.empty() && !otlp.traces_endpoint.starts_with("http://") &&
      !otlp.traces_endpoint.starts_with("https://"))
    return fail(ErrorKind::kInvalid, "config.otlp",
                "telemetry.otlp: the endpoint must begin with http:// or https:// (OTLP over gRPC is not spoken)");
  for (const Hub& hub : draft.loaded.config.hubs) {
    // Against a real hub it would only bring refusals, so a variable left over from a rehearsal must not reach one.
    if (hub.time_factor != 1 && hub.host.find(".azure-devices.") != std::string::npos)
      return fail(ErrorKind::kInvalid, "config.time-factor",
                  fmt::format("hub {}: time_factor (TWINSTEP_TIME_FACTOR) is for a simulated hub, and {} is a real one",
                              hub.name, hub.host));
  }
  for (const auto& [name, text] : {std::pair{"serve.listen", draft.loaded.config.serve.listen},
                                   {"serve.operations", draft.loaded.config.serve.operations}})
    if (auto address = parse_listen(text); !address) return fail_within(std::move(address), name);
  for (Link& link : draft.loaded.config.links) {
    if (!draft.loaded.config.find_hub(link.hub))
      return fail(ErrorKind::kInvalid, "config.unknown-name",
                  fmt::format("link {}: there is no hub '{}'", link.name, link.hub));
    if (!draft.loaded.config.find_external(link.external))
      return fail(ErrorKind::kInvalid, "config.unknown-name",
                  fmt::format("link {}: there is no external system '{}'", link.name, link.external));
    // As they are spelled where they are defined: lanes and budgets go by these names.
    link.hub = draft.loaded.config.find_hub(link.hub)->name;
    link.external = draft.loaded.config.find_external(link.external)->name;
    if (link.name.find_first_of("\"\\\n") != std::string::npos || link.name.size() > 128)
      return fail(ErrorKind::kInvalid, "config.bad-name",
                  fmt::format("link name '{}' must have at most 128 characters and no quotes", link.name));
  }
  return check_facade(draft);
}

}  // namespace

void Draft::set_ca_file(const std::string& path, std::string from) {
  loaded.config.ca_file = path;
  origin["ca_file"] = std::move(from);
}

Status Draft::set_store(const std::string& text, const std::string& from) {
  auto store = resolve_secret(text, lookup);
  if (!store) return fail_within(std::move(store), from);
  if (auto named = check_store(*store); !named) return fail_within(std::move(named), from);
  loaded.config.store = std::move(*store);
  origin["store"] = from;
  return {};
}

std::string traces_endpoint(std::string collector) {
  while (collector.ends_with('/')) collector.pop_back();
  return collector + "/v1/traces";
}

std::map<std::string, std::string> process_environment() {
  std::map<std::string, std::string> out;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos) out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

Result<Loaded> load(const LoadOptions& options) {
  Draft draft(options);
  if (const std::string file = find_file(draft); !file.empty()) TRY(read_file(draft, file));
  TRY(read_environment(draft));
  std::string& state_folder = draft.loaded.config.state_folder;
  if (const auto state = draft.environment.get("XDG_STATE_HOME"))
    state_folder = *state + "/twinstep";
  else if (const auto home = draft.environment.get("HOME"))
    state_folder = *home + "/.local/state/twinstep";
  TRY(check(draft));
  Loaded& out = draft.loaded;
  out.warnings.insert(out.warnings.begin(), draft.warnings.begin(), draft.warnings.end());
  out.values = describe(draft);
  return std::move(out);
}

std::string_view to_string(Tier tier) { return tier_names()[static_cast<size_t>(tier)]; }
std::string_view to_string(Scope scope) { return scope == Scope::kOwned ? "owned" : "whole-hub"; }
std::string_view to_string(Deletes deletes) {
  switch (deletes) {
    case Deletes::kDelete:
      return "delete";
    case Deletes::kDisable:
      return "disable";
    case Deletes::kNever:
      break;
  }
  return "never";
}
std::string to_string(const Limit& limit) {
  if (limit.count) return fmt::format("{}", *limit.count);
  return limit.percent ? fmt::format("{}%", *limit.percent) : "none";
}

}  // namespace twinstep::config
