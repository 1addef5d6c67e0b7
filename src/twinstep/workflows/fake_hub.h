#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "twinstep/azure/iothub_client.h"

namespace twinstep::workflows {

/// A hub in memory with the rules that matter here: ETags, create-only, one job at a time, answers that get lost.
class FakeHub final : public azure::IotHubClient {
 public:
  struct Device {
    int identity = 1;
    int twin = 1;
    bool enabled = true;
    std::string reason;
    json::object tags;
    std::string key = "hub-made";
    azure::AuthKind auth = azure::AuthKind::kSas;
    std::vector<std::string> modules;
  };
  std::map<std::string, Device> devices;
  std::set<std::string> edge_devices;
  std::vector<azure::Job> job_list;
  int job_creations = 0;
  int cancelled_jobs = 0;
  std::deque<std::function<Result<azure::Job>()>> on_create_job;  ///< scripted; else a job that completes at once
  std::function<Status(const DeviceId&)> before_write;            ///< an error here is the answer
  std::function<Status()> after_write;                            ///< likewise, when it was done: the answer got lost
  std::function<Status()> before_bulk;                            ///< of a whole bulk call
  int requests = 0;                                               ///< about devices and twins
  std::function<void(azure::Job&)> on_poll;
  std::function<void()> on_request;  ///< at every patch and bulk call, on the caller's thread

  static Etag identity_etag(const Device& d) { return Etag(fmt::format("i{}", d.identity)); }
  static Etag twin_etag(const Device& d) { return Etag(fmt::format("t{}", d.twin)); }
  static Error error(ErrorKind kind, std::string code) {
    return {.kind = kind, .what = code, .code = "hub." + code, .remote_code = code};
  }

  const std::string& host() const override { return host_; }

  Result<azure::Identity> get_device(const DeviceId& id, const Call&) override {
    std::scoped_lock lock(mutex_);
    ++requests;
    const auto found = devices.find(id.value);
    if (found == devices.end()) return fail(error(ErrorKind::kNotFound, "DeviceNotFound"));
    const Device& d = found->second;
    azure::Identity out;
    out.id = id;
    out.etag = identity_etag(d);
    out.enabled = d.enabled;
    out.status_reason = d.reason;
    out.document = {
        {"deviceId", id.value}, {"status", d.enabled ? "enabled" : "disabled"}, {"authentication", {{"key", d.key}}}};
    return out;
  }
  Result<azure::Identity> create_device(const DeviceId& id, const Call& call) override {
    TRY(create_with_tags(id, {}, call));
    return get_device(id, call);
  }
  Result<azure::Identity> update_device(const json::object& document, const Etag& etag, const Call& call) override {
    const DeviceId id{std::string(json::string_or(document, "deviceId"))};
    {
      std::scoped_lock lock(mutex_);
      Device& d = devices.at(id.value);
      if (etag != identity_etag(d)) return fail(error(ErrorKind::kConflict, "PreconditionFailed"));
      ++d.identity;
      d.enabled = json::string_or(document, "status") == "enabled";
      d.reason = std::string(json::string_or(document, "statusReason"));
      const json::object* auth = json::object_at(document, "authentication");
      d.key = auth ? std::string(json::string_or(*auth, "key")) : "minted";
    }
    return get_device(id, call);
  }
  Status delete_device(const DeviceId& id, const Etag& etag, const Call&) override {
    if (before_write) TRY(before_write(id));
    std::scoped_lock lock(mutex_);
    ++requests;
    const auto found = devices.find(id.value);
    if (found == devices.end()) return fail(error(ErrorKind::kNotFound, "DeviceNotFound"));
    if (etag != identity_etag(found->second)) return fail(error(ErrorKind::kConflict, "PreconditionFailed"));
    devices.erase(found);
    return {};
  }
  Status create_with_tags(const DeviceId& id, const json::object& tags, const Call&) override {
    if (before_write) TRY(before_write(id));
    std::scoped_lock lock(mutex_);
    ++requests;
    if (devices.contains(id.value)) return fail(error(ErrorKind::kConflict, "DeviceAlreadyExists"));
    devices[id.value].tags = tags;
    return after_write ? after_write() : Status{};
  }
  Result<azure::Twin> get_twin(const DeviceId& id, const Call&) override {
    std::scoped_lock lock(mutex_);
    ++requests;
    const auto found = devices.find(id.value);
    if (found == devices.end()) return fail(error(ErrorKind::kNotFound, "DeviceNotFound"));
    azure::Twin out;
    out.id = id;
    out.etag = twin_etag(found->second);
    out.device_etag = identity_etag(found->second);
    out.enabled = found->second.enabled;
    out.status_reason = found->second.reason;
    out.auth = found->second.auth;
    out.tags = found->second.tags;
    out.edge = edge_devices.contains(id.value);
    return out;
  }
  Result<azure::Twin> patch_tags(const DeviceId& id, const json::object& tags, const Etag& etag,
                                 const Call& call) override {
    if (on_request) on_request();
    {
      std::scoped_lock lock(mutex_);
      const auto found = devices.find(id.value);
      if (found == devices.end()) return fail(error(ErrorKind::kNotFound, "DeviceNotFound"));
      Device& d = found->second;
      if (!etag.empty() && etag != twin_etag(d)) return fail(error(ErrorKind::kConflict, "PreconditionFailed"));
      ++d.twin;
      merge(d.tags, tags);
    }
    return get_twin(id, call);
  }
  Result<azure::BulkResult> bulk(const std::vector<azure::BulkEntry>& entries, const Call& call) override {
    if (on_request) on_request();
    if (before_bulk) TRY(before_bulk());
    azure::BulkResult out;
    for (const auto& entry : entries) {
      Status one = entry.mode == azure::BulkMode::kCreate ? create_with_tags(entry.id, entry.tags, call)
                                                          : delete_device(entry.id, entry.etag, call);
      if (!one) out.errors.push_back({entry.id, one.error().remote_code, one.error().what, one.error().kind});
    }
    if (bulk_answer_lost) return fail(ErrorKind::kTimeout, "http.timeout", "no answer");
    return out;
  }
  bool bulk_answer_lost = false;

