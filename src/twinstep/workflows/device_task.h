#pragma once

#include <memory>
#include <string>

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
  std::string event_id{};  ///< so that a repetition starts nothing; empty = none
  std::string source{};    ///< for people: "event 56af...", "sweep 1b2c..."
};

/// Tags that came with events, for the first try of the replica that received them: secrets among them are never
/// stored, and whoever does not find them here reads the hub. Bounded; the oldest go first.
///
/// Threads  any method, any thread.
class HintMemory {
 public:
  explicit HintMemory(size_t most = 20'000);
  ~HintMemory();
  void put(const store::WorkflowId& id, std::string tags);
  /// Gives and forgets; empty = not known.
  std::string take(const store::WorkflowId& id);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Of all device tasks of an external system: "external/NAME".
std::string external_lane(std::string_view external);
/// Of one device of a link: "device/LINK/CANONICAL-ID".
std::string device_key(std::string_view link, const DeviceId& device);

/// The task that a hint starts or joins, ready for WorkflowStore::start(). Tags that the provider marks as secret are
/// cut out. `tags` are those of the link's provider.
store::NewWorkflow device_task(const config::Link& link, const std::vector<providers::TagSpec>& tags,
                               const DeviceHint& hint, Rng& rng);

/// A task's input, for people and for `explain`. Errors  kCorrupt.
struct DeviceTaskInput {
  std::string link;
  DeviceId device;
  DeviceHint::What what = DeviceHint::What::kChanged;
  json::object tags;   ///< of the newest hint that carried some, without secrets
  std::string source;  ///< of the newest hint
};
Result<DeviceTaskInput> device_task_input(std::string_view input);

/// Works on one claim of a device task.
store::Finish converge_device(LinkContext& context, engine::Attempt& attempt, store::WorkflowStore& store,
                              HintMemory& hints);

}  // namespace twinstep::workflows
