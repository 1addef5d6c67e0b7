#include "twinstep/providers/definition.h"

#include <algorithm>
#include <set>

#include "twinstep/base/units.h"
#include "twinstep/providers/definition_load.h"

namespace twinstep::providers {

using yaml::MapReader;
using yaml::Node;

bool is_pointer(std::string_view text) {
  if (text.empty()) return true;
  if (text.front() != '/') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '~' && (i + 1 == text.size() || (text[i + 1] != '0' && text[i + 1] != '1'))) return false;
  }
  return true;
}

bool StatusSet::contains(int status) const {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const auto& r) { return status >= r.first && status <= r.second; });
}

std::vector<TagSpec> Definition::tag_specs() const {
  std::vector<TagSpec> out;
  for (const TagMapping& tag : tags) out.push_back(tag.spec);
  return out;
}

std::vector<TagSpec> Definition::known_tags() const {
  std::vector<TagSpec> out = tag_specs();
  for (const RequiredTag& tag : required_tags) {
    const auto same =
        std::find_if(out.begin(), out.end(), [&](const TagSpec& spec) { return spec.name() == tag.name; });
    if (same != out.end()) {
      same->secret = same->secret || tag.secret;
      continue;
    }
    TagSpec& added = out.emplace_back();
    added.secret = tag.secret;
    for (size_t from = 0; from <= tag.name.size();) {
      const size_t end = std::min(tag.name.find('/', from), tag.name.size());
      added.path.push_back(tag.name.substr(from, end - from));
      from = end + 1;
    }
  }
  return out;
}

const SettingSpec* Definition::find_setting(std::string_view setting) const {
  for (const SettingSpec& spec : settings) {
    if (spec.name == setting) return &spec;
  }
  return nullptr;
}

namespace {

/// Checks that every placeholder refers to something that will be there.
class ReferenceCheck {
 public:
  ReferenceCheck(const Definition& definition, yaml::Diagnostics& diagnostics)
      : definition_(definition), diagnostics_(diagnostics) {
    for (const SettingSpec& setting : definition.settings) settings_.push_back(setting.name);
    for (const TagMapping& tag : definition.tags) tags_.push_back(tag.spec.name());
    for (const RequiredTag& tag : definition.required_tags) tags_.push_back(tag.name);
  }

