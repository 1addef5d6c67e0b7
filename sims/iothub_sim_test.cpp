#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using http::ServerRequest;
using http::ServerResponse;

TEST_F(HubTest, CreateAnswers200WithoutZInItsTimesAndRefusesASecond) {
  const auto made = ask("PUT", "/devices/dev1", R"({"deviceId":"dev1"})", "\"\"");
  ASSERT_EQ(made.status, 200);
  EXPECT_EQ(body_of(made)["lastActivityTime"], "0001-01-01T00:00:00");
  EXPECT_EQ(header(made, "ETag"), "\"" + std::string(json::string_or(body_of(made), "etag")) + "\"");
  EXPECT_TRUE(body_of(made).contains("parentScopes"));
  EXPECT_EQ(body_of(ask("GET", "/devices/dev1"))["lastActivityTime"], "0001-01-01T00:00:00Z");
  const auto again = ask("PUT", "/devices/dev1", R"({"deviceId":"dev1"})");
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(header(again, "iothub-errorcode"), "DeviceAlreadyExists");
}

TEST_F(HubTest, AnUpdateWithoutAuthenticationIssuesNewKeys) {
  const auto before = body_of(ask("PUT", "/devices/dev1", R"({"deviceId":"dev1"})"));
  const auto after = body_of(ask("PUT", "/devices/dev1", R"({"deviceId":"dev1","status":"disabled"})", "*"));
  EXPECT_NE(before.at("authentication"), after.at("authentication"));
  EXPECT_EQ(ask("PUT", "/devices/none", R"({"deviceId":"none"})", "*").status, 404);
  EXPECT_EQ(ask("PUT", "/devices/dev1", R"({"deviceId":"dev1"})", "\"MA==\"").status, 412);
}

TEST_F(HubTest, DeleteNeedsIfMatch) {
  ask("PUT", "/devices/dev1", R"({"deviceId":"dev1"})");
  EXPECT_EQ(ask("DELETE", "/devices/dev1").status, 412);
  EXPECT_EQ(ask("DELETE", "/devices/dev1", "", "*").status, 204);
  EXPECT_EQ(ask("DELETE", "/devices/dev1", "", "*").status, 404);
}

TEST_F(HubTest, PoliciesGiveTheirRightsOnly) {
  hub.seed_device("dev1", true, false, R"({"a":1})");
  EXPECT_EQ(ask("GET", "/twins/dev1", "", "", "registryReadWrite").status, 401);
  EXPECT_EQ(ask("GET", "/twins/dev1", "", "", "service").status, 200);
  EXPECT_EQ(ask("GET", "/devices/dev1", "", "", "service").status, 401);
  EXPECT_EQ(ask("DELETE", "/devices/dev1", "", "*", "registryRead").status, 401);
  EXPECT_EQ(header(ask("GET", "/devices/dev1", "", "", "nobody"), "iothub-errorcode"), "IotHubUnauthorizedAccess");
}

TEST_F(HubTest, AnExpiredTokenIsRefused) {
  ServerRequest r;
  r.method = "GET", r.path = "/devices/dev1", r.query = "api-version=2021-04-12";
  r.headers = {{"Host", "examplehub.azure-devices.net"}, {"Authorization", token("iothubowner", -1)}};
  EXPECT_EQ(hub.handle(r).status, 401);
}

TEST_F(HubTest, BulkAppliesTheGoodEntriesAndListsTheBad) {
  ask("PUT", "/devices/dev1", R"({"deviceId":"dev1"})");
  const auto r = ask("POST", "/devices",
                     R"([{"id":"dev1","importMode":"Create"},{"id":"dev2","importMode":"create","tags":{"a":"b"},
                         "properties":{"desired":{"user":"u"}}}])");
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(body_of(r)["isSuccessful"], false);
  ASSERT_EQ(body_of(r)["errors"].as_array().size(), 1u);
  const auto twin = body_of(ask("GET", "/twins/dev2"));
  EXPECT_EQ(twin.at("version"), 2);
  EXPECT_EQ(twin.at("etag"), "AAAAAAAAAAE=");
  const auto& desired = twin.at("properties").at("desired");
  EXPECT_EQ(desired.at("$metadata").at("user").at("$lastUpdated"), "0001-01-01T00:00:00Z");
}

