#include "twinstep/azure/iothub_client.h"

#include <gtest/gtest.h>

#include "twinstep/azure/budget.h"
#include "twinstep/azure/scripted_http.h"
#include "twinstep/base/fake_clock.h"

namespace twinstep::azure {
namespace {

using namespace std::chrono_literals;

constexpr const char* kDevice =
    R"({"deviceId":"d 1","generationId":"638700000001234567","etag":"NDIx","connectionState":"Disconnected",)"
    R"("status":"Disabled","statusReason":"from LNS","statusUpdatedTime":"0001-01-01T00:00:00","authentication":)"
    R"({"symmetricKey":{"primaryKey":"c2VjcmV0MQ==","secondaryKey":"c2VjcmV0Mg=="},"type":"sas"},)"
    R"("capabilities":{"iotEdge":true},"parentScopes":[]})";
constexpr const char* kTwin =
    R"({"deviceId":"d","etag":"AAAAAAAAAAI=","deviceEtag":"NDIx","status":"enabled","authenticationType":"selfSigned",)"
    R"("tags":{"a":"b"},"properties":{"desired":{"interval":60,"$version":2},"reported":{"$version":1}}})";
constexpr const char* kJob =
    R"({"jobId":"j1","startTimeUtc":"2026-08-20T22:05:30.1234567Z","endTimeUtc":"0001-01-01T00:00:00Z",)"
    R"("type":"Export","status":"Running","progress":40,"failureReason":null,"outputBlobName":"devices.txt"})";
constexpr const char* kDone = R"({"isSuccessful":true,"errors":[],"warnings":[]})";

class FakeAuth final : public http::Authenticator {
 public:
  Status sign(http::Request& request, const Call&) override {
    request.headers.push_back({"Authorization", fmt::format("token-{}", generation)});
    return {};
  }
  Result<bool> renew(const http::Response&, const Call&) override {
    ++generation;
    return fresh;
  }
  int generation = 1;
  bool fresh = true;
};

struct HubClientTest : testing::Test {
  FakeClock clock;
  Rng rng{3};
  ScriptedHttp http;
  FakeAuth auth;
  std::shared_ptr<HubBudget> budget = std::make_shared<HubBudget>(HubTier::kS1, 1, clock, rng);
  std::unique_ptr<IotHubClient> hub =
      make_iothub_client("contoso", "contoso.azure-devices.net:8443", auth, budget, http, clock, rng);
  const DeviceId d{"d"};
  const Call call;

