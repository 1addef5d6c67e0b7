#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <set>

#include "twinstep/base/fake_clock.h"
#include "twinstep/workflows/fake_external.h"
#include "twinstep/workflows/fake_hub.h"
#include "twinstep/workflows/link_run.h"

/// A world in memory in which runs of a link are worked on, and killed at any moment.
namespace twinstep::workflows {

/// Counts every effect on a remote or the store, before and after it, and ends at one of them: from then on nothing
/// has an effect any more, as after `kill -9`.
class Mortal {
 public:
  bool step() {
    if (dead_) return false;
    if (++steps_ >= last_) dead_ = true;
    return !dead_;
  }
  void die_at(int step) {
    last_ = steps_ + step;
    dead_ = false;
  }
  void revive() { die_at(INT_MAX / 2); }
  bool dead() const { return dead_; }
  template <class Effect>
  auto live(const Effect& effect) -> decltype(effect()) {
    if (!step()) return fail(ErrorKind::kUnavailable, "test.dead", "the process was killed");
    auto out = effect();
    if (!step()) return fail(ErrorKind::kUnavailable, "test.dead", "the process was killed");
    return out;
  }

 private:
  std::atomic<int> steps_ = 0, last_ = INT_MAX / 2;
  std::atomic<bool> dead_ = false;
};

class MortalDatabase final : public store::Database {
 public:
  MortalDatabase(store::Database& database, Mortal& mortal) : database_(database), mortal_(mortal) {}
  Status write(const Body& body, const Call& call) override {
    return mortal_.live([&] { return database_.write(body, call); });
  }
  Status read(const Body& body, const Call& call) override {
    if (mortal_.dead()) return fail(ErrorKind::kUnavailable, "test.dead", "the process was killed");
    return database_.read(body, call);
  }
  void listen(Listener listener) override { database_.listen(std::move(listener)); }
  bool shared() const override { return database_.shared(); }
  Millis went_back() const override { return database_.went_back(); }

 private:
  store::Database& database_;
  Mortal& mortal_;
};

class FakeBlobs final : public azure::BlobClient {
 public:
  explicit FakeBlobs(Mortal& mortal) : mortal_(mortal) {}
  std::map<std::string, std::map<std::string, std::string, std::less<>>, std::less<>> containers;
  int whole_reads = 0;

  static std::string name_in(const Secret& uri) {
    const std::string_view text = uri.reveal();
    return std::string(text.substr(text.rfind('/') + 1));
  }

  Status create_container(std::string_view container, const Call&) override {
    return mortal_.live([&]() -> Status {
      containers[std::string(container)];
      return {};
    });
  }
  Status delete_container(std::string_view container, const Call&) override {
    return mortal_.live([&]() -> Status {
      if (containers.erase(std::string(container)) == 0) return fail(ErrorKind::kNotFound, "blob.gone", "no container");
      return {};
    });
  }
  Result<std::vector<azure::ContainerInfo>> list_containers(std::string_view, const Call&) override {
    return std::vector<azure::ContainerInfo>{};
  }
  Result<std::vector<azure::BlobInfo>> list_blobs(std::string_view, std::string_view, const Call&) override {
    return std::vector<azure::BlobInfo>{};
  }
  Result<azure::BlobInfo> properties(std::string_view, std::string_view, const Call&) override {
    return azure::BlobInfo{};
  }
  std::unique_ptr<azure::BlobWriter> write_blob(std::string_view container, std::string_view blob,
                                                const Call&) override {
    class Writer final : public azure::BlobWriter {
     public:
      Writer(FakeBlobs& blobs, std::string container, std::string blob)
          : blobs_(blobs), container_(std::move(container)), blob_(std::move(blob)) {}
      Status write(std::string_view piece) override {
        text_ += piece;
        return {};
      }
      Status finish() override {
        return blobs_.mortal_.live([&]() -> Status {
          blobs_.containers[container_][blob_] = text_;
          return {};
        });
      }

     private:
      FakeBlobs& blobs_;
      std::string container_, blob_, text_;
    };
    return std::make_unique<Writer>(*this, std::string(container), std::string(blob));
  }
  Result<uint64_t> read_blob(std::string_view container, std::string_view blob, const http::BodySink& sink,
                             const Call&) override {
    return mortal_.live([&]() -> Result<uint64_t> {
      const auto found = containers.find(container);
      if (found == containers.end() || !found->second.contains(blob))
        return fail(ErrorKind::kNotFound, "blob.gone", "no blob");
      const std::string text = found->second.find(blob)->second;
      TRY(sink(text));
      ++whole_reads;
      return text.size();
    });
  }
  Status delete_blob(std::string_view, std::string_view, const Call&) override { return {}; }
  Result<Secret> container_sas_uri(std::string_view container, SystemTime) override {
    return Secret(container_uri(container));
  }
  std::string container_uri(std::string_view container) const override {
    return fmt::format("https://blobs/{}", container);
  }

