#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/ids.h"
#include "twinstep/base/result.h"
#include "twinstep/base/secret.h"
#include "twinstep/json/json.h"

namespace twinstep::plan {

enum class Op { kCreate, kUpdate, kDelete, kDisable, kAdopt };
std::string_view to_string(Op op);
std::optional<Op> op_from(std::string_view name);

/// One thing to do to one device of the hub.
struct Change {
  Op op = Op::kCreate;
  DeviceId id;                ///< as the hub spells it; for kCreate as it will be spelled there
  std::string reason;         ///< for people; secret values are ***
  Etag etag;                  ///< of the identity, when the hub told one; guards delete, disable and enable
  Etag twin_etag;             ///< guards writes of tags
  bool enable = false;        ///< kUpdate: the device is set to enabled as well (it was disabled for being absent)
  std::string status_reason;  ///< kDisable: what to write
  std::string tags;           ///< JSON object to merge into the twin's tags, without secrets; with the mark for
                              ///< kCreate and kAdopt; "{}" = nothing to write
  std::vector<std::string> secret_tags;  ///< names of secret tags to write as well, in TagSpec::name() form
  Secret secret_values;  ///< their JSON object, same shape as `tags`; empty in a change from a plan file
  Secret hub_tags;  ///< all but kCreate: all tags of the twin as listed, when the snapshot kept them (SnapshotOptions)
};

/// `tags` and `secret_values` merged: what goes to the hub as a JSON merge patch.
/// Errors  kCorrupt when either is not a JSON object.
Result<json::object> tags_to_write(const Change& change);
/// The twin's complete tags after the change, for writes that replace the whole section (updateTwin of bulk calls and
/// import files). Errors  kInvalid when the snapshot did not keep the hub's tags.
Result<json::object> all_tags_after(const Change& change);

/// How many devices fall where. Every canonical id is counted exactly once: as a change, or as left alone. An item that
/// cannot be read and shows no id is counted as invalid: it may be any device.
struct Counts {
  uint64_t creates = 0;
  uint64_t updates = 0;  ///< with enables
  uint64_t deletes = 0;
  uint64_t disables = 0;
  uint64_t adopts = 0;
  uint64_t enables = 0;  ///< of updates

  uint64_t unchanged = 0;  ///< with already_disabled
  uint64_t already_disabled = 0;
  uint64_t foreign = 0;
  uint64_t excluded = 0;  ///< the sum of the next three
  uint64_t excluded_edge = 0;
  uint64_t excluded_modules = 0;
  uint64_t excluded_certificates = 0;
  uint64_t conflicts = 0;
  uint64_t invalid = 0;           ///< with the items that cannot be read
  uint64_t kept = 0;              ///< would be deleted, but the link says `deletes: never`
  uint64_t withheld = 0;          ///< deletes or disables not made, because a list is not proven complete
  uint64_t withheld_changes = 0;  ///< other changes not made (empty external list)

  uint64_t hub_devices = 0;       ///< listed, module lines not counted
  uint64_t external_devices = 0;  ///< listed
  uint64_t owned = 0;             ///< hub devices that this link may change or delete

  uint64_t changes() const { return creates + updates + deletes + disables + adopts; }
  friend bool operator==(const Counts&, const Counts&) = default;
};

/// {"create":N,...}: the members of diff's summary, then the others.
json::object to_json(const Counts& counts);
Result<Counts> counts_from(const json::object& o);

/// A device that is left alone because something is wrong with it.
struct Problem {
  enum class Kind { kConflict, kInvalid, kBroken };  ///< kBroken: text that is no device; id may be empty
  Kind kind = Kind::kInvalid;
  std::string side;  ///< "hub" or "external"
  std::string id;
  std::string place;  ///< "line 17", "page 3, item 5", or empty
  std::string text;   ///< for people; never holds values of the item
};
std::string_view to_string(Problem::Kind kind);

using ChangeSink = std::function<Status(const Change&)>;

}  // namespace twinstep::plan
