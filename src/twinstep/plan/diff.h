#pragma once

#include <functional>
#include <string>

#include "twinstep/plan/compare.h"
#include "twinstep/plan/snapshot.h"
#include "twinstep/providers/external_registry.h"

namespace twinstep::plan {

struct DiffInput {
  std::string hub_path;       ///< export: NDJSON or a JSON array of devices or twins
  std::string external_path;  ///< listing: NDJSON, a JSON array, or pages one after the other
  std::string items_key;      ///< "/devices": where the array is when the listing's root is an object; empty = root
};

/// Both listings and what comes of comparing them.
struct DiffResult {
  Snapshot hub;
  Snapshot external;
  Comparison comparison;
};

/// Compares two local files. Each side is read on its own thread.
/// Errors  kNotFound, kDenied "diff.open" naming the file; those of snapshots; kCancelled.
Result<DiffResult> diff_files(const DiffInput& input, providers::Mapper& mapper, const Rules& rules,
                              const SnapshotOptions& options, const Call& call);
/// The same with an external list that some registry reads (the file provider, a remote).
Result<DiffResult> diff_registry(const std::string& hub_path, providers::ExternalRegistry& external, const Rules& rules,
                                 const SnapshotOptions& options, const Call& call);

/// Writes {"summary":{...},"changes":[...]}; without `changes` when `summary_only`. "withheld" (texts) and "problems"
/// follow when there are any. The guard's limits are not applied here.
Status write_diff(const DiffResult& result, bool summary_only, const std::function<Status(std::string_view)>& sink,
                  const Call& call);

}  // namespace twinstep::plan