 private:
  Mortal& mortal_;
};

/// FakeHub with listings and with jobs that take two looks to end, whoever looks.
class RunHub final : public azure::IotHubClient {
 public:
  RunHub(Mortal& mortal, FakeBlobs& blobs) : mortal_(mortal), blobs_(blobs) {}
  FakeHub fake;
  std::map<std::string, int> writes;  ///< successful ones of each device
  int exports = 0, imports = 0;       ///< jobs made
  int looks_to_end = 2;
  std::function<void()> on_look;  ///< at a job that is running
  std::function<Status(const DeviceId&)>& before_write = fake.before_write;
  Status down;  ///< an error here is the answer to every listing

  const std::string& host() const override { return fake.host(); }
  Result<azure::Identity> get_device(const DeviceId& id, const Call& call) override {
    return mortal_.live([&] { return fake.get_device(id, call); });
  }
  Result<azure::Identity> create_device(const DeviceId& id, const Call& call) override {
    return changed(call, [&] { return counted(id, fake.create_device(id, call)); });
  }
  Result<azure::Identity> update_device(const json::object& document, const Etag& etag, const Call& call) override {
    const DeviceId id{std::string(json::string_or(document, "deviceId"))};
    return changed(call, [&] { return counted(id, fake.update_device(document, etag, call)); });
  }
  Status delete_device(const DeviceId& id, const Etag& etag, const Call& call) override {
    return changed(call, [&] { return counted(id, fake.delete_device(id, etag, call)); });
  }
  Status create_with_tags(const DeviceId& id, const json::object& tags, const Call& call) override {
    return changed(call, [&] { return counted(id, fake.create_with_tags(id, tags, call)); });
  }
  Result<azure::Twin> get_twin(const DeviceId& id, const Call& call) override {
    return mortal_.live([&] { return fake.get_twin(id, call); });
  }
  Result<azure::Twin> patch_tags(const DeviceId& id, const json::object& tags, const Etag& etag,
                                 const Call& call) override {
    return changed(call, [&] { return counted(id, fake.patch_tags(id, tags, etag, call)); });
  }
  Result<azure::BulkResult> bulk(const std::vector<azure::BulkEntry>& entries, const Call& call) override {
    return changed(call, [&] { return counted(entries, fake.bulk(entries, call)); });
  }
  Result<azure::QueryPage> query(std::string_view text, int, std::string_view, const Call&) override {
    return mortal_.live([&]() -> Result<azure::QueryPage> {
      TRY(down);
      if (text != "SELECT * FROM devices") return azure::QueryPage{"[]", "Twin", ""};
      json::array all;
      for (const auto& [id, device] : fake.devices)
        all.push_back(json::object{{"deviceId", id},
                                   {"etag", FakeHub::twin_etag(device).value},
                                   {"deviceEtag", FakeHub::identity_etag(device).value},
                                   {"status", device.enabled ? "enabled" : "disabled"},
                                   {"tags", device.tags}});
      return azure::QueryPage{json::write(all), "Twin", ""};
    });
  }
  Result<uint64_t> about_devices(const Call& call) override { return fake.about_devices(call); }
  Result<std::vector<std::string>> modules_of(const DeviceId& id, const Call& call) override {
    return fake.modules_of(id, call);
  }
  Result<azure::Job> create_export_job(const azure::ExportJob& job, const Call& call) override {
    return create_job(call, false, FakeBlobs::name_in(job.container_uri), job.blob_name);
  }
  Result<azure::Job> create_import_job(const azure::ImportJob& job, const Call& call) override {
    return create_job(call, true, FakeBlobs::name_in(job.input_container_uri), job.blob_name);
  }
  Result<azure::Job> get_job(const JobId& id, const Call& call) override {
    return mortal_.live([&]() -> Result<azure::Job> {
      for (azure::Job& job : fake.job_list)
        if (job.id == id && !azure::is_final(job.state)) {
          if (on_look) on_look();
          job.progress += 10;
          if (++looks_[id.value] >= looks_to_end) complete(job);
        }
      return fake.get_job(id, call);
    });
  }
  Result<std::vector<azure::Job>> list_jobs(const Call& call) override {
    return mortal_.live([&] { return fake.list_jobs(call); });
  }
  Status cancel_job(const JobId& id, const Call& call) override {
    return changed(call, [&]() -> Status {
      for (azure::Job& job : fake.job_list)
        if (job.id == id) job.state = azure::JobState::kCancelled;
      return fake.cancel_job(id, call);
    });
  }
  int running_jobs() const {
    return static_cast<int>(std::count_if(fake.job_list.begin(), fake.job_list.end(),
                                          [](const azure::Job& job) { return !azure::is_final(job.state); }));
  }

