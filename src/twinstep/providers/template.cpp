#include "twinstep/providers/template.h"

#include <algorithm>

#include "twinstep/base/encoding.h"
#include "twinstep/json/canonical.h"

namespace twinstep::providers {

namespace {

const json::value* walk(const json::object& from, const std::vector<std::string>& path) {
  const json::object* at = &from;
  for (size_t i = 0; i < path.size(); ++i) {
    const json::value* next = at->if_contains(path[i]);
    if (!next || i + 1 == path.size()) return next;
    at = next->if_object();
    if (!at) return nullptr;
  }
  return nullptr;
}

/// The first `wanted` outside of single quotes.
size_t find_unquoted(std::string_view text, size_t from, char wanted) {
  bool quoted = false;
  for (size_t i = from; i < text.size(); ++i) {
    if (text[i] == '\'') quoted = !quoted;
    if (text[i] == wanted && !quoted) return i;
  }
  return std::string_view::npos;
}

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

Error missing(const Placeholder& placeholder) {
  return {.kind = ErrorKind::kInvalid,
          .what = fmt::format("{{{}}} has no value", placeholder.text),
          .code = "template.missing-value"};
}

}  // namespace

Result<Placeholder> Placeholder::parse(std::string_view inside, const Tables& tables) {
  Placeholder out;
  out.text = std::string(inside);
  const size_t bar = find_unquoted(inside, 0, '|');
  const std::string_view name = inside.substr(0, bar);
  const size_t dot = name.find('.');
  out.source = std::string(name.substr(0, dot));
  if (!is_name(out.source)) {
    return fail(ErrorKind::kInvalid, "definition.bad-template", fmt::format("'{{{}}}' is not a placeholder", inside));
  }
  if (dot != std::string_view::npos) {
    std::string_view rest = name.substr(dot + 1);
    while (true) {
      const size_t cut = rest.find_first_of("./");
      if (rest.substr(0, cut).empty()) {
        return fail(ErrorKind::kInvalid, "definition.bad-template",
                    fmt::format("'{{{}}}' has an empty name in it", inside));
      }
      out.path.emplace_back(rest.substr(0, cut));
      if (cut == std::string_view::npos) break;
      rest.remove_prefix(cut + 1);
    }
  }
  for (size_t at = bar; at != std::string_view::npos;) {
    const size_t next = find_unquoted(inside, at + 1, '|');
    TRY_ASSIGN(Filter filter,
               parse_filter(inside.substr(at + 1, next == std::string_view::npos ? next : next - at - 1), tables));
    out.filters.push_back(std::move(filter));
    at = next;
  }
  return out;
}

bool Placeholder::raw() const {
  return std::any_of(filters.begin(), filters.end(),
                     [](const Filter& f) { return f.kind == FilterKind::kRaw || f.kind == FilterKind::kUrlEncode; });
}

Result<std::optional<json::value>> Placeholder::read(const Scope& scope) const {
  std::optional<json::value> found;
  if (source == "settings") {
    if (scope.settings && !path.empty()) {
      const auto setting = scope.settings->find(path[0]);
      if (setting != scope.settings->end()) found = json::string(setting->second.reveal());
    }
  } else if (source == "deviceId") {
    if (scope.device) found = json::string(scope.device->id.value);
  } else if (source == "tags" || source == "desired") {
    if (scope.device) {
      if (const auto* v = walk(source == "tags" ? scope.device->tags : scope.device->desired, path)) found = *v;
    }
  } else if (const json::value* v = scope.values.if_contains(source)) {
    if (path.empty()) {
      found = *v;
    } else if (v->is_object()) {
      if (const auto* inner = walk(v->get_object(), path)) found = *inner;
    }
  }
  auto filtered = apply_filters(filters, std::move(found));
  if (!filtered) return fail_within(std::move(filtered), fmt::format("{{{}}}", text));
  return filtered;
}

Result<TextTemplate> TextTemplate::parse(std::string_view text, const Tables& tables) {
  TextTemplate out;
  out.text_ = std::string(text);
  std::string literal;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool doubled = i + 1 < text.size() && text[i + 1] == text[i];
    if ((text[i] == '{' || text[i] == '}') && doubled) {
      literal.push_back(text[i++]);
    } else if (text[i] == '{') {
      const size_t end = find_unquoted(text, i, '}');
      if (end == std::string_view::npos) {
        return fail(ErrorKind::kInvalid, "definition.bad-template", fmt::format("'{}' lacks a closing brace", text));
      }
      TRY_ASSIGN(Placeholder placeholder, Placeholder::parse(text.substr(i + 1, end - i - 1), tables));
      out.pieces_.push_back({std::move(literal), std::move(placeholder)});
      literal.clear();
      i = end;
    } else if (text[i] == '}') {
      return fail(ErrorKind::kInvalid, "definition.bad-template",
                  fmt::format("'{}' has a closing brace without an opening one (write }}}} for a plain brace)", text));
    } else {
      literal.push_back(text[i]);
    }
  }
  if (!literal.empty() || out.pieces_.empty()) out.pieces_.push_back({std::move(literal), {}});
  return out;
}

