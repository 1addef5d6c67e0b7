#pragma once

#include <functional>
#include <vector>

#include "twinstep/engine/engine.h"

namespace twinstep::app {

/// Who hears what the engine did: events, notices, figures. The engine tells one; this tells all, in the order in which
/// they are named. Each is called from the lanes' own threads and must not block.
struct Listeners {
  using Recorded = std::function<void(const store::Workflow& claim, const store::Finish& finish, store::State state)>;
  using Rested = std::function<void(const engine::LaneRest&)>;

  std::vector<Recorded> recorded;
  std::vector<Rested> rested;

  /// `this` outlives the engine; nobody is added once it has started.
  void attach_to(engine::EngineOptions& options) const {
    options.on_recorded = [this](const store::Workflow& claim, const store::Finish& finish, store::State state) {
      for (const Recorded& one : recorded) one(claim, finish, state);
    };
    options.on_rest = [this](const engine::LaneRest& rest) {
      for (const Rested& one : rested) one(rest);
    };
  }
};

}  // namespace twinstep::app
