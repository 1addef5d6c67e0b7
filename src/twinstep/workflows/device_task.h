#pragma once

#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "twinstep/engine/attempt.h"
#include "twinstep/workflows/link_context.h"

namespace twinstep::workflows {

/// A hint that a device of a link's hub changed. Not an order: the task makes the external system agree with what the
/// hub says when it runs (docs/durability.md).
struct DeviceHint {
  enum class What {
    kCreated,  ///< an event said that the hub has the device
    kDeleted,  ///< an event said that the hub has it no more
    kChanged,  ///< something else: a sweep found a difference, a person asked
  };
  What what = What::kChanged;
  DeviceId device;
  std::string tags{};      ///< JSON object of the twin's tags as the hint carried them; may hold secrets; empty = none
  std::string desired{};   ///< likewise its desired properties
  std::string event_id{};  ///< so that a repetition starts nothing; empty = none
  std::string source{};    ///< for people: "event 56af...", "sweep 1b2c..."
};

/// What came with events, for the first try of the replica that received them: secrets among it are never stored, and
/// whoever does not find it here reads the hub. Bounded; the oldest goes first.
///
/// Threads  any method, any thread.
class HintMemory {
 public:
  explicit HintMemory(size_t most = 20'000) : most_(most) {}
  /// JSON objects, `desired` may be empty.
  void put(const store::WorkflowId& id, std::string tags, std::string desired);
  /// Gives and forgets.
  std::optional<std::pair<json::object, json::object>> take(const store::WorkflowId& id);

 private:
  const size_t most_;
  std::mutex mutex_;  // guards the two below
  std::unordered_map<std::string, std::pair<std::string, std::string>> held_;
  std::deque<std::string> order_;
};

/// Of all device tasks of an external system: "external/NAME".
std::string external_lane(std::string_view external);
/// Of one device of a link: "device/LINK/CANONICAL-ID".
std::string device_key(std::string_view link, const DeviceId& device);

/// Of these tags those that may be kept: named by the provider's definition, and not secret there.
json::object kept_tags(const providers::ExternalRegistry& external, const json::object& tags);

/// The task that a hint starts or joins, ready for WorkflowStore::start(). Of the hint's tags only those are kept that
/// the provider's definition names and that are not secret there.
store::NewWorkflow device_task(const config::Link& link, const providers::ExternalRegistry& external,
                               const DeviceHint& hint, Rng& rng);

/// A task's input, for people and for `explain`. Errors  kCorrupt.
struct DeviceTaskInput {
  std::string link;
  DeviceId device;
  DeviceHint::What what = DeviceHint::What::kChanged;
  bool deleted = false;  ///< one of its hints said that the hub had the device no more; it may have another one now
  json::object tags;     ///< of the newest hint that carried some, without secrets
  std::string source;    ///< of the newest hint
};
Result<DeviceTaskInput> device_task_input(std::string_view input);

/// Works on one claim of a device task: reads the hub (but for the first hint of a device that was never seen, when it
/// carries all that is needed), then creates or deletes the device outside. docs/durability.md tells the whole.
///
/// History, in the sample's names: DeviceTwinCheckFail, DeviceTwinCheckFailed, ExternalDeviceCreated,
/// ExternalDeviceCreationError, ExternalDeviceCreationFailed, ExternalDeviceDeleted, ExternalDeviceDeletedError,
/// ExternalDeviceDeleteFailed.
store::Finish converge_device(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store,
                              HintMemory& hints);

}  // namespace twinstep::workflows
