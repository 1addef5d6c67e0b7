#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "twinstep/json/json.h"

namespace twinstep::api {

/// Checks values against the part of JSON Schema that openapi.json uses, for tests: a keyword that is not known here
/// is a complaint too, so that no schema is taken for checked when it was not.
class SchemaCheck {
 public:
  explicit SchemaCheck(const json::value& document) : document_(document) {}

  /// What is wrong with `value`, with its place; empty = nothing.
  std::vector<std::string> check(const json::value& value, const json::value& schema) {
    complaints_.clear();
    visit(value, schema, "");
    return complaints_;
  }
  /// Follows {"$ref":"#/..."}; null when it leads nowhere.
  const json::value* resolved(const json::value& schema) const {
    const json::value* at = &schema;
    while (at && at->is_object() && at->get_object().contains("$ref"))
      at = json::at(document_, std::string_view(at->get_object().at("$ref").as_string()).substr(1));
    return at;
  }

 private:
  static bool has_type(const json::value& value, std::string_view type) {
    if (type == "null") return value.is_null();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_bool();
    if (type == "integer") return value.is_int64() || value.is_uint64();
    if (type == "array") return value.is_array();
    return type == "object" && value.is_object();
  }

  void complain(const std::string& place, const std::string& text) {
    complaints_.push_back((place.empty() ? "the whole" : place) + ": " + text);
  }

  void visit(const json::value& value, const json::value& given, const std::string& place) {
    const json::value* schema = resolved(given);
    if (!schema || !schema->is_object()) return complain(place, "no schema " + json::write(given));
    for (const auto& [key, wanted] : schema->get_object()) keyword(value, key, wanted, schema->get_object(), place);
  }

  void keyword(const json::value& value, std::string_view key, const json::value& wanted, const json::object& schema,
               const std::string& place) {
    if (key == "description" || key == "default" || key == "maxLength" || key == "maximum") return;
    if (key == "type") {
      const auto matches = [&](const json::value& one) { return has_type(value, one.as_string()); };
      const bool good = wanted.is_array() ? std::any_of(wanted.get_array().begin(), wanted.get_array().end(), matches)
                                          : matches(wanted);
      if (!good) complain(place, json::write(value).substr(0, 60) + " is not " + json::write(wanted));
    } else if (key == "const") {
      if (value != wanted) complain(place, json::write(value) + " is not " + json::write(wanted));
    } else if (key == "enum") {
      const auto& all = wanted.as_array();
      if (std::find(all.begin(), all.end(), value) == all.end())
        complain(place, json::write(value) + " is none of them");
    } else if (key == "format") {
      if (value.is_string() && (value.get_string().size() < 20 || value.get_string().back() != 'Z'))
        complain(place, json::write(value) + " is no " + json::write(wanted));
    } else if (key == "minimum") {
      if (value.is_int64() && value.get_int64() < wanted.as_int64()) complain(place, "too small");
    } else if (key == "items") {
      if (!value.is_array()) return;
      for (size_t i = 0; i < value.get_array().size(); ++i)
        visit(value.get_array()[i], wanted, place + "/" + std::to_string(i));
    } else if (key == "required") {
      if (!value.is_object()) return;
      for (const json::value& name : wanted.as_array())
        if (!value.get_object().contains(name.as_string())) complain(place, "lacks " + json::write(name));
    } else if (key == "properties") {
      if (!value.is_object()) return;
      for (const auto& [name, inner] : wanted.as_object())
        if (const json::value* member = value.get_object().if_contains(name))
          visit(*member, inner, place + "/" + std::string(name));
    } else if (key == "additionalProperties") {
      if (!value.is_object() || !wanted.is_bool() || wanted.get_bool()) return;
      for (const auto& [name, inner] : value.get_object())
        if (!schema.at("properties").as_object().contains(name)) complain(place, "not described: " + std::string(name));
    } else if (key == "oneOf") {
      int fits = 0;
      std::string why;
      for (const json::value& one : wanted.as_array()) {
        SchemaCheck inner(document_);
        const auto wrong = inner.check(value, one);
        if (wrong.empty()) ++fits;
        for (const std::string& text : wrong) why += " [" + text + "]";
      }
      if (fits != 1) complain(place, "fits " + std::to_string(fits) + " of oneOf" + why);
    } else {
      complain(place, "schema keyword that the check does not know: " + std::string(key));
    }
  }

  const json::value& document_;
  std::vector<std::string> complaints_;
};

}  // namespace twinstep::api
