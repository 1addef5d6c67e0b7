// Import and export jobs of the simulated hub: they read and write blobs through the SAS addresses that the client
// gave.
#include <fmt/format.h>

#include <algorithm>

#include "sims/iothub_sim.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

constexpr size_t kBlockBytes = 4 << 20;

/// The service reads names of values without regard to case; Microsoft's Node.js client writes IdentityBased.
bool same_word(std::string_view given, std::string_view word) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(given.begin(), given.end(), word.begin(), word.end(),
                    [&](char a, char b) { return lower(a) == lower(b); });
}

std::string micros(SystemTime t) { return hub_time(t.time_since_epoch().count()); }

HubError storage_refused(std::string text) { return {400, "BlobContainerValidationError", 400008, std::move(text)}; }

/// An export's line as a cut leaves it.
std::string cut_off(const std::string& line, bool with_id) {
  const size_t id = line.find("\"id\":\"");
  if (id == std::string::npos) return line.substr(0, line.size() / 2);
  const size_t value = id + 6;
  return line.substr(0, with_id ? line.find('"', value) + 2 : value);
}

}  // namespace

std::string identity_bearer(const std::string& identity_token, const std::string& user_assigned) {
  return user_assigned.empty() ? identity_token : identity_token + "~" + user_assigned;
}

json::object IotHubSim::job_json(const Job& job) const {
  json::object o{{"jobId", job.id}, {"startTimeUtc", micros(job.started)}};
  if (job.ended != SystemTime{}) o["endTimeUtc"] = micros(job.ended);
  o["type"] = job.type;
  o["status"] = job.status;
  o["progress"] = job.progress;
  o["outputBlobContainerUri"] = "";  // the address holds a secret: only its place is shown
  if (!job.output_blob.empty()) o["outputBlobName"] = job.output_blob;
  o["excludeKeysInExport"] = job.hide_keys;
  if (!job.failure.empty()) o["failureReason"] = job.failure;
  o["useSecondaryStorageAsSource"] = false;
  return o;
}

http::Request IotHubSim::blob_request(const Job& job, const std::string& uri, const std::string& blob,
                                      std::string_view method, std::string_view query) const {
  http::Request q;
  q.method = std::string(method);
  const size_t mark = std::min(uri.find('?'), uri.size());
  std::string path = uri.substr(0, mark);
  while (path.ends_with('/')) path.pop_back();
  std::string name;
  for (char c : blob) name += c == '/' ? std::string("/") : percent_encode(std::string_view(&c, 1));
  std::string rest = mark < uri.size() ? uri.substr(mark + 1) : std::string{};
  if (!query.empty()) rest += (rest.empty() ? "" : "&") + std::string(query);
  q.url = path + "/" + name + (rest.empty() ? "" : "?" + rest);
  q.headers = {{"x-ms-version", "2021-12-02"}, {"x-ms-date", format_http_date(clock_.system_now())}};
  if (job.identity)
    q.headers.push_back({"Authorization", "Bearer " + identity_bearer(options_.identity_token, job.user_assigned)});
  // Only Put Blob knows this header; Azurite takes a block list that carries it for a blob.
  if (method == "PUT" && query.empty()) q.headers.push_back({"x-ms-blob-type", "BlockBlob"});
  q.repeat = http::Repeat::kAlways;
  q.operation = "job storage";
  return q;
}

Answer<void> IotHubSim::probe(const Job& job) {
  const Call call{real_clock().steady_now() + std::chrono::seconds{30}, {}};
  const std::string probe = "iothub-probe-" + job.id;
  auto put = storage_.send(blob_request(job, job.output_uri, probe, "PUT", ""), call);
  if (!put || !put->ok()) return tl::unexpected(storage_refused("Unauthorized to write to output blob container."));
  auto gone = storage_.send(blob_request(job, job.output_uri, probe, "DELETE", ""), call);
  if (!gone || !gone->ok())
    return tl::unexpected(storage_refused("Unauthorized to delete from output blob container."));
  const std::string& read_uri = job.type == "import" ? job.input_uri : job.output_uri;
  auto read = storage_.send(blob_request(job, read_uri, probe, "GET", ""), call);
  if (!read || read->status != 404) return tl::unexpected(storage_refused("Unauthorized to read from blob container."));
  return {};
}

