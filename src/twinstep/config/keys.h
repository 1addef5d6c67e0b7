#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/json/json.h"

/// The keys of the configuration file, in one table: KeyReader reads by it and json_schema() prints it, so that what
/// an editor accepts is what the loader accepts.
namespace twinstep::config {

struct Section;

enum class KeyType {
  kText,
  kSecret,
  kBoolean,
  kInteger,
  kDuration,
  kSize,
  kLimit,
  kChoice,         ///< one of `choices`
  kChoices,        ///< some of `choices`, a list or a single one
  kTexts,          ///< a list of texts or a single one
  kSection,        ///< a map with the keys of `section`
  kNamedSections,  ///< a map from names to such maps
  kSectionList,    ///< a list of such maps
  kSettings,       ///< a map from names that a provider's definition knows to secrets
};

struct Key {
  std::string name;
  KeyType type = KeyType::kText;
  std::string description = {};
  std::string pattern = {};               ///< what the text of a kSecret may be, for editors
  std::vector<std::string> choices = {};  ///< in the order of the enumeration that they stand for
  int64_t least = 0;                      ///< kInteger
  int64_t most = 0;                       ///< kInteger
  json::value otherwise = nullptr;        ///< the default, null when there is none to tell
  const Section* section = nullptr;       ///< of the types that hold keys
  bool required = false;
  std::string if_missing = {};  ///< said when a required key is absent, with code "config.NAME-missing"
};

struct Section {
  std::vector<Key> keys;

  /// The key of that name, or null.
  const Key* find(std::string_view name) const;
};

const Section& root_keys();
const Section& hub_keys();
const Section& entra_keys();
const Section& storage_keys();
const Section& external_keys();
const Section& link_keys();
const Section& limits_keys();
const Section& polling_keys();
const Section& retry_keys();
const Section& serve_keys();
const Section& webhook_keys();
const Section& webhook_entra_keys();
const Section& telemetry_keys();
const Section& otlp_keys();
const Section& facade_keys();
const Section& sink_webhook_keys();
const Section& buffer_keys();
const Section& backlog_keys();
const Section& notice_keys();
const Section& email_keys();

/// "F1" to "S3", in the order of Tier.
const std::vector<std::string>& tier_names();

}  // namespace twinstep::config