TEST_F(HubTest, BulkRefusesTwiceTheSameIdAndMoreThanAHundred) {
  EXPECT_EQ(header(ask("POST", "/devices", R"([{"id":"a"},{"id":"a"}])"), "iothub-errorcode"),
            "DeviceDefinedMultipleTimes");
  std::string many = "[";
  for (int i = 0; i < 101; ++i) many += fmt::format(R"({}{{"id":"d{}"}})", i == 0 ? "" : ",", i);
  EXPECT_EQ(ask("POST", "/devices", many + "]").status, 413);
}

TEST_F(HubTest, PatchMergesAndNullDeletes) {
  hub.seed_device("dev1", true, false, R"({"keep":1,"gone":{"x":1}})");
  const auto r = ask("PATCH", "/twins/dev1", R"({"tags":{"gone":null,"new":"n"},"properties":{"desired":{"i":60}}})");
  ASSERT_EQ(r.status, 200);
  EXPECT_EQ(json::write(body_of(r)["tags"]), R"({"keep":1,"new":"n"})");
  EXPECT_EQ(body_of(r)["version"], 3);
  EXPECT_EQ(body_of(r)["properties"].at("desired").at("$metadata").at("i").at("$lastUpdatedVersion"), 2);
  EXPECT_EQ(ask("PATCH", "/twins/dev1", R"({"tags":{"a":1}})", "\"AAAAAAAAAAE=\"").status, 412);
}

TEST_F(HubTest, TwinsOverTheLimitsAreRefused) {
  hub.seed_device("dev1", true, false, "");
  const auto status = [&](const std::string& tags) {
    return ask("PATCH", "/twins/dev1", R"({"tags":)" + tags + "}").status;
  };
  for (const char* bad : {R"({"a.b":1})", R"({"a b":1})", R"({"a$":1})", R"({"a#":1})", R"({"a":4503599627370496})",
                          R"({"a":[null]})", R"({"a":-4503599627370497})"})
    EXPECT_EQ(status(bad), 400) << bad;
  EXPECT_EQ(status(R"({"a":4503599627370495})"), 200);
  EXPECT_EQ(status(fmt::format(R"({{"a":"{}"}})", std::string(4097, 'x'))), 400);
  EXPECT_EQ(status(fmt::format(R"({{"a":"{0}","b":"{0}","c":"x"}})", std::string(4096, 'x'))), 400);
  std::string deep = "1";
  for (int i = 0; i < 11; ++i) deep = R"({"n":)" + deep + "}";
  EXPECT_EQ(status(deep), 200);
  EXPECT_EQ(status(R"({"n":)" + deep + "}"), 400);
}

TEST_F(HubTest, QueriesFilterProjectCountAndPage) {
  for (int i = 0; i < 150; ++i)
    hub.seed_device(fmt::format("d{:03}", i), i % 2 == 0, false, fmt::format(R"({{"n":{}}})", i));
  const auto query = [&](const std::string& q) { return ask("POST", "/devices/query", R"({"query":")" + q + "\"}"); };
  const auto first = query("SELECT * FROM devices");
  EXPECT_EQ(header(first, "x-ms-item-type"), "Twin");
  EXPECT_FALSE(header(first, "x-ms-continuation").empty());
  EXPECT_EQ(query("select count() as n from devices where status = 'enabled'").body, R"([{"n":75}])");
  EXPECT_EQ(query("SELECT deviceId FROM devices WHERE tags.n IN [3, 4] AND NOT status = 'enabled'").body,
            R"([{"deviceId":"d003"}])");
  EXPECT_EQ(query("SELECT COUNT() AS n FROM devices WHERE startswith(deviceId, 'd00') OR is_defined(tags.zz)").body,
            R"([{"n":10}])");
  for (const char* bad : {"SELECT", "SELECT * FROM things", "SELECT * FROM devices WHERE", "DROP devices"})
    EXPECT_EQ(query(bad).status, 400) << bad;
}

TEST_F(HubTest, TheIndexShowsDeletedDevicesForAWhile) {
  IotHubSimOptions o = options();
  o.index_lag = std::chrono::seconds{2};
  o.ghost_time = std::chrono::minutes{25};
  IotHubSim lagging(o, clock, direct);
  lagging.seed_device("old", true, false, "");
  const auto count = [&] {
    return ask(lagging, "POST", "/devices/query", R"({"query":"SELECT COUNT() AS n FROM devices"})").body;
  };
  ask(lagging, "PUT", "/devices/new", R"({"deviceId":"new"})");
  EXPECT_EQ(count(), R"([{"n":1}])");
  clock.advance(std::chrono::seconds{3});
  EXPECT_EQ(count(), R"([{"n":2}])");
  ask(lagging, "DELETE", "/devices/old", "", "*");
  EXPECT_EQ(count(), R"([{"n":2}])");
  clock.advance(std::chrono::minutes{26});
  EXPECT_EQ(count(), R"([{"n":1}])");
}

