// check, config and provider: commands that only look.
#include <algorithm>

#include "twinstep/base/units.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/session.h"
#include "twinstep/config/schema.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/workflows/check.h"

namespace twinstep::cli {
namespace {

int print_checks(const CommandLine& line, const std::vector<workflows::CheckResult>& results) {
  const bool good = std::all_of(results.begin(), results.end(), [](const auto& one) { return one.ok; });
  if (line.json) {
    json::array out;
    for (const auto& one : results)
      out.push_back(json::object{
          {"check", one.what}, {"ok", one.ok}, {"warning", one.warning}, {"detail", one.detail}, {"mend", one.mend}});
    print(json::write(out) + "\n");
  } else {
    for (const auto& one : results) {
      print(fmt::format("{:<6}{}{}{}\n",
                        !one.ok       ? "FAIL"
                        : one.warning ? "warn"
                                      : "ok",
                        one.what, one.detail.empty() ? "" : ": ", one.detail));
      if (!one.mend.empty()) print(fmt::format("      {}\n", one.mend));
    }
  }
  return good ? kDone : kError;
}

int show(const CommandLine& line, const config::Loaded& loaded) {
  if (line.json) {
    json::array out;
    for (const auto& value : loaded.values)
      out.push_back(json::object{{"name", value.name}, {"value", value.value}, {"origin", value.origin}});
    print(json::write(out) + "\n");
    return kDone;
  }
  size_t name_width = 0, value_width = 0;
  for (const auto& value : loaded.values) {
    name_width = std::max(name_width, value.name.size());
    value_width = std::max(value_width, value.value.size());
  }
  for (const auto& value : loaded.values)
    print(fmt::format("{:<{}}  {:<{}}  {}\n", value.name, name_width, value.value, std::min<size_t>(value_width, 60),
                      value.origin));
  return kDone;
}

int try_provider(const CommandLine& line, std::stop_token stop) {
  auto loaded = load_configuration(line);
  if (!loaded) return fail_with(loaded.error(), line, stop);
  const config::External* external = loaded->config.find_external(line.name);
  if (!external) {
    std::vector<std::string> names;
    for (const auto& one : loaded->config.externals) names.push_back(one.name);
    const std::string meant = nearest(line.name, names);
    return fail_with({.kind = ErrorKind::kInvalid,
                      .what = fmt::format("there is no external system '{}' in the configuration{}", line.name,
                                          meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)),
                      .code = "config.unknown-name"},
                     line, stop);
  }
  auto services = app::open_external(loaded->config, *external, real_clock(), Rng::real());
  if (!services) return fail_with(services.error(), line, stop);
  const auto mapper = services->external->mapper();
  const auto& tags = services->external->tags();
  int shown = 0;
  std::string out;
  auto proof = services->external->first_page(
      [&](std::string_view item, const providers::ItemPlace& place) -> Status {
        if (shown >= 5) return {};
        ++shown;
        auto mapped = mapper->map(item);
        if (!mapped) {
          out += fmt::format("{}: invalid: {}\n", to_string(place), mapped.error().what);
          return {};
        }
        out += fmt::format("{}: deviceId {}{}\n", to_string(place), mapped->id,
                           mapper->selected() ? "" : " (left out by the filter)");
        for (size_t i = 0; i < tags.size(); ++i)
          out += fmt::format("    tags.{} = {}\n", tags[i].name(),
                             mapped->values[i].empty() ? "(no value)"
                             : tags[i].secret          ? "***"
                                                       : std::string(mapped->values[i]));
        return {};
      },
      [&](std::string_view, const providers::ItemPlace& place, std::string_view why) -> Status {
        out += fmt::format("{}: cannot be read: {}\n", to_string(place), why);
        return {};
      },
      {SteadyTime::max(), stop});
  if (!proof) return fail_with(proof.error(), line, stop);
  print(fmt::format("first page of {}: {} devices\n", line.name, proof->items) + out);
  return kDone;
}

}  // namespace

int run_check(const CommandLine& line, std::stop_token stop) {
  auto opened = Session::open(line, line.link, false);
  if (!opened) return fail_with(opened.error(), line, stop);
  return print_checks(line, workflows::check_link(*(*opened)->context, {SteadyTime::max(), stop}));
}

int run_config(const CommandLine& line, std::stop_token stop) {
  if (line.command == "config schema") {
    print(config::json_schema() + "\n");
    return kDone;
  }
  auto loaded = load_configuration(line);
  if (!loaded) return fail_with(loaded.error(), line, stop);
  if (line.command == "config show") return show(line, *loaded);
  print(fmt::format("the configuration is good: {} hubs, {} external systems, {} links\n", loaded->config.hubs.size(),
                    loaded->config.externals.size(), loaded->config.links.size()));
  return kDone;
}

int run_provider(const CommandLine& line, std::stop_token stop) {
  if (line.command == "provider try") return try_provider(line, stop);
  if (line.command == "provider list") {
    for (const std::string& name : providers::builtin_names()) print(name + "\n");
    return kDone;
  }
  auto definition = providers::load_definition(line.definition);
  if (!definition) return fail_with(definition.error(), line, stop);
  for (const std::string& warning : definition->warnings) print_warning(warning);
  print(fmt::format("definition {} is good: {} settings, {} tags\n", definition->name, definition->settings.size(),
                    definition->tags.size()));
  return kDone;
}

}  // namespace twinstep::cli