  std::string url(size_t i) const { return http.requests.at(i).url; }
  static std::string at(const std::string& path) {
    return "https://contoso.azure-devices.net:8443" + path + "?api-version=2021-04-12";
  }
  static BulkEntry entry(std::string id, BulkMode mode = BulkMode::kCreate, std::string etag = {}) {
    BulkEntry e;
    e.id = DeviceId(std::move(id));
    e.mode = mode;
    (mode == BulkMode::kUpdateTwinIfMatchEtag ? e.twin_etag : e.etag) = Etag(std::move(etag));
    return e;
  }
};

TEST_F(HubClientTest, ReadsADeviceWithEveryCharacterOfItsIdEncoded) {
  http.answer(200, kDevice);
  const auto got = hub->get_device(DeviceId("a#?%+/"), call);
  ASSERT_FALSE(got) << "a slash is no legal character";
  EXPECT_TRUE(http.requests.empty());
  const auto device = hub->get_device(DeviceId("a#?%+'$"), call);
  ASSERT_TRUE(device) << device.error().what;
  EXPECT_EQ(url(0), at("/devices/a%23%3F%25%2B%27%24"));
  EXPECT_EQ(http.requests[0].method, "GET");
  EXPECT_EQ(http.header(0, "authorization"), "token-1");
  EXPECT_GE(http.requests[0].try_timeout, 60s);
  EXPECT_EQ(device->id.value, "d 1");
  EXPECT_EQ(device->etag.value, "NDIx");
  EXPECT_EQ(device->generation_id, "638700000001234567");
  EXPECT_FALSE(device->enabled);
  EXPECT_TRUE(device->edge);
  EXPECT_EQ(device->status_reason, "from LNS");
  EXPECT_TRUE(device->document.contains("parentScopes"));
}

TEST_F(HubClientTest, DotsAloneNeverReachTheHubAsAPath) {
  for (const char* id : {"", ".", ".."}) {
    EXPECT_EQ(hub->delete_device(DeviceId(id), Etag("*"), call).error().code, "hub.bad-device-id");
    EXPECT_EQ(hub->get_job(JobId(id), call).error().code, "hub.bad-job-id");
  }
  EXPECT_TRUE(http.requests.empty());
}

TEST_F(HubClientTest, CreatesWithoutIfMatchSoThatNothingIsOverwritten) {
  http.answer(200, kDevice);
  ASSERT_TRUE(hub->create_device(d, call));
  EXPECT_EQ(http.requests[0].method, "PUT");
  EXPECT_EQ(http.requests[0].body, R"({"deviceId":"d"})");
  EXPECT_EQ(http.header(0, "If-Match"), "");
  http.refuse(409, "DeviceAlreadyExists");
  const auto again = hub->create_device(d, call);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(again.error().request_id, "req-1");
  EXPECT_TRUE(again.error().what.starts_with("IoT Hub contoso: create device 'd': 409 DeviceAlreadyExists"));
}

TEST_F(HubClientTest, UpdatesAreGuardedByAQuotedEtagOrABareStar) {
  const json::object document{{"deviceId", "d"}, {"authentication", json::object{{"type", "selfSigned"}}}};
  http.answer(200, kDevice);
  http.answer(200, kDevice);
  ASSERT_TRUE(hub->update_device(document, Etag("NDIx"), call));
  ASSERT_TRUE(hub->update_device(document, Etag("*"), call));
  EXPECT_EQ(http.header(0, "If-Match"), "\"NDIx\"");
  EXPECT_EQ(http.header(1, "If-Match"), "*");
  http.refuse(412, "PreconditionFailed");
  EXPECT_EQ(hub->update_device(document, Etag("b2xk"), call).error().kind, ErrorKind::kConflict);
  http.refuse(404, "DeviceNotFound");
  EXPECT_EQ(hub->update_device(document, Etag("b2xk"), call).error().kind, ErrorKind::kNotFound);
}

TEST_F(HubClientTest, AnUpdateThatWouldMintNewKeysIsRefused) {
  for (const char* text : {R"({"deviceId":"d"})", R"({"deviceId":"d","authentication":null})",
                           R"({"deviceId":"d","authentication":{"type":"sas"}})",
                           R"({"deviceId":"d","authentication":{"symmetricKey":{"primaryKey":null},"type":"SAS"}})"}) {
    const auto got = hub->update_device(json::parse(text, "t")->as_object(), Etag("*"), call);
    ASSERT_FALSE(got) << text;
    EXPECT_EQ(got.error().code, "hub.no-authentication");
    EXPECT_EQ(got.error().kind, ErrorKind::kInvalid);
  }
  EXPECT_TRUE(http.requests.empty());
}

TEST_F(HubClientTest, DeletesOnlyWithAnEtag) {
  EXPECT_EQ(hub->delete_device(d, Etag{}, call).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(hub->delete_device(d, Etag("a\"\r\nX: y"), call).error().code, "hub.bad-etag");
  EXPECT_TRUE(http.requests.empty());
  http.answer(204);
  EXPECT_TRUE(hub->delete_device(d, Etag("NDIx"), call));
  EXPECT_EQ(http.requests[0].method, "DELETE");
  EXPECT_EQ(http.header(0, "If-Match"), "\"NDIx\"");
  http.refuse(404, "DeviceNotFound");
  EXPECT_EQ(hub->delete_device(d, Etag("*"), call).error().kind, ErrorKind::kNotFound);
}

TEST_F(HubClientTest, ReadsATwinAndPatchesItsTags) {
  http.answer(200, kTwin);
  const auto twin = hub->get_twin(d, call);
  ASSERT_TRUE(twin);
  EXPECT_EQ(url(0), at("/twins/d"));
  EXPECT_EQ(twin->etag.value, "AAAAAAAAAAI=");
  EXPECT_EQ(twin->device_etag.value, "NDIx");
  EXPECT_EQ(twin->auth, AuthKind::kSelfSigned);
  EXPECT_EQ(json::string_or(twin->tags, "a"), "b");
  EXPECT_EQ(json::int_or(twin->desired, "$version", 0), 2);
  http.answer(200, kTwin);
  ASSERT_TRUE(hub->patch_tags(d, {{"a", nullptr}}, twin->etag, call));
  EXPECT_EQ(http.requests[1].method, "PATCH");
  EXPECT_EQ(http.requests[1].body, R"({"tags":{"a":null}})");
  EXPECT_EQ(http.header(1, "If-Match"), "\"AAAAAAAAAAI=\"");
  http.answer(200, R"({"deviceId":"d","etag":"x"})");
  const auto bare = hub->patch_tags(d, {}, Etag{}, call);
  ASSERT_TRUE(bare);
  EXPECT_EQ(http.header(2, "If-Match"), "");
  EXPECT_TRUE(bare->tags.empty());
}

TEST_F(HubClientTest, ImportLinesHaveAStatusAndNoKeys) {
  BulkEntry create = entry("d");
  create.tags = {{"a", 1}};
  EXPECT_EQ(import_line(create), R"({"id":"d","importMode":"create","status":"enabled","tags":{"a":1}})");
  EXPECT_EQ(import_line(entry("d", BulkMode::kDelete)), R"({"id":"d","importMode":"delete","status":"enabled"})");
  EXPECT_EQ(import_line(entry("d", BulkMode::kDeleteIfMatchEtag, "E")),
            R"({"id":"d","importMode":"deleteIfMatchETag","status":"enabled","eTag":"E"})");
  EXPECT_EQ(import_line(entry("d", BulkMode::kUpdateTwinIfMatchEtag, "T")),
            R"({"id":"d","importMode":"updateTwinIfMatchETag","status":"enabled","twinETag":"T","tags":{}})");
}

TEST_F(HubClientTest, ABulkCallSendsABareListAndPaysForEveryEntry) {
  http.answer(200, kDone);
  const auto before = budget->estimate(HubOperation::kRegistry, 100);
  const auto got = hub->bulk({entry("a"), entry("b", BulkMode::kDelete)}, call);
  ASSERT_TRUE(got);
  EXPECT_TRUE(got->errors.empty());
  EXPECT_EQ(url(0), at("/devices"));
  EXPECT_EQ(http.requests[0].method, "POST");
  EXPECT_EQ(http.requests[0].body, R"([{"id":"a","importMode":"create","status":"enabled"},)"
                                   R"({"id":"b","importMode":"delete","status":"enabled"}])");
  const auto later = budget->estimate(HubOperation::kRegistry, 100) - before;
  EXPECT_NEAR(std::chrono::duration<double>(later).count(), 2 / (100.0 / 60 * 0.99), 0.01);
}

TEST_F(HubClientTest, APartlyFailingBulkCallIsAValueWithNamesOrNumbers) {
  http.answer(400, R"({"isSuccessful":false,"errors":[)"
                   R"({"deviceId":"a","errorCode":"DeviceAlreadyExists","errorStatus":"x","moduleId":null},)"
                   R"({"deviceId":"b","errorCode":412001,"errorStatus":"y"},{"deviceId":"c","errorCode":"404001"},)"
                   R"({"deviceId":"e","errorCode":429555}],)"
                   R"("warnings":[{"deviceId":"f","warningCode":"DeviceRegisteredWithoutTwin","warningStatus":"w"}]})");
  const auto got = hub->bulk({entry("a"), entry("b"), entry("c"), entry("e"), entry("f")}, call);
  ASSERT_TRUE(got) << got.error().what;
  ASSERT_EQ(got->errors.size(), 4u);
  EXPECT_EQ(got->errors[0].code, "DeviceAlreadyExists");
  EXPECT_EQ(got->errors[0].kind, ErrorKind::kConflict);
  EXPECT_EQ(got->errors[1].code, "PreconditionFailed");
  EXPECT_EQ(got->errors[1].text, "y");
  EXPECT_EQ(got->errors[2].kind, ErrorKind::kNotFound);
  EXPECT_EQ(got->errors[3].code, "429555");
  EXPECT_EQ(got->errors[3].kind, ErrorKind::kThrottled);
  ASSERT_EQ(got->warnings.size(), 1u);
  EXPECT_EQ(got->warnings[0].id.value, "f");
}

TEST_F(HubClientTest, ABulkCallThatFailsAsAWholeIsAnError) {
  http.refuse(400, "DeviceDefinedMultipleTimes");
  EXPECT_EQ(hub->bulk({entry("a")}, call).error().code, "hub.DeviceDefinedMultipleTimes");
  http.answer(400, R"({"isSuccessful":false,"errors":[],"warnings":[]})");
  EXPECT_EQ(hub->bulk({entry("a")}, call).error().kind, ErrorKind::kCorrupt);
  http.answer(200, "{}");
  EXPECT_EQ(hub->bulk({entry("a")}, call).error().kind, ErrorKind::kCorrupt);
}

TEST_F(HubClientTest, BulkLimitsAreCheckedBeforeAnythingIsSent) {
  std::vector<BulkEntry> many;
  for (int i = 0; i < 101; ++i) many.push_back(entry(fmt::format("d{}", i)));
  EXPECT_EQ(hub->bulk(many, call).error().code, "hub.bulk-too-many");
  EXPECT_EQ(hub->bulk({entry("a"), entry("a", BulkMode::kDelete)}, call).error().code, "hub.bulk-twice");
  EXPECT_EQ(hub->bulk({entry("a b")}, call).error().code, "hub.bad-device-id");
  EXPECT_EQ(hub->bulk({entry("a", BulkMode::kDeleteIfMatchEtag)}, call).error().code, "hub.no-etag");
  EXPECT_EQ(hub->bulk({entry("a", BulkMode::kUpdateTwinIfMatchEtag)}, call).error().code, "hub.no-etag");
  EXPECT_TRUE(hub->bulk({}, call));
  EXPECT_TRUE(http.requests.empty());
}

TEST_F(HubClientTest, CreatesWithTagsInOneCallAndReportsAnExistingDevice) {
  http.answer(200, kDone);
  ASSERT_TRUE(hub->create_with_tags(d, {{"a", "b"}}, call));
  EXPECT_EQ(http.requests[0].body, R"([{"id":"d","importMode":"create","status":"enabled","tags":{"a":"b"}}])");
  http.answer(400, R"({"isSuccessful":false,"errors":[{"deviceId":"d","errorCode":"DeviceAlreadyExists"}]})");
  const Status again = hub->create_with_tags(d, {}, call);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(again.error().code, "hub.DeviceAlreadyExists");
}

TEST_F(HubClientTest, WritesTheTagsAgainWhenTheDeviceCameWithoutItsTwin) {
  http.answer(200, R"({"isSuccessful":true,"errors":[],"warnings":[)"
                   R"({"deviceId":"d","warningCode":"DeviceRegisteredWithoutTwin","warningStatus":""}]})");
  http.answer(200, kTwin);
  ASSERT_TRUE(hub->create_with_tags(d, {{"a", "b"}}, call));
  ASSERT_EQ(http.requests.size(), 2u);
  EXPECT_EQ(http.requests[1].method, "PATCH");
  EXPECT_EQ(http.requests[1].body, R"({"tags":{"a":"b"}})");

  http.answer(200, R"({"isSuccessful":true,"errors":[],"warnings":[)"
                   R"({"deviceId":"d","warningCode":"DeviceRegisteredWithoutTwin","warningStatus":""}]})");
  http.refuse(400, "ArgumentInvalid");
  const Status left = hub->create_with_tags(d, {{"a", "b"}}, call);
  ASSERT_FALSE(left);
  EXPECT_NE(left.error().what.find("made it without its tags"), std::string::npos) << left.error().what;
}

TEST_F(HubClientTest, QueriesPageByPageWithTheContinuation) {
  http.answer(200, "[{\"deviceId\":\"a\"}]", {{"X-MS-Item-Type", "Twin"}, {"x-ms-continuation", "c1=="}});
  http.answer(200, "[]");
  const auto first = hub->query("SELECT * FROM devices", 5000, "", call);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->item_type, "Twin");
  EXPECT_EQ(first->continuation, "c1==");
  EXPECT_EQ(http.requests[0].body, R"({"query":"SELECT * FROM devices"})");
  EXPECT_EQ(http.header(0, "x-ms-max-item-count"), "1000");
  EXPECT_EQ(http.header(0, "x-ms-continuation"), "");
  const auto second = hub->query("SELECT * FROM devices", 10, first->continuation, call);
  ASSERT_TRUE(second);
  EXPECT_EQ(http.header(1, "x-ms-continuation"), "c1==");
  EXPECT_EQ(http.header(1, "x-ms-max-item-count"), "10");
  EXPECT_TRUE(second->continuation.empty());
  http.answer(200, "<html>");
  EXPECT_EQ(hub->query("q", 10, "", call).error().kind, ErrorKind::kCorrupt);
}

TEST_F(HubClientTest, ListsTheNamesOfModules) {
  http.answer(200, R"([{"moduleId":"m1","deviceId":"d"},{"moduleId":"m2"}])");
  http.answer(200, "[]");
  EXPECT_EQ(hub->modules_of(d, call).value(), (std::vector<std::string>{"m1", "m2"}));
  EXPECT_EQ(url(0), at("/devices/d/modules"));
  EXPECT_TRUE(hub->modules_of(d, call)->empty());
  http.answer(200, R"({"value":[]})");
  EXPECT_EQ(hub->modules_of(d, call).error().kind, ErrorKind::kCorrupt);
}

TEST_F(HubClientTest, CreatesJobsWithKeysOrIdentity) {
  http.answer(200, kJob);
  ExportJob e;
  e.container_uri = Secret("https://a.blob/c?sig=c2VjcmV0");
  const auto job = hub->create_export_job(e, call);
  ASSERT_TRUE(job) << job.error().what;
  EXPECT_EQ(
      http.requests[0].body,
      R"({"type":"export","outputBlobContainerUri":"https://a.blob/c?sig=c2VjcmV0","outputBlobName":"devices.txt",)"
      R"("excludeKeysInExport":true,"storageAuthenticationType":"keyBased"})");
  EXPECT_TRUE(job->is_export);
  EXPECT_EQ(job->state, JobState::kRunning);
  EXPECT_EQ(job->progress, 40);
  EXPECT_EQ(format_iso_millis(*job->started), "2026-08-20T22:05:30.123Z");
  EXPECT_FALSE(job->ended);

  http.answer(200, R"({"jobId":"j2","type":"import","status":"enqueued"})");
  ImportJob i;
  i.input_container_uri = Secret("https://a.blob/in");
  i.output_container_uri = Secret("https://a.blob/out");
  i.blob_name = "x.txt";
  i.identity_based = true;
  i.user_assigned_identity = "/subscriptions/s/id";
  ASSERT_TRUE(hub->create_import_job(i, call));
  EXPECT_EQ(http.requests[1].body,
            R"({"type":"import","inputBlobContainerUri":"https://a.blob/in","inputBlobName":"x.txt",)"
            R"("outputBlobContainerUri":"https://a.blob/out","storageAuthenticationType":"identityBased",)"
            R"("identity":{"userAssignedIdentity":"/subscriptions/s/id"}})");
}

TEST_F(HubClientTest, AJobWhoseFateIsUnknownIsAskedForOnce) {
  const auto create = [&] {
    ExportJob e;
    e.container_uri = Secret("https://a.blob/c?sig=c2VjcmV0");
    return hub->create_export_job(e, call);
  };
  http.breaks(ErrorKind::kTimeout);
  http.breaks(ErrorKind::kUnavailable);
  http.breaks(ErrorKind::kCorrupt);
  http.answer(500);
  http.answer(502);
  http.answer(504);
  http.answer(408);
  http.answer(200, "{\"jobId\":");
  for (size_t i = 1; i <= 8; ++i) {
    const auto got = create();
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, "hub.job-unsure") << i;
    EXPECT_EQ(got.error().kind, ErrorKind::kTimeout) << i;
    EXPECT_EQ(got.error().what.find("c2VjcmV0"), std::string::npos);
    EXPECT_EQ(http.requests.size(), i);
  }
}

TEST_F(HubClientTest, AJobThatSurelyDoesNotExistIsAskedForAgain) {
  http.breaks(ErrorKind::kUnavailable, "http.no-connection");
  http.answer(503);
  http.refuse(429, "ThrottlingBacklogTimeout");
  http.answer(200, kJob);
  EXPECT_TRUE(hub->create_import_job({}, call));
  EXPECT_EQ(http.requests.size(), 4u);
}

TEST_F(HubClientTest, AnotherJobThatRunsMeansLaterNotNever) {
  http.refuse(403, "JobQuotaExceeded");
  const auto got = hub->create_export_job({}, call);
  EXPECT_EQ(got.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(got.error().code, "hub.JobQuotaExceeded");
}

TEST_F(HubClientTest, ARefusedContainerIsFinalWithKeysAndTemporaryWithAnIdentity) {
  ExportJob e;
  http.refuse(400, "BlobContainerValidationError", "no access to https://a.blob/c?sig=c2VjcmV0");
  const auto with_key = hub->create_export_job(e, call);
  EXPECT_EQ(with_key.error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(with_key.error().what.find("c2VjcmV0"), std::string::npos);
  e.identity_based = true;
  http.refuse(400, "BlobContainerValidationError");
  const auto with_identity = hub->create_export_job(e, call);
  EXPECT_EQ(with_identity.error().kind, ErrorKind::kUnavailable);
  EXPECT_TRUE(with_identity.error().retry_after);
}

TEST_F(HubClientTest, ReadsJobStatesInAnyCase) {
  for (const auto& [name, state] : {std::pair{"Enqueued", JobState::kEnqueued},
                                    {"queued", JobState::kEnqueued},
                                    {"scheduled", JobState::kEnqueued},
                                    {"RUNNING", JobState::kRunning},
                                    {"completed", JobState::kCompleted},
                                    {"failed", JobState::kFailed},
                                    {"cancelled", JobState::kCancelled},
                                    {"unknown", JobState::kUnknown},
                                    {"novel", JobState::kUnknown}}) {
    http.answer(200, fmt::format(R"([{{"jobId":"j","status":"{}"}}])", name));
    const auto jobs = hub->list_jobs(call);
    ASSERT_TRUE(jobs);
    EXPECT_EQ(jobs->at(0).state, state) << name;
  }
  EXPECT_EQ(url(0), at("/jobs"));
  EXPECT_TRUE(is_final(JobState::kCompleted) && is_final(JobState::kFailed) && is_final(JobState::kCancelled));
  EXPECT_FALSE(is_final(JobState::kEnqueued) || is_final(JobState::kRunning) || is_final(JobState::kUnknown));
}

TEST_F(HubClientTest, CancelsOnlyWhatStillRuns) {
  http.answer(200, R"({"jobId":"j1","status":"completed"})");
  EXPECT_TRUE(hub->cancel_job(JobId("j1"), call));
  EXPECT_EQ(http.requests.size(), 1u);
  http.answer(200, kJob);
  http.answer(204);
  EXPECT_TRUE(hub->cancel_job(JobId("j1"), call));
  EXPECT_EQ(http.requests[2].method, "DELETE");
  http.answer(200, kJob);  // it ends between the look and the cancellation
  http.answer(500);
  http.answer(200, R"({"jobId":"j1","status":"completed"})");
  EXPECT_TRUE(hub->cancel_job(JobId("j1"), call));
  http.refuse(404, "JobNotFound");
  EXPECT_EQ(hub->cancel_job(JobId("j9"), call).error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE(http.used_up());
}

TEST_F(HubClientTest, ReadsAreRepeatedAfterTransientAnswers) {
  http.breaks(ErrorKind::kTimeout);
  http.answer(408);
  http.answer(502);
  http.answer(503, "", {{"Retry-After", "9"}});
  http.answer(200, kTwin);
  ASSERT_TRUE(hub->get_twin(d, call));
  EXPECT_EQ(http.requests.size(), 5u);
  EXPECT_EQ(clock.sleeps().back(), 9s);
  for (int i = 0; i < 5; ++i) http.answer(500);
  EXPECT_EQ(hub->get_twin(d, call).error().kind, ErrorKind::kUnavailable);
  EXPECT_TRUE(http.used_up());
}

TEST_F(HubClientTest, PermanentAnswersAreNotRepeated) {
  http.refuse(400, "ArgumentInvalid");
  EXPECT_EQ(hub->get_twin(d, call).error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(http.requests.size(), 1u);
}

TEST_F(HubClientTest, CreatesAreRepeatedOnlyWhenTheHubDidNothing) {
  http.breaks(ErrorKind::kTimeout);
  EXPECT_EQ(hub->create_device(d, call).error().kind, ErrorKind::kTimeout);
  http.answer(500);
  EXPECT_EQ(hub->bulk({entry("a")}, call).error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(http.requests.size(), 2u);
  http.answer(503);
  http.answer(200, kDone);
  EXPECT_TRUE(hub->bulk({entry("a")}, call));
}

TEST_F(HubClientTest, ThrottlingPausesEverybodyAndTheCallIsDoneOnceTheHubIsReady) {
  http.refuse(429, "ThrottlingBacklogTimeout");
  http.answer(200, kDevice);
  const SteadyTime begin = clock.steady_now();
  ASSERT_TRUE(hub->get_device(d, call));
  EXPECT_GE(clock.steady_now() - begin, 10s);
  EXPECT_LE(clock.steady_now() - begin, 13s);
}

TEST_F(HubClientTest, ThrottlingPastTheDeadlineIsReportedWithThePause) {
  http.refuse(429, "ThrottlingBacklogTimeout");
  const Call hurried{clock.steady_now() + 5s, {}};
  const auto got = hub->get_device(d, hurried);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kThrottled);
  EXPECT_EQ(got.error().code, "hub.ThrottlingBacklogTimeout");
  EXPECT_GE(*got.error().retry_after, 10s);
  EXPECT_TRUE(clock.sleeps().empty());
  const auto other = hub->get_device(d, hurried);
  EXPECT_EQ(other.error().code, "hub.budget");
  EXPECT_EQ(http.requests.size(), 1u) << "nobody may ask while the hub wants rest";
}

TEST_F(HubClientTest, ARefusedTokenIsRenewedOnce) {
  http.refuse(401, "IotHubUnauthorizedAccess");
  http.answer(200, kTwin);
  ASSERT_TRUE(hub->get_twin(d, call));
  EXPECT_EQ(http.header(1, "Authorization"), "token-2");
  http.refuse(401, "IotHubUnauthorizedAccess");
  http.refuse(401, "IotHubUnauthorizedAccess");
  const auto got = hub->get_twin(d, call);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kDenied);
  EXPECT_EQ(got.error().code, "hub.unauthorized");
  EXPECT_NE(got.error().what.find("ServiceConnect"), std::string::npos);
  EXPECT_TRUE(http.used_up());
  auth.fresh = false;
  http.refuse(401, "IotHubUnauthorizedAccess");
  EXPECT_EQ(hub->get_device(d, call).error().kind, ErrorKind::kDenied);
}

TEST_F(HubClientTest, ACancelledCallStopsRepeating) {
  std::stop_source stop;
  http.on_send = [&] { stop.request_stop(); };
  http.answer(500);
  EXPECT_EQ(hub->get_twin(d, {SteadyTime::max(), stop.get_token()}).error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(http.requests.size(), 1u);
}

TEST_F(HubClientTest, AnswersWithoutTheNecessaryMembersAreCorrupt) {
  for (const char* body : {"", "[]", "{}", R"({"deviceId":"d"})", R"({"deviceId":7,"etag":"x"})", "{\"deviceId\":"}) {
    http.answer(200, body);
    const auto got = hub->get_device(d, call);
    ASSERT_FALSE(got) << body;
    EXPECT_EQ(got.error().kind, ErrorKind::kCorrupt) << body;
    EXPECT_TRUE(got.error().what.starts_with("IoT Hub contoso: get device 'd'")) << got.error().what;
  }
}

TEST_F(HubClientTest, TheDeviceCountIsThatOfTheStatistics) {
  http.answer(200, R"({"totalDeviceCount":5,"enabledDeviceCount":0,"disabledDeviceCount":0})");
  EXPECT_EQ(hub->about_devices(call).value(), 5u);
  EXPECT_EQ(url(0), at("/statistics/devices"));
  http.answer(200, R"({"connectedDeviceCount":0})");
  EXPECT_EQ(hub->about_devices(call).error().kind, ErrorKind::kCorrupt);
}

/// Holds until a clock has passed a time, as a lease does.
class Lease final : public WriteGuard {
 public:
  Lease(Clock& clock, Millis span) : clock_(clock), until_(clock.steady_now() + span) {}
  bool holds() const override { return clock_.steady_now() < until_; }

 private:
  Clock& clock_;
  const SteadyTime until_;
};

TEST_F(HubClientTest, WhatWaitedForTheBudgetUntilItWasAnotherOnesIsNotSent) {
  ASSERT_TRUE(budget->acquire(HubOperation::kRegistry, 50, call));  // all that was saved up: the next one waits
  const Lease lease(clock, 300ms);
  const Call guarded{SteadyTime::max(), {}, &lease};
  ASSERT_TRUE(lease.holds());
  const auto removed = hub->delete_device(d, Etag("*"), guarded);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, "call.not-ours");
  EXPECT_EQ(removed.error().kind, ErrorKind::kCancelled);
  EXPECT_TRUE(http.requests.empty());
  EXPECT_FALSE(lease.holds());
  EXPECT_EQ(hub->create_with_tags(d, {}, guarded.sooner(clock.steady_now() + 1h)).error().code, "call.not-ours");
  EXPECT_EQ(hub->create_export_job({}, guarded).error().code, "call.not-ours");
  EXPECT_TRUE(http.requests.empty());
}

TEST_F(HubClientTest, WhatOnlyReadsNeedsNoGuard) {
  const Lease over(clock, 0ms);
  const Call call_of_another{SteadyTime::max(), {}, &over};
  http.answer(200, kDevice);
  EXPECT_TRUE(hub->get_device(d, call_of_another));
  http.answer(200, "[]");
  EXPECT_TRUE(hub->query("SELECT * FROM devices", 100, "", call_of_another));
}

TEST_F(HubClientTest, CallsOfSomebodyWhoWaitsAreRefusedAtOnceWhenTheBudgetIsUsedUp) {
  const auto interactive = make_iothub_client("contoso", "contoso.azure-devices.net:8443", auth, budget, http, clock,
                                              rng, Priority::kInteractive);
  ASSERT_TRUE(budget->acquire(HubOperation::kRegistry, 100, {}));
  const auto refused = interactive->bulk({entry("a"), entry("b"), entry("c")}, call);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kThrottled);
  EXPECT_TRUE(http.requests.empty()) << "nothing was sent";
  clock.advance(refused.error().retry_after.value());
  http.answer(200, kDone);
  EXPECT_TRUE(interactive->bulk({entry("a"), entry("b"), entry("c")}, call));
}

TEST_F(HubClientTest, ARefusalOfTheHubReachesSomebodyWhoWaitsWithItsPauseInsteadOfBeingSatOut) {
  const auto interactive = make_iothub_client("contoso", "contoso.azure-devices.net:8443", auth, budget, http, clock,
                                              rng, Priority::kInteractive);
  http.answer(429, R"({"Message":"ErrorCode:ThrottlingBacklogTimeout;wait"})");
  const auto refused = interactive->create_with_tags(d, {}, call);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kThrottled);
  EXPECT_GE(refused.error().retry_after.value(), 10s);
  EXPECT_TRUE(clock.sleeps().empty());
  clock.advance(refused.error().retry_after.value());
  http.answer(200, kDone);
  EXPECT_TRUE(interactive->create_with_tags(d, {}, call));
}

}  // namespace
}  // namespace twinstep::azure
