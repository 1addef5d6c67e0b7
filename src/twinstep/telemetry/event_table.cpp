#include "twinstep/telemetry/event_table.h"

#include <algorithm>

namespace twinstep::telemetry {

std::span<const EventKind> event_table() {
  static const std::vector<EventKind> table{
      {"ExternalDeviceCreated",
       "a device of the hub was made in the external system, or was found there",
       {"deviceId", "iothubname", "link", "task", "reason"}},
      {"ExternalDeviceCreationError",
       "making it failed; it is tried again",
       {"deviceId", "iothubname", "link", "task", "reason", "error"}},
      {"ExternalDeviceCreationFailed",
       "making it failed for good",
       {"deviceId", "iothubname", "link", "task", "reason"}},
      {"ExternalDeviceDeleted",
       "a device was deleted in the external system, or was gone there",
       {"deviceId", "iothubname", "link", "task", "reason"}},
      {"ExternalDeviceDeletedError",
       "deleting it failed; it is tried again",
       {"deviceId", "iothubname", "link", "task", "reason", "errorMessage"}},
      {"ExternalDeviceDeleteFailed",
       "deleting it failed for good",
       {"deviceId", "iothubname", "link", "task", "reason"}},
      {"DeviceTwinCheckFail",
       "the twin's tags are not complete yet; it is looked at again",
       {"deviceId", "iothubname", "link", "task", "reason", "missingProperty"}},
      {"DeviceTwinCheckFailed",
       "the twin's tags never became complete",
       {"deviceId", "iothubname", "link", "task", "reason"}},
      {"IoTHubJobCheckNotComplete",
       "an import or export job was looked at and is not done yet",
       {"iotHubJobId", "iothubname", "link", "run", "job", "jobId", "jobStatus"},
       {"progress"}},
      {"IoTHubJobFailed",
       "a job failed, or was not done in time and cancelled",
       {"iotHubJobId", "iothubname", "link", "run", "reason"}},
      {"IoTHubDeviceCreated", "a device was made in the hub", {"deviceId", "iothubname", "link", "run", "task"}},
      {"IoTHubDeviceDeleted",
       "a device was deleted in the hub, or disabled by the façade (`softDelete`)",
       {"deviceId", "iothubname", "link", "run", "task", "softDelete"}},
      {"RunStarted", "a run or sweep was begun", {"link", "iothubname", "run", "kind"}},
      {"RunCompleted",
       "it ended well; `result` counts what it did",
       {"link", "iothubname", "run", "kind", "result"},
       {"durationMs"}},
      {"RunFailed",
       "it failed, or some devices did",
       {"link", "iothubname", "run", "kind", "code", "reason"},
       {"durationMs"}},
      {"RunCancelled",
       "a person ended it, or nobody approved it in time",
       {"link", "iothubname", "run", "kind", "by", "reason"},
       {"durationMs"}},
      {"RunBlocked", "it waits for an approval", {"link", "iothubname", "run", "kind", "code", "reason"}},
      {"RunApproved", "a person let a blocked run go on", {"link", "iothubname", "run", "kind", "by"}},
      {"RunRejected", "a person refused a blocked run", {"link", "iothubname", "run", "kind", "by"}},
      {"GuardTripped",
       "a limit held changes back; `rule` names it",
       {"link", "iothubname", "run", "kind", "rule", "reason"}},
      {"LaneRests", "a remote refuses our credentials: an alarm", {"lane", "reason"}},
      {"LaneRecovered", "it accepts them again", {"lane"}},
      {"EventOfUnknownHub", "events came of a hub that no link listens to", {"iothubname"}, {"events"}},
      {"TaskBacklog",
       "more tasks than `telemetry.backlog` allows are due and not begun",
       {"lane"},
       {"tasks", "oldestSeconds"}},
  };
  return table;
}

const EventKind* find_event(std::string_view name) {
  const auto table = event_table();
  const auto found = std::find_if(table.begin(), table.end(), [&](const EventKind& kind) { return kind.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace twinstep::telemetry