  /// Answers a query, given its text and continuation; else nothing is found.
  std::function<Result<azure::QueryPage>(std::string_view text, std::string_view continuation)> on_query;

  Result<azure::QueryPage> query(std::string_view text, int, std::string_view continuation, const Call&) override {
    if (on_query) return on_query(text, continuation);
    return azure::QueryPage{"[]", "Twin", ""};
  }
  Result<uint64_t> about_devices(const Call&) override {
    if (!counts_devices) return fail(error(ErrorKind::kUnavailable, "ServiceUnavailable"));
    std::scoped_lock lock(mutex_);
    return devices.size();
  }
  bool counts_devices = true;
  Result<std::vector<std::string>> modules_of(const DeviceId& id, const Call&) override {
    std::scoped_lock lock(mutex_);
    const auto found = devices.find(id.value);
    return found == devices.end() ? std::vector<std::string>{} : found->second.modules;
  }

  Result<azure::Job> create_export_job(const azure::ExportJob&, const Call&) override { return create_job(false); }
  Result<azure::Job> create_import_job(const azure::ImportJob&, const Call&) override { return create_job(true); }
  /// Adds a job as the hub would.
  azure::Job add_job(bool import, azure::JobState state = azure::JobState::kRunning) {
    azure::Job job;
    job.id = JobId(fmt::format("job-{}", job_list.size() + 1));
    job.is_import = import;
    job.is_export = !import;
    job.state = state;
    job_list.push_back(job);
    return job;
  }
  Result<azure::Job> get_job(const JobId& id, const Call&) override {
    for (auto& job : job_list)
      if (job.id == id) {
        if (on_poll) on_poll(job);
        return job;
      }
    return fail(error(ErrorKind::kNotFound, "JobNotFound"));
  }
  Result<std::vector<azure::Job>> list_jobs(const Call&) override { return job_list; }
  Status cancel_job(const JobId&, const Call&) override {
    ++cancelled_jobs;
    return {};
  }

 private:
  /// RFC 7396, as the hub does it.
  static void merge(json::object& into, const json::object& patch) {
    for (const auto& member : patch) {
      if (member.value().is_null()) {
        into.erase(member.key());
      } else if (const json::object* inner = member.value().if_object()) {
        json::value& there = into[member.key()];
        if (!there.is_object()) there = json::object{};
        merge(there.get_object(), *inner);
      } else {
        into[member.key()] = member.value();
      }
    }
  }
  Result<azure::Job> create_job(bool import) {
    ++job_creations;
    if (!on_create_job.empty()) {
      auto next = std::move(on_create_job.front());
      on_create_job.pop_front();
      return next();
    }
    return add_job(import, azure::JobState::kCompleted);
  }
  std::string host_ = "fake.azure-devices.net";
  std::mutex mutex_;  // guards devices
};

}  // namespace twinstep::workflows