TEST_F(HubTest, ABurstPassesThenCallsQueueThenAreRefused) {
  IotHubSimOptions o = options();
  o.throttle = true;
  IotHubSim busy(o, clock, direct);
  ServerResponse last;
  int passed = 0, slow = 0;
  for (int i = 0; i < 400; ++i) {
    last = ask(busy, "PUT", fmt::format("/devices/d{}", i), fmt::format(R"({{"deviceId":"d{}"}})", i));
    if (last.status == 429) break;
    ++passed;
    slow += last.fault.delay.count() > 0 ? 1 : 0;
  }
  EXPECT_EQ(last.status, 429);
  EXPECT_EQ(passed, 200 + 66);
  EXPECT_EQ(slow, 66);
  EXPECT_TRUE(last.close);
  EXPECT_EQ(header(last, "Retry-After"), "");
  EXPECT_EQ(header(last, "iothub-errorcode"), "ThrottlingBacklogTimeout");
}

TEST_F(HubTest, AnExportWritesLinesWithoutKeysAfterAPlainTextLine) {
  storage("PUT", "/devstoreaccount1/job1", "restype=container");
  hub.seed_device("dev1", true, false, R"({"a":1})");
  const std::string job =
      fmt::format(R"({{"type":"export","outputBlobContainerUri":"{}","excludeKeysInExport":true}})", sas("racwdl"));
  const auto made = ask("POST", "/jobs/create", job);
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_EQ(made.body.find("sig="), std::string::npos);
  hub.wait_for_jobs();
  EXPECT_EQ(body_of(ask("GET", "/jobs/" + std::string(json::string_or(body_of(made), "jobId"))))["status"],
            "completed");
  const std::string text = storage("GET", "/devstoreaccount1/job1/devices.txt").body;
  EXPECT_NE(text[0], '{');
  EXPECT_NE(text.find(R"({"id":"dev1")"), std::string::npos);
  EXPECT_NE(text.find(R"("primaryKey":null)"), std::string::npos);
}

TEST_F(HubTest, AnExportNeedsDeleteInItsSas) {
  storage("PUT", "/devstoreaccount1/job1", "restype=container");
  const auto r =
      ask("POST", "/jobs/create", fmt::format(R"({{"type":"export","outputBlobContainerUri":"{}"}})", sas("rwl")));
  EXPECT_EQ(r.status, 400);
  EXPECT_EQ(header(r, "iothub-errorcode"), "BlobContainerValidationError");
}

TEST_F(HubTest, AnImportWithBadLinesStillCompletesAndLogsThem) {
  storage("PUT", "/devstoreaccount1/job1", "restype=container");
  ServerRequest put;
  put.method = "PUT", put.path = put.target = "/devstoreaccount1/job1/devices.txt";
  put.headers = {
      {"x-ms-version", "2021-12-02"}, {"Authorization", "Bearer hub-identity"}, {"x-ms-blob-type", "BlockBlob"}};
  put.body =
      "{\"id\":\"new\",\"importMode\":\"create\",\"status\":\"Enabled\"}\r\nbroken\n{\"id\":\"x\",\"importMode\":"
      "\"create\"}\n"
      "{\"id\":\"none\",\"importMode\":\"delete\",\"status\":\"enabled\"}";
  ASSERT_EQ(blobs.handle(put).status, 201);
  const auto made =
      ask("POST", "/jobs/create",
          fmt::format(R"({{"type":"import","inputBlobContainerUri":"{0}","outputBlobContainerUri":"{0}"}})",
                      sas("racwdl")));
  ASSERT_EQ(made.status, 200) << made.body;
  hub.wait_for_jobs();
  EXPECT_EQ(body_of(ask("GET", "/jobs/" + std::string(json::string_or(body_of(made), "jobId"))))["status"],
            "completed");
  EXPECT_EQ(ask("GET", "/devices/new").status, 200);
  const std::string log = storage("GET", "/devstoreaccount1/job1/importErrors.log").body;
  EXPECT_NE(log.find("400012"), std::string::npos);
  EXPECT_NE(log.find("404001"), std::string::npos);
  EXPECT_EQ(ask("GET", "/devices/x").status, 404);
  EXPECT_EQ(ask("DELETE", "/jobs/unknown").status, 500);
}

}  // namespace
}  // namespace twinstep::sims
