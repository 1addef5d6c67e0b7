// Import and export jobs of the simulated hub.
#include <algorithm>
#include <condition_variable>
#include <thread>

#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using http::ServerResponse;

/// Sleepers wait until the test moves the time.
class HeldClock final : public Clock {
 public:
  SystemTime system_now() const override {
    std::scoped_lock lock(mutex_);
    return SystemTime{std::chrono::seconds{1'700'000'000}} +
           std::chrono::duration_cast<std::chrono::microseconds>(passed_);
  }
  SteadyTime steady_now() const override {
    std::scoped_lock lock(mutex_);
    return SteadyTime{std::chrono::hours{1000}} + passed_;
  }
  bool sleep_until(SteadyTime when, std::stop_token stop) override {
    std::unique_lock lock(mutex_);
    return moved_.wait(lock, stop, [&] { return SteadyTime{std::chrono::hours{1000}} + passed_ >= when; });
  }
  void advance(std::chrono::nanoseconds span) {
    {
      std::scoped_lock lock(mutex_);
      passed_ += span;
    }
    moved_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable_any moved_;
  std::chrono::nanoseconds passed_{0};
};

class JobTest : public HubTest {
 protected:
  JobTest() { storage("PUT", "/devstoreaccount1/job1", "restype=container"); }
  ServerResponse start_export(IotHubSim& at, const std::string& more = "") {
    return ask(at, "POST", "/jobs/create",
               fmt::format(R"({{"type":"export","outputBlobContainerUri":"{}"{}}})", sas("racwdl"), more));
  }
  json::object job(IotHubSim& at, const std::string& id) { return body_of(ask(at, "GET", "/jobs/" + id)); }
  /// Moves the held time on until the job has that status.
  bool reaches(const std::string& id, const std::string& status) {
    const SteadyTime limit = real_clock().steady_now() + std::chrono::seconds{30};
    while (real_clock().steady_now() < limit) {
      if (text_of(job(slow, id), "status") == status) return true;
      held.advance(std::chrono::milliseconds{100});
      std::this_thread::yield();
    }
    return false;
  }
  static std::vector<json::object> lines(const std::string& text) {
    std::vector<json::object> out;
    for (size_t from = 0, end; (end = text.find('\n', from)) != std::string::npos; from = end + 1)
      out.push_back(json::parse(std::string_view(text).substr(from, end - from), "line")->as_object());
    return out;
  }

  HeldClock held;
  IotHubSim slow{options(), held, direct};
};

TEST_F(JobTest, AJobIsEnqueuedThenRunsThenCompletes) {
  const auto made = body_of(start_export(slow));
  const std::string id = text_of(made, "jobId");
  EXPECT_EQ(made.at("status"), "enqueued");
  EXPECT_EQ(made.at("progress"), 0);
  EXPECT_FALSE(made.contains("endTimeUtc"));
  EXPECT_EQ(job(slow, id).at("status"), "enqueued");
  ASSERT_TRUE(reaches(id, "running"));
  EXPECT_EQ(job(slow, id).at("progress"), 0);
  ASSERT_TRUE(reaches(id, "completed"));
  const auto done = job(slow, id);
  EXPECT_EQ(done.at("progress"), 100);
  EXPECT_THAT(text_of(done, "endTimeUtc"), ::testing::EndsWith("Z"));
  EXPECT_EQ(done.at("startTimeUtc"), made.at("startTimeUtc"));
  EXPECT_EQ(json::write(done).find("sig="), std::string::npos) << "the address is a secret";
  EXPECT_EQ(list_of(ask(slow, "GET", "/jobs")).size(), 1u);
}

TEST_F(JobTest, OnlyOneJobIsActiveAndTheRefusalKeepsItsOddShape) {
  const std::string id = text_of(body_of(start_export(slow)), "jobId");
  const auto second = start_export(slow);
  EXPECT_EQ(error_of(second), "403 JobQuotaExceeded");
  EXPECT_THAT(text_of(body_of(second), "Message"),
              ::testing::StartsWith("ErrorCode:JobQuotaExceeded;Error: 403 ErrorCode: JobQuotaExceeded\n"
                                    "Message: Job quota has been exceeded\nTimestamp: "));
  EXPECT_EQ(text_of(body_of(second), "ExceptionMessage"), "");
  ASSERT_TRUE(reaches(id, "completed"));
  EXPECT_EQ(start_export(slow).status, 200);
}

TEST_F(JobTest, ACancelledJobMakesRoomAndWritesNothing) {
  const std::string id = text_of(body_of(start_export(slow)), "jobId");
  EXPECT_EQ(ask(slow, "DELETE", "/jobs/" + id, "", "\"" + id + "\"").status, 204) << "If-Match is ignored here";
  EXPECT_EQ(job(slow, id).at("status"), "cancelled");
  const auto next = start_export(slow, R"(,"outputBlobName":"second.txt")");
  ASSERT_EQ(next.status, 200);
  ASSERT_TRUE(reaches(text_of(body_of(next), "jobId"), "completed"));
  EXPECT_EQ(job(slow, id).at("status"), "cancelled");
  EXPECT_EQ(storage("GET", "/devstoreaccount1/job1/devices.txt").status, 404);
  EXPECT_EQ(storage("GET", "/devstoreaccount1/job1/second.txt").status, 200);
}

TEST_F(JobTest, UnknownAndFinishedJobsCannotBeCancelled) {
  EXPECT_EQ(ask("DELETE", "/jobs/none").status, 500);
  EXPECT_EQ(error_of(ask("GET", "/jobs/none")), "404 JobNotFound");
  const std::string id = text_of(body_of(start_export(hub)), "jobId");
  hub.wait_for_jobs();
  EXPECT_EQ(ask("DELETE", "/jobs/" + id).status, 500);
}

TEST_F(JobTest, TheStorageIsProbedBeforeTheJobIsAccepted) {
  const auto code = [&](const std::string& uri) {
    return error_of(
        ask("POST", "/jobs/create", fmt::format(R"({{"type":"export","outputBlobContainerUri":"{}"}})", uri)));
  };
  for (const char* lacking : {"r", "rl", "rwl", "wd", "d"})
    EXPECT_EQ(code(sas(lacking)), "400 BlobContainerValidationError") << lacking;
  EXPECT_EQ(code("http://storage/devstoreaccount1/job1"), "400 BlobContainerValidationError");
  storage("DELETE", "/devstoreaccount1/job1", "restype=container");
  EXPECT_EQ(code(sas("racwdl")), "400 BlobContainerValidationError") << "no such container";
  storage("PUT", "/devstoreaccount1/job1", "restype=container");
  EXPECT_EQ(code(sas("rwd")), "200 ");
  EXPECT_EQ(storage("GET", "/devstoreaccount1/job1", "restype=container&comp=list").body.find("probe"),
            std::string::npos);
}

TEST_F(JobTest, WrongJobDescriptionsAreRefused) {
  for (const char* body :
       {R"({"type":"copy","outputBlobContainerUri":"http://s/a/b"})", R"({"type":"export"})",
        R"({"type":"import","outputBlobContainerUri":"http://s/a/b"})",
        R"({"type":"export","outputBlobContainerUri":"http://s/a/b","storageAuthenticationType":"magic"})"})
    EXPECT_EQ(error_of(ask("POST", "/jobs/create", body)), "400 ArgumentInvalid") << body;
}

TEST_F(JobTest, IdentityJobsUseTheHubsOwnToken) {
  const char* body =
      R"({"type":"export","outputBlobContainerUri":"http://storage/devstoreaccount1/job1","outputBlobName":"i.txt",)"
      R"("storageAuthenticationType":"identityBased"})";
  hub.seed_device("d", true, false, "");
  const auto made = ask("POST", "/jobs/create", body);
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_FALSE(body_of(made).contains("storageAuthenticationType"));
  hub.wait_for_jobs();
  EXPECT_EQ(storage("GET", "/devstoreaccount1/job1/i.txt").status, 200);
  blobs.grant({});
  EXPECT_EQ(error_of(ask("POST", "/jobs/create", body)), "400 BlobContainerValidationError");
  blobs.grant({"hub-identity"});
  EXPECT_EQ(ask("POST", "/jobs/create", body).status, 200);
  hub.wait_for_jobs();
  IotHubSimOptions o = options();
  o.identity_token = "without a role";
  IotHubSim stranger(o, clock, direct);
  EXPECT_EQ(error_of(ask(stranger, "POST", "/jobs/create", body)), "400 BlobContainerValidationError");
}

TEST_F(JobTest, AUserAssignedIdentityNeedsTheRightItself) {
  const auto start = [&](const std::string& identity) {
    const auto r = ask("POST", "/jobs/create",
                       R"({"type":"export","outputBlobContainerUri":"http://storage/devstoreaccount1/job1",)"
                       R"("storageAuthenticationType":"identityBased","identity":{"userAssignedIdentity":")" +
                           identity + "\"}}");
    hub.wait_for_jobs();
    return error_of(r);
  };
  EXPECT_EQ(start("/subscriptions/s/one"), "400 BlobContainerValidationError") << "the system's right is not its own";
  blobs.grant({"hub-identity", identity_bearer("hub-identity", "/subscriptions/s/one")});
  EXPECT_EQ(start("/subscriptions/s/one"), "200 ");
  EXPECT_EQ(start("/subscriptions/s/two"), "400 BlobContainerValidationError");
}

TEST_F(JobTest, AnIdentityJobTakesNoSas) {
  EXPECT_EQ(error_of(start_export(hub, R"(,"storageAuthenticationType":"identityBased")")), "400 ArgumentInvalid");
}

TEST_F(JobTest, AJobFailsOrCutsALineOffOnCommand) {
  for (const char* id : {"a", "b", "c"}) hub.seed_device(id, true, false, "");
  JobFault next{.fail = true, .break_line = 0, .with_id = false};
  hub.on_job = [&](std::string_view type) { return type == "export" ? next : JobFault{}; };
  const std::string id = text_of(body_of(start_export(hub)), "jobId");
  hub.wait_for_jobs();
  EXPECT_EQ(job(hub, id).at("status"), "failed");
  EXPECT_NE(text_of(job(hub, id), "failureReason"), "");
  EXPECT_EQ(storage("GET", "/devstoreaccount1/job1/devices.txt").status, 404);
  const auto second_line = [&](bool with_id) {
    next = {.fail = false, .break_line = 2, .with_id = with_id};
    EXPECT_EQ(start_export(hub).status, 200);
    hub.wait_for_jobs();
    const std::string all = storage("GET", "/devstoreaccount1/job1/devices.txt").body;
    EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 3);
    const size_t from = all.find('\n') + 1;
    return all.substr(from, all.find('\n', from) - from);
  };
  EXPECT_EQ(second_line(true), R"({"id":"b",)");
  EXPECT_EQ(second_line(false), R"({"id":")");
}

TEST_F(JobTest, AnExportHasALineForEachDeviceAndModule) {
  hub.seed_device("plain", true, false, "");
  hub.seed_device("tagged", false, true, R"({"a":1})");
  ASSERT_EQ(ask("PUT", "/devices/tagged/modules/m", R"({"deviceId":"tagged","moduleId":"m"})").status, 200);
  ASSERT_EQ(start_export(hub, R"(,"outputBlobName":"folder/all.txt")").status, 200);
  hub.wait_for_jobs();
  const auto all = lines(storage("GET", "/devstoreaccount1/job1/folder/all.txt").body);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].at("id"), "plain");
  EXPECT_FALSE(all[0].contains("twinETag")) << "a twin without data is left out";
  EXPECT_EQ(all[0].at("authentication").at("symmetricKey").at("primaryKey").as_string().size(), 44u);
  EXPECT_EQ(all[0].at("eTag"), body_of(ask("GET", "/devices/plain")).at("etag"));
  EXPECT_EQ(all[1].at("tags").at("a"), 1);
  EXPECT_EQ(all[1].at("twinETag"), "AAAAAAAAAAE=");
  EXPECT_EQ(all[1].at("capabilities").at("iotEdge"), true);
  EXPECT_EQ(all[2].at("moduleId"), "m");
}

TEST_F(JobTest, AnExportWithoutDevicesIsAnEmptyBlob) {
  ASSERT_EQ(start_export(hub).status, 200);
  hub.wait_for_jobs();
  const auto blob = storage("GET", "/devstoreaccount1/job1/devices.txt");
  EXPECT_EQ(blob.status, 200);
  EXPECT_EQ(blob.body, "");
}

TEST_F(JobTest, ImportModesFollowTheTableWithNumbersInTheLog) {
  for (const char* id : {"p1", "p2", "p3", "p4", "p5", "p6"}) hub.seed_device(id, true, false, R"({"old":1})");
  const auto log = lines(import(hub, R"({"id":"a1","status":"enabled"}
{"id":"p1","importMode":"create","status":"enabled"}
{"id":"a2","importMode":"update","status":"enabled"}
{"id":"p2","importMode":"updateIfMatchETag","eTag":"MA==","status":"enabled"}
{"id":"a3","importMode":"deleteIfMatchETag","status":"enabled"}
{"id":"p3","importMode":"Delete","status":"Enabled"}
{"id":"p4","importMode":"updateTwin","status":"enabled","tags":{"new":1}}
{"id":"p5","importMode":"updateTwinIfMatchETag","twinETag":"AAAAAAAAAAk=","status":"enabled","tags":{"new":1}}
{"id":"a4","importMode":"createOrUpdateIfMatchETag","eTag":"MA==","status":"disabled","tags":{"n":1},"unknown":true}
{"id":"p6","importMode":"sideways","status":"enabled"}
{"id":"p6","importMode":"update"}
)"));
  ASSERT_EQ(log.size(), 7u);
  const std::pair<const char*, int> expected[] = {
      {"p1", 409001}, {"a2", 404001}, {"p2", 412001}, {"a3", 404001}, {"p5", 412001}};
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(text_of(log[i], "deviceId"), expected[i].first);
    EXPECT_EQ(log[i].at("errorCode"), expected[i].second);
  }
  EXPECT_FALSE(log[5].contains("deviceId")) << "what does not convert has no id";
  EXPECT_EQ(log[5].at("errorCode"), 400012);
  EXPECT_EQ(text_of(log[6], "deviceId"), "p6");
  EXPECT_EQ(log[6].at("errorCode"), 400004) << "status is needed on every line";
  EXPECT_EQ(ask("GET", "/devices/a1").status, 200);
  EXPECT_EQ(ask("GET", "/devices/p3").status, 404);
  EXPECT_EQ(body_of(ask("GET", "/twins/p4")).at("tags"), (json::object{{"new", 1}}));
  EXPECT_EQ(body_of(ask("GET", "/devices/a4")).at("status"), "disabled");
  EXPECT_EQ(body_of(ask("GET", "/twins/p5")).at("tags"), (json::object{{"old", 1}}));
}

TEST_F(JobTest, ACleanImportLeavesAnEmptyLogAndAFullHubSaysSo) {
  IotHubSimOptions o = options();
  o.max_devices = 1;
  IotHubSim small(o, clock, direct);
  EXPECT_EQ(import(small, "{\"id\":\"a\",\"importMode\":\"create\",\"status\":\"enabled\"}\n"), "");
  const auto log = lines(import(small, "{\"id\":\"b\",\"importMode\":\"create\",\"status\":\"enabled\"}\n"));
  ASSERT_EQ(log.size(), 1u);
  EXPECT_EQ(log[0].at("errorCode"), 403002);
}

TEST_F(JobTest, AnImportWithoutItsBlobFails) {
  const auto made = ask(
      "POST", "/jobs/create",
      fmt::format(
          R"({{"type":"import","inputBlobName":"none.txt","inputBlobContainerUri":"{0}","outputBlobContainerUri":"{0}"}})",
          sas("racwdl")));
  ASSERT_EQ(made.status, 200);
  EXPECT_TRUE(body_of(made).contains("inputBlobContainerUri"));
  hub.wait_for_jobs();
  const auto after = job(hub, text_of(body_of(made), "jobId"));
  EXPECT_EQ(after.at("status"), "failed");
  EXPECT_FALSE(after.contains("inputBlobContainerUri")) << "only the answer to the create shows it";
  EXPECT_NE(text_of(after, "failureReason"), "");
}

}  // namespace
}  // namespace twinstep::sims
