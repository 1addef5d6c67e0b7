#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/secret.h"
#include "twinstep/providers/external_registry.h"
#include "twinstep/providers/filters.h"
#include "twinstep/yaml/document.h"

/// The template language of definitions: text and JSON with placeholders, conditions, no loops, no arithmetic.
///
///   {deviceId}  {tags.EUI|lower}  {tags.lorawan/devEui}  {desired.x}  {settings.x}  {step.capture}  {page}  {app.id}
///
/// `{{` and `}}` are plain braces.
namespace twinstep::providers {

using SettingValues = std::map<std::string, Secret>;

/// What the placeholders of one request may refer to.
struct Scope {
  const SettingValues* settings = nullptr;
  const DeviceInput* device = nullptr;
  json::object values;  ///< page, offset, cursor, token; objects for parents and for the captures of steps
};

struct Placeholder {
  std::string source;             ///< "settings", "deviceId", "tags", "find", "page", ...
  std::vector<std::string> path;  ///< what follows the first dot, split at / (and at dots)
  std::vector<Filter> filters;
  std::string text;  ///< as written, for messages

  /// Parses what stands between the braces. Errors  kInvalid "definition.bad-template" and those of parse_filter.
  static Result<Placeholder> parse(std::string_view inside, const Tables& tables);
  /// The filtered value; empty when there is none. Errors  kInvalid "template.bad-value" naming the placeholder.
  Result<std::optional<json::value>> read(const Scope& scope) const;
  bool raw() const;
};

/// Text with placeholders.
class TextTemplate {
 public:
  enum class Into {
    kPlain,    ///< values as they are
    kPath,     ///< values percent-encoded; empty values and . and .. are refused, since they would change the path
    kQuery,    ///< values percent-encoded
    kAddress,  ///< settings as they are, since they hold whole addresses; all others as in kPath
  };

  TextTemplate() = default;
  static Result<TextTemplate> parse(std::string_view text, const Tables& tables);

  /// Errors  kInvalid "template.missing-value": a placeholder has no value.
  Result<std::string> expand(const Scope& scope, Into into = Into::kPlain) const;
  /// As expand, but a missing value makes the whole text missing.
  Result<std::optional<std::string>> expand_optional(const Scope& scope, Into into = Into::kPlain) const;
  /// The value of a text that is one placeholder keeps its JSON type. Empty = missing.
  Result<std::optional<json::value>> value(const Scope& scope) const;

  std::vector<const Placeholder*> placeholders() const;
  const std::string& text() const { return text_; }

 private:
  struct Piece {
    std::string literal;
    std::optional<Placeholder> placeholder;
  };
  std::string text_;
  std::vector<Piece> pieces_;
};

/// Tests one value: equal to one of a list, matching a pattern, present or absent. All that are given must hold.
struct Compare {
  std::vector<json::value> any_of;
  std::optional<Regex> matches;
  std::optional<bool> present;

  bool empty() const { return any_of.empty() && !matches && !present; }
  bool holds(const json::value* v) const;  ///< null pointer = no value
};

/// `when`: one test, or all / any / not of others.
struct Condition {
  enum class Kind { kTest, kAll, kAny, kNot };
  Kind kind = Kind::kTest;
  Placeholder value;
  Compare compare;
  std::vector<Condition> parts;

  Result<bool> holds(const Scope& scope) const;
  void collect(std::vector<const Placeholder*>& out) const;
};

/// A JSON body. Members named `key?` disappear when their value is missing; an object with `$when` (a condition)
/// disappears when that does not hold.
class JsonTemplate {
 public:
  /// Complaints go to `diagnostics` with their place.
  static JsonTemplate load(const yaml::Node& node, const Tables& tables, yaml::Diagnostics& diagnostics);

  /// Empty = the whole value disappears.
  Result<std::optional<json::value>> render(const Scope& scope) const;
  void collect(std::vector<const Placeholder*>& out) const;

 private:
  struct Member;
  enum class Kind { kConstant, kText, kArray, kObject };
  Kind kind_ = Kind::kConstant;
  json::value constant_;
  TextTemplate text_;
  std::vector<JsonTemplate> elements_;
  std::vector<std::pair<std::string, bool>> names_;  // of elements_, for objects; true = optional
  std::vector<Condition> when_;                      // none or one
};

/// Reads `when`. Keys: one of tag, setting, desired, value; equals, in, matches, present; or all, any, not.
Condition load_condition(const yaml::Node& node, const Tables& tables, yaml::Diagnostics& diagnostics);
/// Reads the keys equals, in, matches and present.
Compare load_compare(yaml::MapReader& map, yaml::Diagnostics& diagnostics);

}  // namespace twinstep::providers
