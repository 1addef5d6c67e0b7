#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "twinstep/azure/iothub_client.h"
#include "twinstep/config/config.h"
#include "twinstep/providers/external_registry.h"
#include "twinstep/store/start_queue.h"
#include "twinstep/workflows/keyed_locks.h"

/// What a caller of the façade may do to one device of a hub: docs/adr/0010-the-facade-and-the-runs.md.
namespace twinstep::workflows {

/// Where the façade works: the link that owns what it makes, and that link's hub. References outlive the work.
struct FacadeTarget {
  const config::Link& link;
  azure::IotHubClient& hub;  ///< whose calls are interactive
  const providers::ExternalRegistry& external;
  std::function<size_t()> most_at_once;  ///< registry operations that can be had at once after a rest
};

/// One call, for one device or several.
struct FacadeCall {
  std::string by;        ///< for history: who asked
  bool dry_run = false;  ///< say what would happen, write nothing anywhere
  bool soft_delete = false;
  Millis grace{0};  ///< for which runs spare what was asked for
  Call call{};
};

/// A device as callers may see it: tags without the mark, secret ones as "***".
struct FacadeDevice {
  bool enabled = true;
  std::string status_reason;
  std::string link;  ///< that owns it; empty = none
  json::object tags;
};

struct FacadeOutcome {
  enum What {
    kCreated,
    kEnabled,    ///< had been deleted softly: its tags are as asked, it is enabled, its keys are those it had
    kAdopted,    ///< was there with these tags and without an owner: now it has one
    kUnchanged,  ///< is as asked
    kDeleted,
    kDisabled,  ///< deleted softly
    kFound,     ///< was read
    kAbsent,
    kDiffers,   ///< is there otherwise: `wanted` and `present`
    kNotOwned,  ///< is there, and not this link's
    kExcluded,  ///< is there, of a kind that the link does not include
  } what = kUnchanged;
  std::string why{};  ///< for people, of the last three
  FacadeDevice wanted{};
  FacadeDevice present{};
};

/// statusReason of what the façade deleted softly, as the sample writes it.
inline constexpr std::string_view kSoftDeleted = "Deleted by external system";

/// Makes, reads and deletes single devices. Every write is in the workflow table, as an ended task of the device,
/// before the outcome is given. Calls for one device run one after the other; other replicas are kept apart by ETags.
///
/// Threads   any method, any thread.
/// Blocking  until the hub and the store answered, or call.deadline.
/// Errors    kThrottled (the hub's budget; nothing was sent), kUnavailable and kTimeout (hub or store: safe to repeat),
///           kConflict "facade.changing" (somebody else changes the device all the time), kDenied, kInvalid, kCorrupt
///           of the hub.
class FacadeDevices {
 public:
  struct Item {
    bool create = true;
    DeviceId id;
    json::object tags{};  ///< of creates; passed why_tags_unfit()
  };

  /// Told of every ended task once it is written, before the outcome is given; must not block.
  using OnRecorded = std::function<void(const store::NewWorkflow&)>;

  FacadeDevices(store::WorkflowStore& store, Clock& clock, Rng& rng, OnRecorded on_recorded = {})
      : store_(store), queue_(store), clock_(clock), rng_(rng), on_recorded_(std::move(on_recorded)) {}

  Result<FacadeOutcome> create(const FacadeTarget& at, const DeviceId& id, const json::object& tags,
                               const FacadeCall& call);
  Result<FacadeOutcome> remove(const FacadeTarget& at, const DeviceId& id, const FacadeCall& call);
  Result<FacadeOutcome> read(const FacadeTarget& at, const DeviceId& id, const FacadeCall& call);

  /// At most 100, no canonical id twice. Creates share bulk calls as large as the budget allows at once; what it does
  /// not allow gets kThrottled. One outcome for each, in order.
  /// Errors  of all: kThrottled when not even the first could be sent; the store, after which all may be repeated.
  Result<std::vector<Result<FacadeOutcome>>> batch(const FacadeTarget& at, const std::vector<Item>& items,
                                                   const FacadeCall& call);

 private:
  /// A line of the history, to be written before the outcome is given.
  struct Record {
    DeviceId id;
    std::string_view what;   ///< of the task's input
    std::string_view event;  ///< of the history
    json::object tags{};
    std::string note{};
  };
  struct Done {
    FacadeOutcome outcome;
    std::vector<Record> records{};
  };

  Result<KeyedLocks::Held> hold(const FacadeTarget& at, const std::vector<DeviceId>& ids, const Call& call);
  Status ready(const FacadeCall& call);
  Status record(const FacadeTarget& at, const std::vector<Record>& records, const FacadeCall& call);
  Result<FacadeOutcome> settle(const FacadeTarget& at, Result<Done> done, const FacadeCall& call);

  /// What meets a create of a DevEUI that the façade made in another spelling and the hub still has: outside both would
  /// be one device. Empty = there is none.
  Result<std::optional<Done>> meet_other_spelling(const FacadeTarget& at, const DeviceId& id, const json::object& tags,
                                                  const FacadeCall& call);
  Result<Done> create_new(const FacadeTarget& at, const DeviceId& id, const json::object& tags, const FacadeCall& call);
  Result<Done> after_failed_create(const FacadeTarget& at, const DeviceId& id, const json::object& tags, Error error,
                                   const FacadeCall& call);
  Result<Done> meet_existing(const FacadeTarget& at, const DeviceId& id, const json::object& tags,
                             const FacadeCall& call);
  Result<Done> take_existing(const FacadeTarget& at, const DeviceId& id, const json::object& tags,
                             const azure::Twin& twin, const FacadeCall& call);
  Status set_enabled(const FacadeTarget& at, const DeviceId& id, bool enabled, const Call& call);
  Result<Done> remove_one(const FacadeTarget& at, const DeviceId& id, const FacadeCall& call);
  Result<Done> remove_existing(const FacadeTarget& at, const DeviceId& id, const azure::Twin& twin,
                               const FacadeCall& call);
  Status create_many(const FacadeTarget& at, const std::vector<Item>& items, const std::vector<size_t>& creates,
                     std::vector<Result<Done>>& out, const FacadeCall& call);

  store::WorkflowStore& store_;
  store::StartQueue queue_;
  Clock& clock_;
  Rng& rng_;
  const OnRecorded on_recorded_;
  KeyedLocks locks_;
  std::atomic<bool> store_failed_ = false;  // at the last record: look before the hub is touched again
};

/// Why a hub would not take these tags, or the façade does not; empty = they are fit.
std::string why_tags_unfit(const json::object& tags, std::string_view link);

/// Why a run must not delete this device yet; empty = it may. A run's lists may be older than the device: what a caller
/// of the façade asked for less than `grace` ago is spared. Errors  those of the store.
Result<std::string> why_spared(store::WorkflowStore& store, const config::Link& link, const DeviceId& id, Millis grace,
                               Clock& clock, const Call& call);

}  // namespace twinstep::workflows
