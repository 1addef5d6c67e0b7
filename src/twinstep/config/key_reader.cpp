#include "twinstep/config/key_reader.h"

#include <algorithm>
#include <stdexcept>

namespace twinstep::config {

KeyReader::KeyReader(const yaml::Node& node, yaml::Diagnostics& diagnostics, std::string what, const Section& keys)
    : node_(node), diagnostics_(diagnostics), what_(std::move(what)), keys_(keys), map_(node, diagnostics, what_) {
  for (const Key& one : keys.keys) {
    if (!one.required) continue;
    if (one.if_missing.empty())
      map_.need(one.name);
    else if (!map_.get(one.name))
      diagnostics.error(node, fmt::format("config.{}-missing", one.name), one.if_missing);
  }
}

const Key& KeyReader::key(std::string_view name, KeyType type) {
  const Key* found = keys_.find(name);
  if (!found || found->type != type)
    throw std::logic_error(fmt::format("the table of configuration keys has no such '{}' for {}", name, what_));
  read_.insert(found);
  return *found;
}

std::optional<std::string> KeyReader::text(std::string_view name) {
  key(name, KeyType::kText);
  return map_.text(name);
}

std::optional<bool> KeyReader::boolean(std::string_view name) {
  key(name, KeyType::kBoolean);
  return map_.boolean(name);
}

std::optional<int64_t> KeyReader::integer(std::string_view name) {
  const Key& one = key(name, KeyType::kInteger);
  return map_.integer(name, one.least, one.most);
}

std::optional<Millis> KeyReader::duration(std::string_view name) {
  key(name, KeyType::kDuration);
  return map_.duration(name);
}

std::optional<uint64_t> KeyReader::size(std::string_view name) {
  key(name, KeyType::kSize);
  return map_.size(name);
}

std::vector<std::string> KeyReader::texts(std::string_view name) {
  key(name, KeyType::kTexts);
  return map_.texts(name);
}

std::optional<Limit> KeyReader::limit(std::string_view name) {
  key(name, KeyType::kLimit);
  const auto text = map_.text(name);
  if (!text) return {};
  auto parsed = parse_limit(*text);
  if (parsed) return *parsed;
  diagnostics_.error(*at(name), parsed.error().code, parsed.error().what);
  return {};
}

std::optional<size_t> KeyReader::choice(std::string_view name) {
  return map_.choice(name, key(name, KeyType::kChoice).choices);
}

std::set<size_t> KeyReader::choices(std::string_view name) {
  const std::vector<std::string>& known = key(name, KeyType::kChoices).choices;
  std::set<size_t> out;
  for (const std::string& text : map_.texts(name)) {
    const auto found = std::find(known.begin(), known.end(), text);
    if (found != known.end())
      out.insert(static_cast<size_t>(found - known.begin()));
    else
      diagnostics_.error(
          *at(name), "yaml.choice",
          fmt::format("'{}' of {} holds '{}'; it may hold {}", name, what_, text, fmt::join(known, ", ")));
  }
  return out;
}

const yaml::Node* KeyReader::section(std::string_view name) {
  key(name, KeyType::kSection);
  return map_.get(name);  // the section's own reader complains when it is no map
}

const yaml::Node* KeyReader::settings(std::string_view name) { return map_of(name, KeyType::kSettings); }
const yaml::Node* KeyReader::named_sections(std::string_view name) { return map_of(name, KeyType::kNamedSections); }

const yaml::Node* KeyReader::map_of(std::string_view name, KeyType type) {
  key(name, type);
  const yaml::Node* found = map_.get(name);
  if (!found || found->is_map() || found->is_null()) return found;
  diagnostics_.error(*found, "yaml.type", fmt::format("'{}' of {} must be a map of names", name, what_));
  return nullptr;
}

const yaml::Node* KeyReader::section_list(std::string_view name) {
  key(name, KeyType::kSectionList);
  const yaml::Node* found = map_.get(name);
  if (!found || found->is_sequence()) return found;
  diagnostics_.error(*found, "yaml.type",
                     fmt::format("'{}' must be a list: each entry begins with '- name: ...'", name));
  return nullptr;
}

std::optional<Secret> KeyReader::secret(std::string_view name, const EnvironmentLookup& environment) {
  key(name, KeyType::kSecret);
  return read_secret(map_, name, diagnostics_, environment);
}

void KeyReader::finish() {
  for (const Key& one : keys_.keys)
    if (!read_.contains(&one))
      throw std::logic_error(fmt::format("nobody reads the configuration key '{}' of {}", one.name, what_));
  map_.finish();
}

std::optional<Secret> read_secret(yaml::MapReader& map, std::string_view name, yaml::Diagnostics& diagnostics,
                                  const EnvironmentLookup& environment) {
  const auto text = map.text(name);
  if (!text) return {};
  auto value = resolve_secret(*text, environment);
  if (value) return std::move(*value);
  diagnostics.error(*map.get(name), value.error().code, value.error().what);
  return {};
}

}  // namespace twinstep::config