http::ServerResponse IotHubSim::job_create(const http::ServerRequest& r) {
  auto parsed = json::parse(r.body, "job");
  if (!parsed || !parsed->is_object())
    return refuse({400, "IotHubFormatError", 400006, "The request body is not a JSON object."});
  const json::object& body = parsed->as_object();
  const auto text = [&](std::string_view key) { return std::string(json::string_or(body, key)); };
  Job job;
  const std::string type = text("type");
  job.type = same_word(type, "export") ? "export" : same_word(type, "import") ? "import" : "";
  job.input_uri = text("inputBlobContainerUri");
  job.output_uri = text("outputBlobContainerUri");
  job.input_blob = text("inputBlobName");
  job.output_blob = text("outputBlobName");
  job.hide_keys = json::bool_or(body, "excludeKeysInExport", false);
  const std::string kind = text("storageAuthenticationType");
  job.identity = same_word(kind, "identityBased");
  if (const json::object* identity = json::object_at(body, "identity"))
    job.user_assigned = std::string(json::string_or(*identity, "userAssignedIdentity"));
  if (job.type.empty()) return refuse(argument_invalid("The job type must be export or import."));
  if (!kind.empty() && !same_word(kind, "keyBased") && !job.identity)
    return refuse(argument_invalid("storageAuthenticationType must be keyBased or identityBased."));
  if (job.output_uri.empty() || (job.type == "import" && job.input_uri.empty()))
    return refuse(argument_invalid("A blob container address is missing."));
  if (job.identity && (job.output_uri + job.input_uri).find('?') != std::string::npos)
    return refuse(argument_invalid("With identityBased a container address carries no SAS."));
  const std::string h = Rng::real().hex_id();
  job.id =
      fmt::format("{}-{}-{}-{}-{}", h.substr(0, 8), h.substr(8, 4), h.substr(12, 4), h.substr(16, 4), h.substr(20));
  if (auto good = probe(job); !good) return refuse(good.error());
  job.started = clock_.system_now();
  std::scoped_lock lock(mutex_);
  for (const auto& [id, other] : jobs_)
    if (other.status == "enqueued" || other.status == "running")
      return refuse({403, "JobQuotaExceeded", 403003, "Job quota has been exceeded"});
  json::object shown = job_json(job);
  if (job.type == "import") shown["inputBlobContainerUri"] = "";
  jobs_[job.id] = job;
  runners_.emplace_back([this, id = job.id](std::stop_token stop) { run_job(id, stop); });
  http::ServerResponse out;
  out.body = json::write(json::value(shown));
  return out;
}

void IotHubSim::wait_for_jobs() {
  std::unique_lock lock(mutex_);
  jobs_changed_.wait(lock, [&] {
    for (const auto& [id, job] : jobs_)
      if (job.status == "enqueued" || job.status == "running") return false;
    return true;
  });
}

void IotHubSim::run_job(std::string id, std::stop_token stop) {
  clock_.sleep_for(options_.job_queue, stop);
  Job job;
  {
    std::scoped_lock lock(mutex_);
    Job& at = jobs_[id];
    if (stop.stop_requested() || at.status == "cancelled") return;
    at.status = "running";
    job = at;
  }
  const JobFault fault = on_job ? on_job(job.type) : JobFault{};
  Status done = fail(ErrorKind::kUnavailable, "sim.job", "The job failed on command.");
  if (!fault.fail) done = job.type == "export" ? run_export(job, fault, stop) : run_import(job, stop);
  clock_.sleep_for(options_.job_duration, stop);
  std::scoped_lock lock(mutex_);
  Job& at = jobs_[id];
  if (at.status == "running") {
    at.status = done ? "completed" : "failed";
    at.progress = done ? 100 : at.progress;
    if (!done) at.failure = done.error().what;
    at.ended = clock_.system_now();
  }
  jobs_changed_.notify_all();
}

