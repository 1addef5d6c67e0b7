#pragma once

#include "twinstep/azure/iothub_client.h"

/// The hub's JSON, read into and written from the types of iothub_client.h. Nothing here waits or sends.
/// Errors   kCorrupt when an answer lacks what every hub sends.
/// Source   azure.md 1.4 to 1.10
namespace twinstep::azure::wire {

Result<Identity> read_identity(json::value answer);
Result<Twin> read_twin(const json::value& answer);
Result<Job> read_job(const json::value& answer);
/// Of `/statistics/devices`.
Result<uint64_t> read_device_count(const json::value& answer);

/// The result object of a bulk call. `only` names the device for problems that name none, when there was just one.
/// Errors  kCorrupt also when the object says that the call failed but not where.
Result<BulkResult> read_bulk(const json::value& answer, const DeviceId& only);
/// Is this the result object, rather than an error object?
bool is_bulk_result(const json::value& answer);

std::string write_bulk(const std::vector<BulkEntry>& entries);
Secret write_job(const ExportJob& job);
Secret write_job(const ImportJob& job);

/// The header value of an If-Match: `*` bare, everything else quoted.
/// Errors  kInvalid when the etag is empty or cannot stand in a header.
Result<std::string> if_match(const Etag& etag);

/// Would a replace with this document keep the device's credentials?
/// Errors  kInvalid "hub.no-authentication"
Status keeps_credentials(const json::object& document);

}  // namespace twinstep::azure::wire