 private:
  /// As the client, which asks the guard right before it sends.
  template <class Effect>
  auto changed(const Call& call, const Effect& effect) -> decltype(effect()) {
    if (call.guard && !call.guard->holds()) return fail(ErrorKind::kCancelled, "call.not-ours", "not sent");
    return mortal_.live(effect);
  }
  template <class Outcome>
  Outcome counted(const DeviceId& id, Outcome outcome) {
    std::scoped_lock lock(mutex_);
    if (outcome) ++writes[id.value];
    return outcome;
  }
  Result<azure::BulkResult> counted(const std::vector<azure::BulkEntry>& entries, Result<azure::BulkResult> result) {
    std::set<std::string> refused;
    for (const auto& problem : result->errors) refused.insert(problem.id.value);
    for (const auto& entry : entries)
      if (!refused.contains(entry.id.value)) ++writes[entry.id.value];
    return result;
  }
  Result<azure::Job> create_job(const Call& call, bool import, const std::string& container, const std::string& blob) {
    return changed(call, [&]() -> Result<azure::Job> {
      if (running_jobs() > 0) return fail(FakeHub::error(ErrorKind::kUnavailable, "JobQuotaExceeded"));
      ++(import ? imports : exports);
      fake.add_job(import);
      azure::Job& job = fake.job_list.back();
      (import ? job.input_blob : job.output_blob) = blob;
      places_[job.id.value] = container;
      return job;
    });
  }
  void complete(azure::Job& job) {
    job.state = azure::JobState::kCompleted;
    auto& container = blobs_.containers[places_[job.id.value]];
    if (job.is_export) {
      std::string& text = container[job.output_blob];
      for (const auto& [id, device] : fake.devices)
        text += json::write(json::object{{"id", id},
                                         {"eTag", FakeHub::identity_etag(device).value},
                                         {"twinETag", FakeHub::twin_etag(device).value},
                                         {"status", device.enabled ? "enabled" : "disabled"},
                                         {"tags", device.tags}}) +
                "\n";
      return;
    }
    std::string_view text = container[job.input_blob];
    for (size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
      const auto line = json::parse(text.substr(0, end), "a line").value().as_object();
      const DeviceId id{std::string(json::string_or(line, "id"))};
      const json::object* tags = json::object_at(line, "tags");
      if (json::string_or(line, "importMode") == "deleteIfMatchETag")
        (void)counted(id, fake.delete_device(id, Etag(std::string(json::string_or(line, "eTag"))), {}));
      else
        (void)counted(id, fake.create_with_tags(id, tags ? *tags : json::object{}, {}));
    }
    container["importErrors.log"] = "";
  }

