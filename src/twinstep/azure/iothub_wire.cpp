#include "twinstep/azure/iothub_wire.h"

#include <algorithm>

#include "twinstep/azure/iothub_errors.h"

namespace twinstep::azure {
namespace {

json::value text(std::string_view s) { return json::value(std::string(s)); }

std::string folded(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

AuthKind auth_kind(std::string_view name) {
  const std::string type = folded(name);
  if (type.empty() || type == "sas") return AuthKind::kSas;
  if (type == "selfsigned") return AuthKind::kSelfSigned;
  if (type == "none") return AuthKind::kNone;
  // Kinds that do not exist yet are treated like certificates: left alone unless somebody names the device.
  return AuthKind::kCertificateAuthority;
}

bool is_edge(const json::object& o) {
  const json::object* capabilities = json::object_at(o, "capabilities");
  return capabilities && json::bool_or(*capabilities, "iotEdge", false);
}

Result<const json::object*> need_object(const json::value& answer, std::string_view what) {
  if (const json::object* o = answer.if_object()) return o;
  return fail(ErrorKind::kCorrupt, "hub.bad-answer", fmt::format("the answer is not {}", what));
}

std::string_view mode_name(BulkMode mode) {
  switch (mode) {
    case BulkMode::kCreate:
      return "create";
    case BulkMode::kUpdateTwinIfMatchEtag:
      return "updateTwinIfMatchETag";
    case BulkMode::kDelete:
      return "delete";
    case BulkMode::kDeleteIfMatchEtag:
      return "deleteIfMatchETag";
  }
  return "create";
}

/// The hub writes never-set times as the year 1.
std::optional<SystemTime> time_at(const json::object& o, std::string_view key) {
  const auto time = parse_iso(json::string_or(o, key));
  if (!time || *time <= SystemTime{}) return {};
  return *time;
}

EntryProblem problem(const json::object& o, std::string_view code_key, std::string_view text_key,
                     const DeviceId& only) {
  EntryProblem p;
  p.id = DeviceId(std::string(json::string_or(o, "deviceId", only.value)));
  const json::value* code = json::find(o, code_key);
  if (code && code->is_string()) p.code = std::string(code->get_string());
  if (code && (code->is_int64() || code->is_uint64())) p.code = std::to_string(json::int_or(o, code_key, 0));
  if (const HubCode* known = find_hub_code(p.code)) p.code = std::string(known->name);
  p.text = std::string(json::string_or(o, text_key));
  p.kind = hub_code_kind(p.code);
  return p;
}

void add_access(json::object& o, bool identity_based, const std::string& identity) {
  o["storageAuthenticationType"] = identity_based ? "identityBased" : "keyBased";
  if (identity_based && !identity.empty()) o["identity"] = json::object{{"userAssignedIdentity", text(identity)}};
}

Result<DeviceId> need_device_id(const json::object& o) {
  TRY_ASSIGN(std::string id, json::need_string(o, "deviceId"));
  if (id.empty()) return fail(ErrorKind::kCorrupt, "json.field", "member 'deviceId' is empty");
  return DeviceId(std::move(id));
}

}  // namespace

std::string import_line(const BulkEntry& entry) {
  json::object o;
  o["id"] = text(entry.id.value);
  o["importMode"] = text(mode_name(entry.mode));
  o["status"] = "enabled";
  if (entry.mode == BulkMode::kDeleteIfMatchEtag) o["eTag"] = text(entry.etag.value);
  if (entry.mode == BulkMode::kUpdateTwinIfMatchEtag) {
    o["twinETag"] = text(entry.twin_etag.value);
    o["tags"] = entry.tags;
  }
  if (entry.mode == BulkMode::kCreate && !entry.tags.empty()) o["tags"] = entry.tags;
  return json::write(json::value(std::move(o)));
}

bool is_final(JobState state) {
  return state == JobState::kCompleted || state == JobState::kFailed || state == JobState::kCancelled;
}

namespace wire {

Result<Identity> read_identity(json::value answer) {
  TRY(need_object(answer, "a device"));
  Identity d;
  d.document = std::move(answer.get_object());
  TRY_ASSIGN(d.id, need_device_id(d.document));
  TRY_ASSIGN(d.etag.value, json::need_string(d.document, "etag"));
  d.generation_id = std::string(json::string_or(d.document, "generationId"));
  d.enabled = folded(json::string_or(d.document, "status")) != "disabled";
  d.status_reason = std::string(json::string_or(d.document, "statusReason"));
  if (const json::object* auth = json::object_at(d.document, "authentication"))
    d.auth = auth_kind(json::string_or(*auth, "type"));
  d.edge = is_edge(d.document);
  return d;
}

Result<Twin> read_twin(const json::value& answer) {
  TRY_ASSIGN(const json::object* o, need_object(answer, "a twin"));
  Twin t;
  TRY_ASSIGN(t.id, need_device_id(*o));
  TRY_ASSIGN(t.etag.value, json::need_string(*o, "etag"));
  t.device_etag = Etag(std::string(json::string_or(*o, "deviceEtag")));
  t.enabled = folded(json::string_or(*o, "status")) != "disabled";
  t.status_reason = std::string(json::string_or(*o, "statusReason"));
  t.auth = auth_kind(json::string_or(*o, "authenticationType"));
  t.edge = is_edge(*o);
  if (const json::object* tags = json::object_at(*o, "tags")) t.tags = *tags;
  if (const json::object* properties = json::object_at(*o, "properties"))
    if (const json::object* desired = json::object_at(*properties, "desired")) t.desired = *desired;
  return t;
}

Result<Job> read_job(const json::value& answer) {
  TRY_ASSIGN(const json::object* o, need_object(answer, "a job"));
  Job j;
  TRY_ASSIGN(j.id.value, json::need_string(*o, "jobId"));
  const std::string type = folded(json::string_or(*o, "type"));
  j.is_import = type == "import";
  j.is_export = type == "export";
  const std::string state = folded(json::string_or(*o, "status"));
  if (state == "enqueued" || state == "queued" || state == "scheduled") j.state = JobState::kEnqueued;
  if (state == "running") j.state = JobState::kRunning;
  if (state == "completed") j.state = JobState::kCompleted;
  if (state == "failed") j.state = JobState::kFailed;
  if (state == "cancelled" || state == "canceled") j.state = JobState::kCancelled;
  j.progress = static_cast<int>(std::clamp<int64_t>(json::int_or(*o, "progress", 0), 0, 100));
  j.failure_reason = std::string(json::string_or(*o, "failureReason"));
  j.started = time_at(*o, "startTimeUtc");
  j.ended = time_at(*o, "endTimeUtc");
  j.input_blob = std::string(json::string_or(*o, "inputBlobName"));
  j.output_blob = std::string(json::string_or(*o, "outputBlobName"));
  return j;
}

Result<uint64_t> read_device_count(const json::value& answer) {
  TRY_ASSIGN(const json::object* o, need_object(answer, "the statistics"));
  TRY_ASSIGN(const int64_t count, json::need_int(*o, "totalDeviceCount"));
  return static_cast<uint64_t>(std::max<int64_t>(count, 0));
}

bool is_bulk_result(const json::value& answer) {
  const json::object* o = answer.if_object();
  return o && (json::find(*o, "isSuccessful") || json::array_at(*o, "errors"));
}

Result<BulkResult> read_bulk(const json::value& answer, const DeviceId& only) {
  if (!is_bulk_result(answer))
    return fail(ErrorKind::kCorrupt, "hub.bad-answer", "the answer does not say which devices were changed");
  const json::object& o = answer.get_object();
  BulkResult r;
  const auto collect = [&](std::string_view list, std::string_view code, std::string_view about, auto& into) {
    const json::array* items = json::array_at(o, list);
    if (!items) return;
    for (const json::value& item : *items)
      if (const json::object* entry = item.if_object()) into.push_back(problem(*entry, code, about, only));
  };
  collect("errors", "errorCode", "errorStatus", r.errors);
  collect("warnings", "warningCode", "warningStatus", r.warnings);
  if (!json::bool_or(o, "isSuccessful", false) && r.errors.empty())
    return fail(ErrorKind::kCorrupt, "hub.bad-answer",
                "the hub says that the call failed but names no device; read the devices again");
  return r;
}

std::string write_bulk(const std::vector<BulkEntry>& entries) {
  std::string out = "[";
  for (const BulkEntry& entry : entries) {
    if (out.size() > 1) out.push_back(',');
    out += import_line(entry);
  }
  out.push_back(']');
  return out;
}

Secret write_job(const ExportJob& job) {
  json::object o{{"type", "export"},
                 {"outputBlobContainerUri", text(job.container_uri.reveal())},
                 {"outputBlobName", text(job.blob_name)},
                 {"excludeKeysInExport", job.exclude_keys}};
  add_access(o, job.identity_based, job.user_assigned_identity);
  return Secret(json::write(json::value(std::move(o))));
}

Secret write_job(const ImportJob& job) {
  json::object o{{"type", "import"},
                 {"inputBlobContainerUri", text(job.input_container_uri.reveal())},
                 {"inputBlobName", text(job.blob_name)},
                 {"outputBlobContainerUri", text(job.output_container_uri.reveal())}};
  add_access(o, job.identity_based, job.user_assigned_identity);
  return Secret(json::write(json::value(std::move(o))));
}

Result<std::string> if_match(const Etag& etag) {
  if (etag.empty()) return fail(ErrorKind::kInvalid, "hub.no-etag", "an etag is needed; '*' means whatever is there");
  if (etag.value == "*") return std::string("*");
  if (std::any_of(etag.value.begin(), etag.value.end(), [](char c) { return c < 0x21 || c > 0x7e || c == '"'; }))
    return fail(ErrorKind::kInvalid, "hub.bad-etag", "the etag holds characters that no hub gives out");
  return fmt::format("\"{}\"", etag.value);
}

Status keeps_credentials(const json::object& document) {
  const auto refuse = [](std::string_view lacks) {
    return fail(ErrorKind::kInvalid, "hub.no-authentication",
                fmt::format("the document has no {}, so the hub would give the device new keys; read the device and "
                            "change that document",
                            lacks));
  };
  const json::object* auth = json::object_at(document, "authentication");
  if (!auth) return refuse("'authentication'");
  if (auth_kind(json::string_or(*auth, "type")) != AuthKind::kSas) return {};
  const json::object* keys = json::object_at(*auth, "symmetricKey");
  if (!keys || json::string_or(*keys, "primaryKey").empty() || json::string_or(*keys, "secondaryKey").empty())
    return refuse("symmetric keys in 'authentication'");
  return {};
}

}  // namespace wire
}  // namespace twinstep::azure