  void placeholder(const Placeholder& p, const std::vector<std::string>& locals, const Node& where) {
    std::string path;
    for (const std::string& part : p.path) path += (path.empty() ? "" : "/") + part;
    if (p.source == "settings") return known(p, "setting", path, settings_, where);
    if (p.source == "tags") return known(p, "tag", path, tags_, where);
    if (p.source == "deviceId" || p.source == "desired") {
      if (std::find(locals.begin(), locals.end(), "deviceId") != locals.end()) return;
      diagnostics_.error(where, "definition.unknown-reference", fmt::format("{{{}}}: there is no device here", p.text));
      return;
    }
    const std::string full = path.empty() ? p.source : p.source + "." + path;
    known(p, "value", full, locals, where);
  }
  void text(const TextTemplate& t, const std::vector<std::string>& locals, const Node& where) {
    for (const Placeholder* p : t.placeholders()) placeholder(*p, locals, where);
  }
  void request(const RequestSpec& r, const std::vector<std::string>& locals, const Node& where) {
    if (r.url) text(*r.url, locals, where);
    if (r.path) text(*r.path, locals, where);
    for (const auto* list : {&r.query, &r.headers, &r.form}) {
      for (const NamedTemplate& item : *list) text(item.value, locals, where);
    }
    std::vector<const Placeholder*> inside;
    if (r.json) r.json->collect(inside);
    for (const Placeholder* p : inside) placeholder(*p, locals, where);
    if (r.endpoint.empty()) return;
    std::vector<std::string> names;
    for (const auto& [name, base] : definition_.endpoints) names.push_back(name);
    known_name("endpoint", r.endpoint, names, where);
  }
  void condition(const Condition& c, const std::vector<std::string>& locals, const Node& where) {
    std::vector<const Placeholder*> inside;
    c.collect(inside);
    for (const Placeholder* p : inside) placeholder(*p, locals, where);
  }
  void operation(const OperationSpec& op, const Node& where) {
    std::vector<std::string> locals{"deviceId"};
    const Node* steps = where.find("steps");
    for (size_t i = 0; i < op.steps.size(); ++i) {
      const StepSpec& step = op.steps[i];
      const Node& at = steps && i < steps->items.size() ? steps->items[i] : where;
      if (step.when) condition(*step.when, locals, at);
      request(step.request, locals, at);
      if (step.expect) {
        for (const auto& [place, value] : step.expect->same) text(value, locals, at);
      }
      for (const auto& [name, place] : step.capture) locals.push_back(step.id + "." + name);
      if (step.repeat == RepeatClass::kVerify && !definition_.get) {
        diagnostics_.error(at, "definition.no-get",
                           "'repeat: verify' needs a 'get' operation to look the device up with");
      }
    }
  }
  void known_name(const std::string& kind, const std::string& name, const std::vector<std::string>& names,
                  const Node& where) {
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
    const std::string meant = nearest(name, names);
    diagnostics_.error(where, "definition.unknown-reference",
                       fmt::format("there is no {} '{}'{}", kind, name,
                                   meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
  }

 private:
  void known(const Placeholder& p, const std::string& kind, const std::string& name,
             const std::vector<std::string>& names, const Node& where) {
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
    const std::string meant = nearest(name, names);
    diagnostics_.error(where, "definition.unknown-reference",
                       fmt::format("{{{}}}: there is no {} '{}'{}", p.text, kind, name,
                                   meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
  }

  const Definition& definition_;
  yaml::Diagnostics& diagnostics_;
  std::vector<std::string> settings_, tags_;
};

std::vector<SettingSpec> load_settings(const Node& node, yaml::Diagnostics& diagnostics) {
  std::vector<SettingSpec> out;
  MapReader all(node, diagnostics, "'settings'");
  for (const auto& [name, value] : node.members) {
    MapReader map(value, diagnostics, fmt::format("setting '{}'", name.scalar));
    SettingSpec setting;
    setting.name = name.scalar;
    setting.env = map.text("env").value_or("");
    setting.description = map.text("description").value_or("");
    setting.fallback = map.text("default");
    setting.secret = map.boolean("secret").value_or(false);
    setting.required = map.boolean("required").value_or(!setting.fallback);
    map.finish();
    if (setting.secret && setting.fallback)
      diagnostics.error(value, "definition.inline-secret", "a secret must not stand in a definition");
    out.push_back(std::move(setting));
  }
  return out;
}

void load_tags(const Node& node, PartLoader& parts, yaml::Diagnostics& diagnostics, Definition& out) {
  MapReader all(node, diagnostics, "'tags'");
  for (const auto& [name, value] : node.members) {
    TagMapping tag;
    for (size_t from = 0; from <= name.scalar.size();) {
      const size_t slash = std::min(name.scalar.find('/', from), name.scalar.size());
      tag.spec.path.push_back(name.scalar.substr(from, slash - from));
      from = slash + 1;
    }
    for (const std::string& part : tag.spec.path) {
      const bool bad = part.empty() || part.find_first_of(".$# ") != std::string::npos;
      if (bad)
        diagnostics.error(
            name, "definition.bad-tag",
            fmt::format("'{}' cannot be a twin tag: no part may be empty or hold . $ # or a space", name.scalar));
    }
    if (value.is_map()) {
      MapReader map(value, diagnostics, fmt::format("tag '{}'", name.scalar));
      tag.source = parts.value_source(value, &map);
      tag.spec.secret = map.boolean("secret").value_or(false);
      tag.spec.required = map.boolean("required").value_or(false);
      map.finish();
    } else {
      tag.source = parts.value_source(value, nullptr);
    }
    out.tags.push_back(std::move(tag));
  }
}

void load_required(const Node& node, const Tables& tables, yaml::Diagnostics& diagnostics, Definition& out) {
  if (!node.is_sequence()) diagnostics.error(node, "yaml.type", "'requiredTags' must be a list");
  for (const Node& item : node.items) {
    MapReader map(item, diagnostics, "a required tag");
    map.need("name");
    RequiredTag tag;
    tag.name = map.text("name").value_or("");
    tag.length = static_cast<size_t>(map.integer("length", 1, 4096).value_or(0));
    tag.one_of = map.texts("oneOf");
    tag.secret = map.boolean("secret").value_or(false);
    if (const auto pattern = map.text("pattern")) {
      auto regex = Regex::compile(*pattern);
      if (regex) {
        tag.pattern = std::move(*regex);
      } else {
        diagnostics.error(item, regex.error().code, regex.error().what);
      }
    }
    if (const Node* when = map.get("when")) tag.when = load_condition(*when, tables, diagnostics);
    map.finish();
    out.required_tags.push_back(std::move(tag));
  }
}

void check(const Definition& d, const Node& root, yaml::Diagnostics& diagnostics) {
  ReferenceCheck refs(d, diagnostics);
  const auto node = [&](std::string_view key) -> const Node& {
    const Node* found = root.find(key);
    return found ? *found : root;
  };
  for (const auto& [name, base] : d.endpoints) refs.text(base, {}, node("endpoints"));
  const AuthSpec& auth = d.auth;
  for (const TextTemplate* t : {&auth.prefix, &auth.value, &auth.user, &auth.password}) refs.text(*t, {}, node("auth"));
  if (auth.kind == AuthKind::kOauth2 || auth.kind == AuthKind::kLogin) {
    refs.request(auth.request, {}, node("auth"));
    for (const auto* list : {&auth.renew_query, &auth.renew_form}) {
      for (const NamedTemplate& item : *list) refs.text(item.value, {}, node("auth"));
    }
  }
  if (d.list) {
    std::vector<std::string> locals{"page", "offset", "cursor", "size"};
    if (const auto& parents = d.list->parents) {
      if (parents->listed) refs.request(parents->listed->request, locals, node("list"));
      if (!parents->setting.empty() && !d.find_setting(parents->setting)) {
        std::vector<std::string> names;
        for (const SettingSpec& setting : d.settings) names.push_back(setting.name);
        refs.known_name("setting", parents->setting, names, node("list"));
      }
      locals.push_back(parents->as + ".id");
    }
    refs.request(d.list->pages.request, locals, node("list"));
  }
  if (d.from_file) {
    refs.text(d.from_file->path, {}, node("file"));
    refs.text(d.from_file->items, {}, node("file"));
  }
  if (d.get) refs.operation(*d.get, node("get"));
  if (d.create) refs.operation(*d.create, node("create"));
  if (d.remove) refs.operation(*d.remove, node("delete"));
  for (const RequiredTag& tag : d.required_tags) {
    if (tag.when) refs.condition(*tag.when, {"deviceId"}, node("requiredTags"));
  }
  if (d.limits.all) refs.text(d.limits.all->per_second, {}, node("limits"));
  for (const auto& [name, rate] : d.limits.operations) refs.text(rate.per_second, {}, node("limits"));
}

}  // namespace

Result<Definition> parse_definition(std::string_view text, const std::string& file) {
  TRY_ASSIGN(const Node root, yaml::parse(text, file));
  yaml::Diagnostics diagnostics(file);
  Definition out;
  out.file = file;
  out.text = std::string(text);
  Tables tables;
  PartLoader parts(diagnostics, tables);
  MapReader map(root, diagnostics, "the definition");

  map.need("definition");
  map.integer("definition", 1, 1);
  map.need("name");
  out.name = map.text("name").value_or("");
  map.text("description");
  if (const Node* node = map.get("tables")) {
    for (const auto& [name, rows] : node->members) {
      for (const auto& [key, value] : rows.members) tables[name.scalar][key.scalar] = value.scalar;
      if (!rows.is_map()) diagnostics.error(rows, "yaml.type", fmt::format("table '{}' must be a map", name.scalar));
    }
  }
  if (const Node* node = map.get("settings")) out.settings = load_settings(*node, diagnostics);
  if (const Node* node = map.get("endpoints")) {
    for (const auto& [name, base] : node->members) out.endpoints.emplace_back(name.scalar, parts.text(base));
  }
  if (const Node* node = map.get("auth")) out.auth = parts.auth(*node);
  if (const Node* node = map.need("identity")) {
    MapReader identity(*node, diagnostics, "'identity'");
    if (const Node* id = identity.need("deviceId")) {
      if (id->is_map()) {
        MapReader fields(*id, diagnostics, "'deviceId'");
        out.device_id = parts.value_source(*id, &fields);
        fields.finish();
      } else {
        out.device_id = parts.value_source(*id, nullptr);
      }
    }
    if (const auto fold = identity.choice("normalizeCase", {"none", "upper", "lower"}); fold && *fold > 0) {
      out.device_id.filters.push_back(parse_filter(*fold == 1 ? "upper" : "lower", tables).value());
    }
    identity.finish();
  }
  if (const Node* node = map.get("tags")) load_tags(*node, parts, diagnostics, out);
  if (const Node* node = map.get("requiredTags")) load_required(*node, tables, diagnostics, out);
  if (const Node* node = map.get("itemFilter")) {
    MapReader filter(*node, diagnostics, "'itemFilter'");
    filter.need("pointer");
    out.item_filter = ItemFilter{parts.pointer(filter, "pointer"), load_compare(filter, diagnostics)};
    filter.finish();
    if (out.item_filter->compare.empty())
      diagnostics.error(*node, "definition.bad-condition", "'itemFilter' needs one of: equals, in, matches, present");
  }
  if (const Node* node = map.get("list")) out.list = parts.list(*node);
  if (const Node* node = map.get("file")) {
    MapReader fields(*node, diagnostics, "'file'");
    fields.need("path");
    FileSpec spec;
    if (auto path = parts.text(fields, "path")) spec.path = std::move(*path);
    if (auto items = parts.text(fields, "items")) spec.items = std::move(*items);
    fields.finish();
    out.from_file = std::move(spec);
  }
  if (!out.list == !out.from_file)
    diagnostics.error(root, "definition.no-list", "a definition needs either 'list' or 'file'");
  if (const Node* node = map.get("get")) out.get = parts.operation(*node, "get", RepeatClass::kSafe);
  if (const Node* node = map.get("create"))
    out.create = parts.operation(*node, "create", out.get ? RepeatClass::kVerify : RepeatClass::kOnce);
  if (const Node* node = map.get("delete")) out.remove = parts.operation(*node, "delete", RepeatClass::kSafe);
  if (const Node* node = map.get("update")) {
    MapReader update(*node, diagnostics, "'update'");
    update.need("policy");
    const auto policy = update.choice("policy", {"none", "partial", "full", "masked", "recreate"});
    if (policy && *policy != 0) parts.not_supported(*node, "an update policy other than 'none'");
    update.finish();
  }
  if (const Node* node = map.get("limits")) out.limits = parts.limits(*node);
  if (const Node* node = map.get("tests")) {
    for (const Node& test : node->items) out.tests.push_back(parts.test(test));
  }
  map.finish();
  check(out, root, diagnostics);
  if (!diagnostics.ok()) return fail(diagnostics.combined());
  if (out.tests.empty() && out.list) out.warnings.push_back(fmt::format("{}: the definition has no tests", file));
  return out;
}

}  // namespace twinstep::providers