  Mortal& mortal_;
  FakeBlobs& blobs_;
  std::mutex mutex_;  // guards writes
  std::map<std::string, int> looks_;
  std::map<std::string, std::string> places_;
};

/// Everything that a daemon has around a link, and a way to be the daemon.
class RunWorld {
 public:
  explicit RunWorld(bool storage = false) {
    link.name = "one";
    link.hub = "fake";
    link.external = "outside";
    link.deletes = config::Deletes::kDelete;
    config.job_threshold = 1;
    sqlite = store::open_database("sqlite::memory:", clock).value();
    database.emplace(*sqlite, mortal);
    workflows.emplace(*database);
    runs.emplace(*database);
    state.emplace(*database);
    context.emplace(LinkContext{config, link, hub_config, hub, storage ? &blobs : nullptr, external, *state, clock, rng,
                                progress, ::testing::TempDir()});
  }

  void own(const std::string& id, const std::string& eui) {
    hub.fake.devices[id].tags = {{"twinstep", {{"link", "one"}}}, {"EUI", eui}};
  }
  store::Started start() { return workflows->start({link_workflow(link, "test", rng)}, {}).value().at(0); }

  /// One claim, dropped when the process dies in it. False: nothing was due.
  bool work(std::stop_token stop = {}) {
    auto claimed = workflows->claim(run_lane("fake"), "me", 1, Millis{60'000}, {});
    if (!claimed) return mortal.dead();
    if (claimed->empty()) return false;
    const store::Workflow claim = claimed->front().workflow;
    engine::Attempt attempt(*workflows, std::move(claimed->front()), {SteadyTime::max(), stop}, rng, holds);
    const store::Finish finish = link.master == config::Master::kHub ? sweep_link(*context, attempt, *workflows, *runs)
                                                                     : run_link(*context, attempt, *runs);
    if (!mortal.dead()) (void)workflows->finish(claim, finish, {});
    return true;
  }
  /// As a process that is started after the other one was killed.
  void restart() {
    mortal.revive();
    ASSERT_TRUE(workflows->begin({}));
  }
  /// Works and waits until nothing is due any more, or the process is killed.
  store::Workflow settle(const store::WorkflowId& id) {
    for (int claims = 0; claims < 200 && !mortal.dead(); ++claims) {
      if (work()) continue;
      const auto due = workflows->next_due(run_lane("fake"), {});
      if (!due || !*due) break;
      clock.advance(**due);
    }
    return find(id);
  }
  store::Workflow find(const store::WorkflowId& id) {
    return mortal.dead() ? store::Workflow{} : workflows->find(id, {}).value();
  }
  std::string plan_of(const store::WorkflowId& id) {
    const auto steps = workflows->steps(id, {}).value();
    return std::string(json::string_or(json::parse(steps.at("plan"), "plan").value().as_object(), "plan"));
  }
  Status approve(const store::WorkflowId& id, const std::string& plan) {
    return workflows->unblock(id, "approved", json::write(json::object{{"plan", plan}, {"by", "anna"}}), {});
  }
  std::vector<std::string> history(const store::WorkflowId& id) {
    std::vector<std::string> out;
    const auto lines = workflows->history(id, {}).value();
    for (const auto& line : lines) out.push_back(line.what + " " + line.detail);
    return out;
  }

  FakeClock clock;
  Rng rng{1};
  Mortal mortal;
  std::function<bool()> holds;  ///< whether a claim is surely this process's; empty = always
  config::Config config;
  config::Link link;
  config::Hub hub_config;
  FakeBlobs blobs{mortal};
  RunHub hub{mortal, blobs};
  FakeExternal external;
  QuietProgress progress;
  std::unique_ptr<store::Database> sqlite;
  std::optional<MortalDatabase> database;
  std::optional<store::WorkflowStore> workflows;
  std::optional<store::RunStore> runs;
  std::optional<store::StateFile> state;
  std::optional<LinkContext> context;
};

}  // namespace twinstep::workflows
