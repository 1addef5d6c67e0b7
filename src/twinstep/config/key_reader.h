#pragma once

#include <set>

#include "twinstep/config/keys.h"
#include "twinstep/config/values.h"
#include "twinstep/yaml/document.h"

namespace twinstep::config {

/// Reads one map of the configuration file by the table of keys. Complaints of the file's go to the diagnostics; a
/// reader that asks for a key that the table lacks, by another type, or leaves one out, is a bug: std::logic_error.
///
///   KeyReader map(node, diagnostics, "storage", storage_keys());
///   storage.identity_based_jobs = map.boolean("identity_based_jobs").value_or(false);
///   map.finish();
class KeyReader {
 public:
  /// Complains about required keys that are absent.
  KeyReader(const yaml::Node& node, yaml::Diagnostics& diagnostics, std::string what, const Section& keys);

  std::optional<std::string> text(std::string_view name);
  std::optional<bool> boolean(std::string_view name);
  std::optional<int64_t> integer(std::string_view name);
  std::optional<Millis> duration(std::string_view name);
  std::optional<uint64_t> size(std::string_view name);
  std::vector<std::string> texts(std::string_view name);
  std::optional<Limit> limit(std::string_view name);
  std::optional<size_t> choice(std::string_view name);      ///< the index in the key's choices
  std::set<size_t> choices(std::string_view name);          ///< their indexes
  const yaml::Node* section(std::string_view name);         ///< a map, or null when absent
  const yaml::Node* settings(std::string_view name);        ///< a map, or null when absent
  const yaml::Node* section_list(std::string_view name);    ///< a list, or null when absent
  const yaml::Node* named_sections(std::string_view name);  ///< a map of names, or null when absent
  std::optional<Secret> secret(std::string_view name, const EnvironmentLookup& environment);

  /// The node of a key that has been read, for its place; null when absent.
  const yaml::Node* at(std::string_view name) const { return node_.find(name); }

  /// Complains about the keys that the table does not have.
  void finish();

 private:
  const Key& key(std::string_view name, KeyType type);
  const yaml::Node* map_of(std::string_view name, KeyType type);

  const yaml::Node& node_;
  yaml::Diagnostics& diagnostics_;
  std::string what_;
  const Section& keys_;
  yaml::MapReader map_;
  std::set<const Key*> read_;
};

/// A secret's text, or what it refers to; empty after a complaint.
std::optional<Secret> read_secret(yaml::MapReader& map, std::string_view name, yaml::Diagnostics& diagnostics,
                                  const EnvironmentLookup& environment);

}  // namespace twinstep::config
