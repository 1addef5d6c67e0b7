#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "twinstep/base/clock.h"
#include "twinstep/base/ids.h"
#include "twinstep/base/result.h"
#include "twinstep/json/json.h"

namespace twinstep::providers {

/// One tag that a definition maps from an external device to the hub's twin.
struct TagSpec {
  std::vector<std::string> path;  ///< {"EUI"} or {"lorawan", "devEui"}: place under `tags` in the twin
  bool secret = false;            ///< never shown; not copied into the hub unless the link says so
  bool required = false;          ///< an external device without it is invalid
  std::string name() const;       ///< "lorawan/devEui"
};

/// One mapped value. `json` is canonical JSON text: compact, members sorted, strings with the fewest escapes, so that
/// equal values have equal text. Empty view = the item has no such value.
using MappedValue = std::string_view;

/// One external device after mapping. Views are good until the next map() on the same Mapper.
struct MappedDevice {
  std::string_view id;                  ///< in the external system's spelling, filters applied
  std::span<const MappedValue> values;  ///< one per TagSpec, in the same order
};

/// Turns one item of a list (JSON text of one object) into id and tag values by the definition's pointers and filters.
///
/// Threads   one thread at a time; make one per thread. Reuses its buffers: no allocation per item in the steady state.
/// Errors    kCorrupt: the text is not a JSON object. kInvalid: required pointer missing, bad id, wrong type; the
///           message names the pointer, and `device_id` holds the id if that much could be read.
class Mapper {
 public:
  virtual ~Mapper() = default;
  virtual Result<MappedDevice> map(std::string_view item) = 0;
  /// After a failed map(): the device's id when it could be read, else empty.
  virtual std::string_view failed_id() const = 0;
  /// False when the definition's item filter leaves this item out. Valid after a successful map().
  virtual bool selected() const = 0;
};

/// What a complete or incomplete reading of a list looked like: the proof for promise 1.
struct ListProof {
  bool complete = false;
  std::string why_incomplete;  ///< for people; empty when complete
  uint64_t items = 0;
  int pages = 0;
  std::optional<uint64_t> stated_total;  ///< when the remote told one
};

/// Where an item came from, for messages: "page 3, item 17" or "line 1204".
struct ItemPlace {
  int page = 0;        ///< 0 for files
  uint64_t index = 0;  ///< item within the page, or line number in a file; from 1
};
std::string to_string(const ItemPlace& place);

/// Takes one item (JSON text of one element of the list). An error ends the listing.
using ItemSink = std::function<Status(std::string_view item, const ItemPlace& place)>;
/// Takes text that is not a JSON object or could not be read: counted and named, never silently dropped.
using BrokenSink = std::function<Status(std::string_view text, const ItemPlace& place, std::string_view why)>;

/// A hub device as a provider's templates see it.
struct DeviceInput {
  DeviceId id;
  json::object tags;
  json::object desired;
};

/// A device in the external system, found by look-up.
struct FoundDevice {
  std::string id;     ///< mapped deviceId
  json::object item;  ///< as the external system gave it; may hold secrets
};

/// What is wrong with a tag that a device must have before it can be created outside.
struct TagFault {
  std::string text;      ///< for people, never with the value: "EUI must have 16 characters"
  bool missing = false;  ///< not there yet, may still come; false: it is there and can never work
};

enum class WriteOutcome { kDone, kAlreadyThere, kAlreadyGone };

/// A registry outside Azure, described by a definition file.
///
/// Threads   any method, any thread, at the same time.
/// Blocking  as http::Client; rate limits of the definition are waited for inside.
/// Errors    kThrottled, kUnavailable, kTimeout, kDenied, kInvalid (the remote refuses the device; the text says why),
///           kConflict (a different device holds that identity).
class ExternalRegistry {
 public:
  virtual ~ExternalRegistry() = default;

  virtual const std::string& provider() const = 0;
  virtual const std::vector<TagSpec>& tags() const = 0;
  virtual std::unique_ptr<Mapper> mapper() const = 0;

  /// Reads the whole list. A list that could be read only partly is a value with proof.complete == false when some
  /// pages came, and an error when nothing came. Never compare for deletes without proof.complete.
  virtual Result<ListProof> list(const ItemSink& items, const BrokenSink& broken, const Call& call) = 0;
  /// Reads the first page only, for `provider try` and `check`.
  virtual Result<ListProof> first_page(const ItemSink& items, const BrokenSink& broken, const Call& call) = 0;

  /// True when the definition can look one device up, and `device` holds what that needs.
  virtual bool can_look_up(const DeviceInput& device) const = 0;
  /// Errors  kNotFound: surely not there.
  virtual Result<FoundDevice> look_up(const DeviceInput& device, const Call& call) = 0;
  /// Creates the device; present and equal is success.
  virtual Result<WriteOutcome> create(const DeviceInput& device, const Call& call) = 0;
  /// Deletes the device; absent is success.
  virtual Result<WriteOutcome> remove(const DeviceInput& device, const Call& call) = 0;
  /// Which required tags are missing or malformed in `device`; empty = it can be created.
  virtual std::vector<TagFault> missing_for_create(const DeviceInput& device) const = 0;
  /// Every tag that the definition names: tags() and those that only a create needs. What is not among them, or secret
  /// there, is never kept.
  virtual std::vector<TagSpec> known_tags() const { return tags(); }
  /// Other processes spend the rest of the definition's limits: `share` is 0 to 1.
  virtual void set_share(double /*share*/) {}
};

}  // namespace twinstep::providers
