#pragma once

#include "twinstep/providers/definition.h"

namespace twinstep::providers {

/// Reads the parts of a definition from YAML; every fault goes to `diagnostics`.
///
/// Threads  one thread at a time.
class PartLoader {
 public:
  PartLoader(yaml::Diagnostics& diagnostics, Tables& tables) : diagnostics_(diagnostics), tables_(tables) {}

  TextTemplate text(const yaml::Node& node);
  std::optional<TextTemplate> text(yaml::MapReader& map, std::string_view key);
  std::string pointer(yaml::MapReader& map, std::string_view key, std::string otherwise = {});
  std::optional<std::string> optional_pointer(yaml::MapReader& map, std::string_view key);
  std::vector<NamedTemplate> named(yaml::MapReader& map, std::string_view key);
  std::vector<int> statuses(yaml::MapReader& map, std::string_view key);
  RequestSpec request(const yaml::Node& node);
  OperationSpec operation(const yaml::Node& node, const std::string& what, RepeatClass repeat);
  AuthSpec auth(const yaml::Node& node);
  PageSource pages(yaml::MapReader& map);
  ListSpec list(const yaml::Node& node);
  ValueSource value_source(const yaml::Node& node, yaml::MapReader* map);
  LimitSpec limits(const yaml::Node& node);
  DefinitionTest test(const yaml::Node& node);
  void not_supported(const yaml::Node& where, const std::string& what);

 private:
  StepSpec step(const yaml::Node& node, RepeatClass repeat);
  OutcomeRule outcome(const yaml::Node& node);
  StatusSet status_set(const yaml::Node& node);
  std::string checked_pointer(const yaml::Node& node);
  RateSpec rate(const yaml::Node& node);
  Lifetime lifetime(const yaml::Node& node);

  yaml::Diagnostics& diagnostics_;
  Tables& tables_;
};

}  // namespace twinstep::providers
