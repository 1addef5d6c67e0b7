#include "twinstep/config/schema.h"

#include "twinstep/config/keys.h"

namespace twinstep::config {
namespace {

json::object reference(const char* definition) { return {{"$ref", fmt::format("#/$defs/{}", definition)}}; }

json::array names(const std::vector<std::string>& list) { return json::array(list.begin(), list.end()); }

json::object section_schema(const Section& section);

json::object type_schema(const Key& key) {
  switch (key.type) {
    case KeyType::kText:
      return {{"type", "string"}};
    case KeyType::kSecret:
      if (!key.pattern.empty()) return {{"type", "string"}, {"pattern", key.pattern}};
      return reference("secret");
    case KeyType::kBoolean:
      return {{"type", "boolean"}};
    case KeyType::kInteger:
      return {{"type", "integer"}, {"minimum", key.least}, {"maximum", key.most}};
    case KeyType::kDuration:
      return reference("duration");
    case KeyType::kSize:
      return reference("size");
    case KeyType::kLimit:
      return reference("limit");
    case KeyType::kTexts: {
      const json::object one{{"type", "string"}};
      return {{"anyOf", {one, {{"type", "array"}, {"items", one}}}}};
    }
    case KeyType::kChoice:
      return {{"enum", names(key.choices)}};
    case KeyType::kChoices: {
      const json::object one{{"enum", names(key.choices)}};
      return {{"anyOf", {one, {{"type", "array"}, {"items", one}}}}};
    }
    case KeyType::kSection:
      return section_schema(*key.section);
    case KeyType::kNamedSections:
      return {{"type", "object"}, {"additionalProperties", section_schema(*key.section)}};
    case KeyType::kSectionList:
      return {{"type", "array"}, {"items", section_schema(*key.section)}};
    case KeyType::kSettings:
      break;
  }
  return {{"type", "object"}, {"additionalProperties", reference("secret")}};
}

json::object section_schema(const Section& section) {
  json::object properties;
  json::array required;
  for (const Key& key : section.keys) {
    json::object one = type_schema(key);
    if (!key.description.empty()) one["description"] = key.description;
    if (!key.otherwise.is_null()) one["default"] = key.otherwise;
    properties[key.name] = std::move(one);
    if (key.required) required.emplace_back(key.name);
  }
  json::object out{{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
  if (!required.empty()) out["required"] = std::move(required);
  return out;
}

/// With two spaces per level; people read it too.
void indent(const json::value& value, std::string& out, size_t depth) {
  if (!value.is_object() || value.as_object().empty()) {
    out += json::write(value);
    return;
  }
  out += "{";
  const char* before = "\n";
  for (const auto& [name, member] : value.as_object()) {
    out += before + std::string(2 * depth + 2, ' ') + json::write(json::value(name)) + ": ";
    indent(member, out, depth + 1);
    before = ",\n";
  }
  out += "\n" + std::string(2 * depth, ' ') + "}";
}

}  // namespace

std::string json_schema() {
  json::object schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "twinstep configuration"}};
  for (auto& [name, value] : section_schema(root_keys())) schema[name] = std::move(value);
  schema["$defs"] =
      json::object{{"secret", {{"type", "string"}, {"description", "env:NAME, file:/path, or the value itself"}}},
                   {"duration", {{"type", "string"}, {"pattern", "^[0-9]+ *(ms|s|m|min|h|d)$"}}},
                   {"size", {{"type", "string"}, {"pattern", "^[0-9]+ *(B|KiB|MiB|GiB|KB|MB|GB)$"}}},
                   {"limit",
                    {{"type", {"string", "integer"}},
                     {"minimum", 0},
                     {"pattern", "^([0-9]+|[0-9]+(\\.[0-9]+)?%)$"},
                     {"description", "10% or a count"}}}};
  std::string out;
  indent(schema, out, 0);
  return out;
}

}  // namespace twinstep::config
