#pragma once

#include <map>
#include <string>

#include "twinstep/config/config.h"
#include "twinstep/obs/metrics.h"
#include "twinstep/store/state_file.h"
#include "twinstep/store/workflow_store.h"

namespace twinstep::app {

/// Changes by kind ("create") and result ("done", "failed", "skipped", "task").
using ChangeCounts = std::map<std::pair<std::string, std::string>, uint64_t>;

/// What a run's or sweep's saved steps say. Steps that cannot be read say nothing.
struct RunFacts {
  ChangeCounts changes;
  std::optional<uint64_t> owned, orphans;
  bool nothing_to_do = false;  ///< a sweep that found both sides equal
};
RunFacts facts_of(const std::map<std::string, std::string>& steps);

/// Reads the figures of links from the store: the last good run, and the newest runs with their steps. What was read of
/// an ended run is not read again.
///
/// Threads   one at a time.
class LinkReader {
 public:
  /// Both outlive the reader.
  LinkReader(store::WorkflowStore& store, store::StateFile& state) : store_(store), state_(state) {}
  /// Errors  those of the store.
  Result<obs::LinkFigures> read(const config::Link& link, const Call& call);

 private:
  Result<const RunFacts*> facts(const store::Workflow& run, const Call& call);

  store::WorkflowStore& store_;
  store::StateFile& state_;
  std::map<std::string, RunFacts> known_;  // of ended runs that are among the newest of a link, by id
};

}  // namespace twinstep::app
