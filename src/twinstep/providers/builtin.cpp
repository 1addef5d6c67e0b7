#include "twinstep/providers/builtin.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "twinstep/base/units.h"
#include "twinstep/providers/file_registry.h"
#include "twinstep/providers/http_registry.h"

namespace twinstep::providers {

namespace {

struct Builtin {
  std::string_view name;
  std::string_view text;
};
constexpr Builtin kBuiltins[] = {
#include "twinstep/providers/builtin_definitions.inc"
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

Status check_rate(const Definition& definition, const RateSpec& rate, const std::map<std::string, Secret>& settings) {
  const Scope scope{&settings, nullptr, {}};
  TRY_ASSIGN(const std::string text, rate.per_second.expand(scope));
  double value = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), value);
  if (r.ec == std::errc{} && r.ptr == text.data() + text.size() && value > 0 && value <= 1e6) return {};
  return fail(ErrorKind::kInvalid, "provider.bad-setting",
              fmt::format("provider {}: the rate limit {} must be a number of requests per second above 0",
                          definition.name, rate.per_second.text()));
}

}  // namespace

std::vector<std::string> builtin_names() {
  std::vector<std::string> out;
  for (const Builtin& builtin : kBuiltins) out.emplace_back(builtin.name);
  std::sort(out.begin(), out.end());
  return out;
}

Result<Definition> load_definition(const std::string& name_or_path) {
  const auto ends = [&](std::string_view end) { return name_or_path.ends_with(end); };
  if (name_or_path.find('/') != std::string::npos || ends(".yaml") || ends(".yml") || ends(".json")) {
    std::ifstream in(name_or_path, std::ios::binary);
    std::ostringstream text;
    if (in) text << in.rdbuf();
    if (!in || in.bad()) {
      return fail(ErrorKind::kNotFound, "file.unreadable",
                  fmt::format("{}: the provider definition cannot be read", name_or_path));
    }
    return parse_definition(text.str(), name_or_path);
  }
  for (const Builtin& builtin : kBuiltins) {
    if (builtin.name == lower(name_or_path))
      return parse_definition(builtin.text, fmt::format("{}.yaml (built in)", builtin.name));
  }
  std::string list;
  for (const std::string& name : builtin_names()) list += (list.empty() ? "" : ", ") + name;
  const std::string meant = nearest(name_or_path, builtin_names());
  return fail(ErrorKind::kInvalid, "provider.unknown",
              fmt::format("unknown provider '{}'; {}built in are: {}; a path to a definition file works too",
                          name_or_path, meant.empty() ? "" : fmt::format("did you mean '{}'? ", meant), list));
}

Result<std::unique_ptr<ExternalRegistry>> open(const Definition& definition, std::map<std::string, Secret> settings,
                                               http::Client& transport, Clock& clock, Rng& rng) {
  std::vector<std::string> names;
  for (const SettingSpec& spec : definition.settings) names.push_back(spec.name);
  for (const auto& [name, value] : settings) {
    if (definition.find_setting(name)) continue;
    const std::string meant = nearest(name, names);
    return fail(ErrorKind::kInvalid, "provider.unknown-setting",
                fmt::format("provider {} has no setting '{}'{}", definition.name, name,
                            meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
  }
  std::string missing;
  for (const SettingSpec& spec : definition.settings) {
    auto given = settings.find(spec.name);
    if (given != settings.end() && !given->second.empty()) continue;
    if (spec.fallback) {
      settings[spec.name] = Secret(*spec.fallback);
    } else if (spec.required) {
      missing += fmt::format("{}{}{}", missing.empty() ? "" : ", ", spec.name,
                             spec.env.empty() ? "" : fmt::format(" (environment variable {})", spec.env));
    }
  }
  if (!missing.empty()) {
    return fail(ErrorKind::kInvalid, "provider.missing-settings",
                fmt::format("provider {} lacks settings: {}", definition.name, missing));
  }
  if (definition.limits.all) TRY(check_rate(definition, *definition.limits.all, settings));
  for (const auto& [name, rate] : definition.limits.operations) TRY(check_rate(definition, rate, settings));
  if (definition.from_file) return make_file_registry(definition, std::move(settings));
  return make_http_registry(definition, std::move(settings), transport, clock, rng);
}

}  // namespace twinstep::providers