Result<std::optional<std::string>> TextTemplate::expand_optional(const Scope& scope, Into into) const {
  std::string out;
  for (const Piece& piece : pieces_) {
    out += piece.literal;
    if (!piece.placeholder) continue;
    TRY_ASSIGN(const std::optional<json::value> v, piece.placeholder->read(scope));
    if (!v || v->is_null()) return std::optional<std::string>{};
    const auto text = as_text(*v);
    if (!text) {
      return fail(ErrorKind::kInvalid, "template.bad-value",
                  fmt::format("{{{}}} is a list or an object where plain text is needed", piece.placeholder->text));
    }
    const bool plain = into == Into::kPlain || (into == Into::kAddress && piece.placeholder->source == "settings");
    if (!plain && into != Into::kQuery && (text->empty() || *text == "." || *text == "..")) {
      return fail(ErrorKind::kInvalid, "template.bad-value",
                  fmt::format("{{{}}} is {} and cannot stand in a path", piece.placeholder->text,
                              text->empty() ? "empty" : "a relative step"));
    }
    out += plain || piece.placeholder->raw() ? *text : percent_encode(*text);
  }
  return std::optional<std::string>(std::move(out));
}

Result<std::string> TextTemplate::expand(const Scope& scope, Into into) const {
  TRY_ASSIGN(std::optional<std::string> out, expand_optional(scope, into));
  if (out) return std::move(*out);
  for (const Piece& piece : pieces_) {
    if (!piece.placeholder) continue;
    TRY_ASSIGN(const std::optional<json::value> v, piece.placeholder->read(scope));
    if (!v || v->is_null()) return fail(missing(*piece.placeholder));
  }
  return std::string{};
}

Result<std::optional<json::value>> TextTemplate::value(const Scope& scope) const {
  if (pieces_.size() == 1 && pieces_[0].literal.empty() && pieces_[0].placeholder)
    return pieces_[0].placeholder->read(scope);
  TRY_ASSIGN(const std::optional<std::string> text, expand_optional(scope));
  if (!text) return std::optional<json::value>{};
  return std::optional<json::value>(json::string(*text));
}

std::vector<const Placeholder*> TextTemplate::placeholders() const {
  std::vector<const Placeholder*> out;
  for (const Piece& piece : pieces_) {
    if (piece.placeholder) out.push_back(&*piece.placeholder);
  }
  return out;
}

bool Compare::holds(const json::value* v) const {
  const bool there = v && !v->is_null();
  if (present && *present != there) return false;
  if (!any_of.empty()) {
    if (!v) return false;
    const std::string text = as_text(*v).value_or(json::canonical(*v));
    const bool one = std::any_of(any_of.begin(), any_of.end(), [&](const json::value& wanted) {
      return text == as_text(wanted).value_or(json::canonical(wanted));
    });
    if (!one) return false;
  }
  if (matches) {
    if (!there) return false;
    if (!matches->search(as_text(*v).value_or(json::canonical(*v)))) return false;
  }
  return true;
}

Result<bool> Condition::holds(const Scope& scope) const {
  if (kind == Kind::kTest) {
    TRY_ASSIGN(const std::optional<json::value> v, value.read(scope));
    return compare.holds(v ? &*v : nullptr);
  }
  for (const Condition& part : parts) {
    TRY_ASSIGN(const bool one, part.holds(scope));
    if (kind == Kind::kNot) return !one;
    if (kind == Kind::kAny && one) return true;
    if (kind == Kind::kAll && !one) return false;
  }
  return kind == Kind::kAll;
}

void Condition::collect(std::vector<const Placeholder*>& out) const {
  if (kind == Kind::kTest) out.push_back(&value);
  for (const Condition& part : parts) part.collect(out);
}

Result<std::optional<json::value>> JsonTemplate::render(const Scope& scope) const {
  if (!when_.empty()) {
    TRY_ASSIGN(const bool wanted, when_[0].holds(scope));
    if (!wanted) return std::optional<json::value>{};
  }
  switch (kind_) {
    case Kind::kConstant:
      return std::optional<json::value>(constant_);
    case Kind::kText: {
      TRY_ASSIGN(std::optional<json::value> v, text_.value(scope));
      return v;
    }
    case Kind::kArray: {
      json::array out;
      for (const JsonTemplate& element : elements_) {
        TRY_ASSIGN(std::optional<json::value> v, element.render(scope));
        if (v) out.push_back(std::move(*v));
      }
      return std::optional<json::value>(std::move(out));
    }
    case Kind::kObject:
      break;
  }
  json::object out;
  for (size_t i = 0; i < elements_.size(); ++i) {
    TRY_ASSIGN(std::optional<json::value> v, elements_[i].render(scope));
    if (v) {
      out[names_[i].first] = std::move(*v);
    } else if (!names_[i].second && elements_[i].kind_ == Kind::kText) {
      return fail(ErrorKind::kInvalid, "template.missing-value",
                  fmt::format("{} has no value for '{}'", elements_[i].text_.text(), names_[i].first));
    }
  }
  return std::optional<json::value>(std::move(out));
}

