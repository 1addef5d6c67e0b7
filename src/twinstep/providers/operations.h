#pragma once

#include "twinstep/providers/connection.h"

namespace twinstep::providers {

/// Runs the steps of get, create and delete. The rules that make several-step operations safe to repeat: `exists` on a
/// step of a create means "go on", after a look-up showed that the existing device is ours; `missing` on a step of a
/// delete means "go on"; after an unsure result of a `verify` step the look-up decides before anything is sent again.
///
/// Threads  any method, any thread.
class Operations {
 public:
  explicit Operations(Connection& connection) : connection_(connection), definition_(connection.definition()) {}

  bool can_look_up(const DeviceInput& device) const;
  Result<FoundDevice> look_up(const DeviceInput& device, const Call& call);
  Result<WriteOutcome> create(const DeviceInput& device, const Call& call);
  Result<WriteOutcome> remove(const DeviceInput& device, const Call& call);
  std::vector<TagFault> missing_for_create(const DeviceInput& device) const;

 private:
  struct Answer {
    Outcome outcome = Outcome::kOk;
    json::value body;
    std::optional<Error> refusal;  ///< set unless the outcome is ok
  };
  enum class Ours { kYes, kNo, kAbsent };

  Result<Answer> run(const StepSpec& step, Scope& scope, Operation operation, const Call& call);
  Result<bool> applies(const StepSpec& step, const Scope& scope) const;
  Result<Ours> whose(const DeviceInput& device, const Call& call);
  Result<Outcome> create_step(const StepSpec& step, Scope& scope, const Call& call);

  Connection& connection_;
  const Definition& definition_;
};

}  // namespace twinstep::providers
