#pragma once

#include "twinstep/workflows/device_writer.h"

namespace twinstep::workflows {

/// Makes the creates and deletes of `changes` by one import job: writes the file, runs the job, reads importErrors.log,
/// settles every device. A job that completed with an empty log is a success; a failed line is that device's failure.
Status import_changes(LinkContext& context, const PlanId& plan, DeviceWriter& writer, const ChangeSource& changes,
                      const Call& call);

/// One line of importErrors.log.
struct ImportProblem {
  std::string device;  ///< empty when neither the line nor its text tells
  std::string code;
  std::string text;
};
/// Errors  kCorrupt: not a JSON object.
/// Source  azure.md 1.11.
Result<ImportProblem> parse_import_problem(std::string_view line);

}  // namespace twinstep::workflows