void JsonTemplate::collect(std::vector<const Placeholder*>& out) const {
  for (const Placeholder* placeholder : text_.placeholders()) out.push_back(placeholder);
  for (const Condition& condition : when_) condition.collect(out);
  for (const JsonTemplate& element : elements_) element.collect(out);
}

JsonTemplate JsonTemplate::load(const yaml::Node& node, const Tables& tables, yaml::Diagnostics& diagnostics) {
  JsonTemplate out;
  if (node.is_sequence()) {
    out.kind_ = Kind::kArray;
    for (const yaml::Node& item : node.items) out.elements_.push_back(load(item, tables, diagnostics));
  } else if (node.is_map()) {
    out.kind_ = Kind::kObject;
    for (const auto& [key, value] : node.members) {
      if (key.scalar == "$when") {
        out.when_.push_back(load_condition(value, tables, diagnostics));
        continue;
      }
      const bool optional = key.scalar.size() > 1 && key.scalar.back() == '?';
      out.names_.emplace_back(optional ? key.scalar.substr(0, key.scalar.size() - 1) : key.scalar, optional);
      out.elements_.push_back(load(value, tables, diagnostics));
    }
  } else if (node.is_scalar() && node.scalar.find_first_of("{}") != std::string::npos) {
    out.kind_ = Kind::kText;
    auto text = TextTemplate::parse(node.scalar, tables);
    if (text) {
      out.text_ = std::move(*text);
    } else {
      diagnostics.error(node, text.error().code, text.error().what);
    }
  } else {
    out.constant_ = node.to_json();
  }
  return out;
}

Compare load_compare(yaml::MapReader& map, yaml::Diagnostics& diagnostics) {
  Compare out;
  if (const yaml::Node* equals = map.get("equals")) out.any_of.push_back(equals->to_json());
  if (const yaml::Node* in = map.get("in")) {
    for (const yaml::Node& item : in->items) out.any_of.push_back(item.to_json());
    if (!in->is_sequence() || in->items.empty()) diagnostics.error(*in, "yaml.type", "'in' must be a list of values");
  }
  if (const auto pattern = map.text("matches")) {
    auto regex = Regex::compile(*pattern);
    if (regex) {
      out.matches = std::move(*regex);
    } else {
      diagnostics.error(map.node(), regex.error().code, regex.error().what);
    }
  }
  out.present = map.boolean("present");
  return out;
}

Condition load_condition(const yaml::Node& node, const Tables& tables, yaml::Diagnostics& diagnostics) {
  Condition out;
  yaml::MapReader map(node, diagnostics, "a condition");
  const auto parts_of = [&](const yaml::Node& list, Condition::Kind kind) {
    out.kind = kind;
    if (list.is_map()) {
      out.parts.push_back(load_condition(list, tables, diagnostics));
    } else {
      for (const yaml::Node& item : list.items) out.parts.push_back(load_condition(item, tables, diagnostics));
    }
    if (out.parts.empty()) diagnostics.error(list, "definition.empty-condition", "a condition needs something to test");
  };
  int subjects = 0;
  for (const auto& [key, kind] :
       {std::pair{"all", Condition::Kind::kAll}, {"any", Condition::Kind::kAny}, {"not", Condition::Kind::kNot}}) {
    if (const yaml::Node* list = map.get(key)) {
      ++subjects;
      parts_of(*list, kind);
    }
  }
  const auto subject = [&](const char* key, const std::string& front) {
    const auto text = map.text(key);
    if (!text) return;
    ++subjects;
    std::string inside = front + *text;
    if (front.empty() && inside.size() > 1 && inside.front() == '{' && inside.back() == '}') {
      inside = inside.substr(1, inside.size() - 2);
    }
    auto placeholder = Placeholder::parse(inside, tables);
    if (placeholder) {
      out.value = std::move(*placeholder);
    } else {
      diagnostics.error(node, placeholder.error().code, placeholder.error().what);
    }
  };
  subject("tag", "tags.");
  subject("setting", "settings.");
  subject("desired", "desired.");
  subject("value", "");
  out.compare = load_compare(map, diagnostics);
  map.finish();
  if (subjects != 1) {
    diagnostics.error(node, "definition.bad-condition",
                      "a condition tests exactly one of: tag, setting, desired, value, all, any, not");
  } else if (out.kind == Condition::Kind::kTest && out.compare.empty()) {
    diagnostics.error(node, "definition.bad-condition", "a condition needs one of: equals, in, matches, present");
  } else if (out.kind != Condition::Kind::kTest && !out.compare.empty()) {
    diagnostics.error(node, "definition.bad-condition", "all, any and not take conditions, not values");
  }
  return out;
}

}  // namespace twinstep::providers
