#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twinstep/config/config.h"
#include "twinstep/providers/external_registry.h"

namespace twinstep::plan {

/// What decides whether two devices are equal and what may be done about a difference: a link's settings and the
/// provider's mapped tags. A plain value.
struct Rules {
  std::string link;      ///< name; the owner mark in the hub is tags.twinstep.link == link
  std::string external;  ///< name for people, e.g. "thingpark"
  config::Scope scope = config::Scope::kOwned;
  config::Deletes deletes = config::Deletes::kNever;
  bool copy_secrets = false;
  bool include_edge = false;
  bool include_modules = false;
  bool include_certificates = false;
  config::IdSpelling id_spelling = config::IdSpelling::kAsListed;
  std::vector<providers::TagSpec> tags;

  /// True when the tag is compared and written.
  bool uses(size_t tag) const { return copy_secrets || !tags[tag].secret; }
};

/// The rules of one link. `tags` are those of the link's provider.
inline Rules rules_of(const config::Link& link, std::vector<providers::TagSpec> tags) {
  return {link.name,         link.external,     link.scope,           link.deletes,
          link.copy_secrets, link.include_edge, link.include_modules, link.include_certificates,
          link.id_spelling,  std::move(tags)};
}

/// statusReason of a device disabled because the external list lacks it begins with this; the external's name follows.
inline constexpr std::string_view kAbsentReason = "twinstep: absent from ";

}  // namespace twinstep::plan