Status IotHubSim::run_export(const Job& job, const JobFault& fault, std::stop_token stop) {
  const Call call{SteadyTime::max(), stop};
  const std::string blob = job.output_blob.empty() ? "devices.txt" : job.output_blob;
  std::string pending, list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>";
  int blocks = 0;
  int64_t lines = job.hide_keys ? 1 : 0;
  const auto add = [&](const json::object& device) {
    const std::string line = json::write(json::value(device));
    pending += (++lines == fault.break_line ? cut_off(line, fault.with_id) : line) + "\n";
  };
  if (job.hide_keys) pending = "Keys are excluded from this export: symmetric keys are null in every line.\n";
  const auto send = [&](http::Request q) -> Status {
    auto answer = storage_.send(q, call);
    if (!answer) return fail(std::move(answer).error());
    if (!answer->ok())
      return fail(ErrorKind::kDenied, "sim.storage", fmt::format("storage answered {}", answer->status));
    return {};
  };
  const auto flush = [&]() -> Status {
    const std::string block = base64_encode(fmt::format("{:08}", blocks++));
    http::Request q = blob_request(job, job.output_uri, blob, "PUT", "comp=block&blockid=" + percent_encode(block));
    q.body = std::move(pending);
    pending.clear();
    list += "<Latest>" + block + "</Latest>";
    return send(std::move(q));
  };
  std::string after;
  for (bool more = true; more && !stop.stop_requested();) {
    {
      // In pieces, so that the hub goes on while a job runs; an export is no snapshot.
      std::scoped_lock lock(mutex_);
      if (jobs_[job.id].status == "cancelled") return {};
      auto it = devices_.upper_bound(after);
      for (int n = 0; n < 2'000 && it != devices_.end(); ++n, ++it) {
        after = it->first;
        add(export_json(it->first, "", it->second, keys_, job.hide_keys));
        if (it->second.extras)
          for (const auto& [name, m] : it->second.extras->modules)
            add(export_json(it->first, name, m, keys_, job.hide_keys));
      }
      more = it != devices_.end();
    }
    if (pending.size() >= kBlockBytes) TRY(flush());
  }
  if (!pending.empty()) TRY(flush());
  http::Request q = blob_request(job, job.output_uri, blob, "PUT", "comp=blocklist");
  q.headers.push_back({"x-ms-blob-content-type", "text/plain"});
  q.body = list + "</BlockList>";
  return send(std::move(q));
}

double IotHubSim::import_rate() const {
  if (!options_.throttle || options_.import_rate < 0) return 0;
  if (options_.import_rate > 0) return options_.import_rate;
  return (options_.tier.ends_with('3') ? 5000.0 : 100.0) * std::max(1, options_.units);
}

Status IotHubSim::run_import(const Job& job, std::stop_token stop) {
  const Call call{SteadyTime::max(), stop};
  std::string errors, rest;
  // A line costs what a registry operation costs; naps are taken together, so that fast hubs need few.
  const double rate = import_rate();
  SteadyTime due = clock_.steady_now();
  bool cancelled = false;
  const auto pace = [&] {
    if (rate <= 0) return;
    due += std::chrono::duration_cast<SteadyTime::duration>(std::chrono::duration<double>(60 / rate));
    if (due - clock_.steady_now() > std::chrono::milliseconds{200}) clock_.sleep_until(due, stop);
  };
  const auto line = [&](std::string_view text) {
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.find_first_not_of(" \t") == std::string_view::npos) return;
    const auto unreadable = [&](std::string_view why) {
      errors += json::write(json::object{
                    {"errorCode", 400012},
                    {"errorStatus", fmt::format("Invalid device format in line: {}. Error: {}", text, why)}}) +
                "\n";
    };
    auto parsed = json::parse(text, "line");
    if (!parsed || !parsed->is_object()) return unreadable("Error parsing the line.");
    pace();
    std::scoped_lock lock(mutex_);
    cancelled = cancelled || stop.stop_requested() || jobs_[job.id].status == "cancelled";
    if (cancelled) return;
    Entry about;
    const auto good = apply(parsed->as_object(), true, about);
    if (good) return;
    const HubError& e = good.error();
    // A line with a value that does not convert never becomes a device: it is reported without an id.
    if (e.text.starts_with("Error converting")) return unreadable(e.text);
    errors +=
        json::write(json::object{
            {"deviceId", about.id}, {"errorCode", e.number}, {"errorStatus", e.number == 409001 ? e.code : e.text}}) +
        "\n";
  };
  http::Request q =
      blob_request(job, job.input_uri, job.input_blob.empty() ? "devices.txt" : job.input_blob, "GET", "");
  q.sink = [&](std::string_view piece) -> Status {
    rest += piece;
    size_t from = 0;
    for (size_t end; (end = rest.find('\n', from)) != std::string::npos; from = end + 1)
      line(std::string_view(rest).substr(from, end - from));
    rest.erase(0, from);
    return {};
  };
  auto answer = storage_.send(q, call);
  if (!answer) return fail(std::move(answer).error());
  if (!answer->ok()) return fail(ErrorKind::kNotFound, "sim.storage", fmt::format("input blob: {}", answer->status));
  line(rest);
  if (cancelled) return {};
  http::Request log = blob_request(job, job.output_uri, "importErrors.log", "PUT", "");
  log.body = std::move(errors);
  auto put = storage_.send(log, call);
  if (!put) return fail(std::move(put).error());
  if (!put->ok()) return fail(ErrorKind::kDenied, "sim.storage", fmt::format("importErrors.log: {}", put->status));
  return {};
}

}  // namespace twinstep::sims
