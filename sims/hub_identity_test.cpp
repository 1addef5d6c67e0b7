// Identities, modules and bulk entries of the simulated hub: the rows of the service's tables one by one.
#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using http::ServerResponse;

TEST(HubTokens, ThePublishedVectorsAreAccepted) {
  FakeClock clock{SystemTime{std::chrono::seconds{1'699'999'000}}};
  BlobSim blobs{{}, clock};
  BlobDirect storage{blobs};
  IotHubSim hub{{}, clock, storage};
  const auto status = [&](const std::string& authorization, const std::string& path) {
    return hub
        .handle(make_request("GET", path, "api-version=2021-04-12",
                             {{"Host", "examplehub.azure-devices.net"}, {"Authorization", authorization}}))
        .status;
  };
  const std::string whole =
      "SharedAccessSignature sr=examplehub.azure-devices.net&sig=bWVokzTsVcSJo5Ynpf8%2BYSk1uFNfNjL6hetVNDjXaXA%3D&"
      "se=1700000000&skn=iothubowner";
  EXPECT_EQ(status(whole, "/devices/dev1"), 404);
  const std::string one =
      "SharedAccessSignature skn=iothubowner&sr=examplehub.azure-devices.net%2Fdevices%2Fdev%2001&"
      "sig=1qe3tm3Llf1fOPcMizFB6%2FVu4uleKYkaMWR56WkPmFQ%3D&se=1700000000";
  EXPECT_EQ(status(one, "/devices/dev%2001"), 404);
  EXPECT_EQ(status(one, "/devices/dev%20012"), 401) << "a prefix counts by whole segments";
  EXPECT_EQ(status(one, "/devices/other"), 401);
  std::string forged = whole;
  forged[forged.find("sig=") + 4] = 'c';
  EXPECT_EQ(status(forged, "/devices/dev1"), 401);
  EXPECT_EQ(status("", "/devices/dev1"), 401);
  EXPECT_EQ(status("Basic abc", "/devices/dev1"), 401);
  clock.advance(std::chrono::seconds{1'000});
  EXPECT_EQ(status(whole, "/devices/dev1"), 401) << "the expiry itself is too late";
}

TEST_F(HubTest, ABearerTokenIsLetInOnlyWhenItIsTheIssuedOne) {
  IotHubSimOptions o = options();
  o.bearer_token = "issued";
  IotHubSim entra(o, clock, direct);
  const auto status = [&](IotHubSim& at, const std::string& given) {
    return at
        .handle(
            make_request("GET", "/devices/none", "api-version=2021-04-12", {{"Host", kHost}, {"Authorization", given}}))
        .status;
  };
  EXPECT_EQ(status(entra, "Bearer issued"), 404);
  EXPECT_EQ(status(entra, "Bearer other"), 401);
  EXPECT_EQ(status(hub, "Bearer "), 401);
}

TEST_F(HubTest, PoliciesOfOnesOwnHaveTheRightsThatTheyNameOnly) {
  IotHubSimOptions o = options();
  o.policies["sync"] = {"RegistryRead", "ServiceConnect"};
  IotHubSim own(o, clock, direct);
  const auto status = [&](const char* method, const std::string& path, const std::string& policy) {
    return own
        .handle(make_request(method, path, "api-version=2021-04-12",
                             {{"Host", kHost}, {"Authorization", token(policy)}, {"If-Match", "*"}}))
        .status;
  };
  EXPECT_EQ(status("GET", "/devices/none", "sync"), 404);
  EXPECT_EQ(status("GET", "/twins/none", "sync"), 404);
  EXPECT_EQ(status("DELETE", "/devices/none", "sync"), 401);
  EXPECT_EQ(status("GET", "/devices/none", "other"), 401);
}

TEST_F(HubTest, ATokenMayDoWhatTheRolesOfItsIdentityAllow) {
  struct Row {
    const char *method, *path, *body;
    std::set<std::string> roles;
  };
  const std::vector<Row> rows{
      {"GET", "/devices/none", "", {"contributor", "reader", "registry"}},
      {"DELETE", "/devices/none", "", {"contributor", "registry"}},
      {"PUT", "/devices/none", R"({"deviceId":"none"})", {"contributor", "registry"}},
      {"POST", "/devices", R"([{"id":"none","importMode":"delete"}])", {"contributor", "registry"}},
      {"GET", "/twins/none", "", {"contributor", "reader", "twin"}},
      {"PATCH", "/twins/none", R"({"tags":{}})", {"contributor", "twin"}},
      {"POST", "/devices/query", R"({"query":"SELECT * FROM devices"})", {"contributor", "reader", "twin"}},
      {"GET", "/jobs", "", {"contributor", "reader"}},
      {"POST", "/jobs/create", "{}", {"contributor"}},
      {"DELETE", "/jobs/none", "", {"contributor"}},
      {"GET", "/statistics/devices", "", {"contributor", "reader"}},
  };
  EXPECT_TRUE(role_actions("owner").empty()) << "the roles of the subscription allow nothing here";
  for (const std::string role : {"contributor", "reader", "registry", "twin"}) {
    IotHubSimOptions o = options();
    o.bearer_token = "issued";
    o.bearer_actions = role_actions(role);
    IotHubSim entra(o, clock, direct);
    for (const Row& row : rows) {
      auto request = make_request(row.method, row.path, "api-version=2021-04-12",
                                  {{"Host", kHost}, {"Authorization", "Bearer issued"}, {"If-Match", "*"}});
      request.body = row.body;
      EXPECT_EQ(entra.handle(request).status != 401, row.roles.contains(role)) << role << row.method << row.path;
    }
  }
}

TEST_F(HubTest, TheApiVersionMustBeKnown) {
  for (const char* query : {"", "api-version=1999-01-01"}) {
    const auto r = hub.handle(make_request("GET", "/devices/d", query, {{"Host", kHost}, {"Authorization", token()}}));
    EXPECT_EQ(error_of(r), "400 InvalidProtocolVersion") << query;
  }
}

TEST_F(HubTest, ErrorsNameTheirCodeInHeaderAndMessageWithATrackingId) {
  const auto r = ask("GET", "/devices/none");
  EXPECT_EQ(error_of(r), "404 DeviceNotFound");
  EXPECT_THAT(text_of(body_of(r), "Message"), ::testing::StartsWith("ErrorCode:DeviceNotFound;"));
  EXPECT_THAT(text_of(body_of(r), "ExceptionMessage"),
              ::testing::MatchesRegex("Tracking ID:[0-9a-f]+-G:[0-9]+-TimeStamp:.*"));
  EXPECT_EQ(header(r, "Content-Type"), "application/json; charset=utf-8");
  EXPECT_EQ(header(r, "Server"), "Microsoft-HTTPAPI/2.0");
  EXPECT_EQ(header(r, "x-ms-request-id").size(), 36u);
}

TEST_F(HubTest, EveryWriteOfAnIdentityMovesItsEtagByOneAndLeavesTheTwins) {
  const auto made = body_of(ask("PUT", "/devices/d", R"({"deviceId":"d"})"));
  const auto twin = text_of(body_of(ask("GET", "/twins/d")), "etag");
  const auto counter = [](const json::object& o) { return std::stoull(*base64_decode(text_of(o, "etag"))); };
  const auto updated =
      body_of(ask("PUT", "/devices/d", R"({"deviceId":"d","status":"disabled"})", "\"" + text_of(made, "etag") + "\""));
  EXPECT_EQ(counter(updated), counter(made) + 1);
  EXPECT_EQ(updated.at("generationId"), made.at("generationId"));
  EXPECT_THAT(text_of(updated, "statusUpdatedTime"), ::testing::EndsWith("Z"));
  EXPECT_THAT(text_of(updated, "statusUpdatedTime"), ::testing::Not(::testing::StartsWith("0001")));
  EXPECT_FALSE(updated.contains("parentScopes")) << "only there when the request had it";
  const auto after = body_of(ask("GET", "/twins/d"));
  EXPECT_EQ(text_of(after, "etag"), twin);
  EXPECT_EQ(after.at("deviceEtag"), updated.at("etag"));
}

TEST_F(HubTest, ADeviceMadeAgainHasAnotherGeneration) {
  create("d");
  const auto before = text_of(body_of(ask("GET", "/devices/d")), "generationId");
  ASSERT_EQ(ask("DELETE", "/devices/d", "", "\"*\"").status, 204) << "a quoted star is a star";
  clock.advance(std::chrono::seconds{1});
  create("d");
  EXPECT_NE(text_of(body_of(ask("GET", "/devices/d")), "generationId"), before);
}

TEST_F(HubTest, KeysComeInPairsOfRightLength) {
  const auto put = [&](const std::string& authentication) {
    return error_of(ask("PUT", "/devices/d", R"({"deviceId":"d","authentication":)" + authentication + "}"));
  };
  const std::string key = base64_encode(std::string(32, 'k'));
  EXPECT_EQ(put(fmt::format(R"({{"symmetricKey":{{"primaryKey":"{}"}}}})", key)), "400 ArgumentInvalid");
  EXPECT_EQ(put(R"({"symmetricKey":{"primaryKey":"AAAA","secondaryKey":"AAAA"}})"), "400 ArgumentInvalid");
  EXPECT_EQ(put(R"({"x509Thumbprint":{"primaryThumbprint":"AB:CD"},"type":"selfSigned"})"), "400 ArgumentInvalid");
  EXPECT_EQ(put(R"({"type":"none"})"), "400 ArgumentInvalid");
  ASSERT_EQ(put(fmt::format(R"({{"symmetricKey":{{"primaryKey":"{0}","secondaryKey":"{0}"}}}})", key)), "200 ");
  const auto shown = body_of(ask("GET", "/devices/d"));
  EXPECT_EQ(shown.at("authentication").at("symmetricKey").at("primaryKey"), json::value(key));
}

TEST_F(HubTest, IdsAreCheckedAndReadPercentDecoded) {
  EXPECT_EQ(ask("PUT", "/devices/a%23b%3F", R"({"deviceId":"a#b?"})").status, 200);
  EXPECT_EQ(text_of(body_of(ask("GET", "/devices/a%23b%3F")), "deviceId"), "a#b?");
  EXPECT_EQ(error_of(ask("PUT", "/devices/a%20b", R"({"deviceId":"a b"})")), "400 ArgumentInvalid");
  const std::string longest(128, 'x');
  EXPECT_EQ(ask("PUT", "/devices/" + longest, fmt::format(R"({{"deviceId":"{}"}})", longest)).status, 200);
  EXPECT_EQ(ask("PUT", "/devices/" + longest + "x", fmt::format(R"({{"deviceId":"{}x"}})", longest)).status, 400);
  EXPECT_EQ(ask("PUT", "/devices/d", R"({"deviceId":"other"})").status, 400);
}

TEST_F(HubTest, ListingGivesAtMostTopAndAThousandForNonsense) {
  for (int i = 0; i < 1'005; ++i) hub.seed_device(fmt::format("d{:04}", i), true, false, "");
  const auto count = [&](const std::string& top) {
    return list_of(hub.handle(make_request("GET", "/devices/", "top=" + top + "&api-version=2021-04-12",
                                           {{"Host", kHost}, {"Authorization", token()}})))
        .size();
  };
  EXPECT_EQ(count("2"), 2u);
  EXPECT_EQ(count("0"), 1'000u);
  EXPECT_EQ(count("5000"), 1'000u);
}

TEST_F(HubTest, StatisticsHaveTheirThreeNumbers) {
  create("d");
  const auto devices = body_of(ask("GET", "/statistics/devices"));
  EXPECT_EQ(devices.size(), 3u);
  EXPECT_EQ(devices.at("totalDeviceCount"), 1);
  EXPECT_EQ(body_of(ask("GET", "/statistics/service")).at("connectedDeviceCount"), 0);
}

TEST_F(HubTest, ModulesLiveAndDieWithTheirDevice) {
  EXPECT_EQ(error_of(ask("PUT", "/devices/d/modules/m", R"({"deviceId":"d","moduleId":"m"})")), "404 DeviceNotFound");
  create("d");
  const auto made = ask("PUT", "/devices/d/modules/m", R"({"deviceId":"d","moduleId":"m","managedBy":"me"})");
  ASSERT_EQ(made.status, 200);
  EXPECT_EQ(body_of(made).at("managedBy"), "me");
  EXPECT_EQ(error_of(ask("PUT", "/devices/d/modules/m", R"({"deviceId":"d","moduleId":"m"})")),
            "409 ModuleAlreadyExistsOnDevice");
  EXPECT_EQ(error_of(ask("PUT", "/devices/d/modules/m", R"({"deviceId":"d","moduleId":"m"})", "\"MA==\"")),
            "412 PreconditionFailed");
  EXPECT_EQ(ask("PUT", "/devices/d/modules/m", R"({"deviceId":"d","moduleId":"m"})", "*").status, 200);
  EXPECT_EQ(list_of(ask("GET", "/devices/d/modules")).size(), 1u);
  EXPECT_EQ(error_of(ask("GET", "/devices/d/modules/other")), "404 ModuleNotFound");
  EXPECT_EQ(error_of(ask("GET", "/twins/d/modules/other")), "404 ModuleNotFound");
  EXPECT_EQ(ask("PATCH", "/twins/d/modules/m", R"({"tags":{"a":1}})").status, 200);
  EXPECT_EQ(body_of(ask("GET", "/twins/d/modules/m")).at("moduleId"), "m");
  const auto found = query(hub, "SELECT * FROM devices.modules WHERE tags.a = 1");
  ASSERT_EQ(list_of(found).size(), 1u);
  EXPECT_EQ(header(found, "x-ms-item-type"), "Twin");
  EXPECT_EQ(error_of(ask("DELETE", "/devices/d/modules/m")), "412 PreconditionFailed");
  EXPECT_EQ(ask("DELETE", "/devices/d/modules/m", "", "*").status, 204);
  EXPECT_EQ(error_of(ask("DELETE", "/devices/d/modules/m", "", "*")), "404 ModuleNotFound");
  ASSERT_EQ(ask("PUT", "/devices/d/modules/m", R"({"deviceId":"d","moduleId":"m"})").status, 200);
  ASSERT_EQ(ask("DELETE", "/devices/d", "", "*").status, 204);
  create("d");
  EXPECT_EQ(list_of(ask("GET", "/devices/d/modules")).size(), 0u);
}

TEST_F(HubTest, ModulesCountAgainstTheQuota) {
  IotHubSimOptions o = options();
  o.max_devices = 2;
  IotHubSim small(o, clock, direct);
  ASSERT_EQ(ask(small, "PUT", "/devices/a", R"({"deviceId":"a"})").status, 200);
  ASSERT_EQ(ask(small, "PUT", "/devices/a/modules/m", R"({"deviceId":"a","moduleId":"m"})").status, 200);
  EXPECT_EQ(error_of(ask(small, "PUT", "/devices/b", R"({"deviceId":"b"})")), "403 IotHubQuotaExceeded");
  EXPECT_EQ(error_of(ask(small, "PUT", "/devices/a/modules/n", R"({"deviceId":"a","moduleId":"n"})")),
            "403 IotHubQuotaExceeded");
  EXPECT_EQ(ask(small, "DELETE", "/devices/a", "", "*").status, 204);
  EXPECT_EQ(ask(small, "PUT", "/devices/b", R"({"deviceId":"b"})").status, 200) << "the module went with its device";
}

TEST_F(HubTest, AFreeHubHoldsFiveHundredDevicesAndBulkSaysWhichDidNotFit) {
  IotHubSimOptions o = options();
  o.tier = "F1";
  IotHubSim free_hub(o, clock, direct);
  for (int i = 0; i < 499; ++i) free_hub.seed_device(fmt::format("d{}", i), true, false, "");
  const auto r =
      ask(free_hub, "POST", "/devices", R"([{"id":"x","importMode":"create"},{"id":"y","importMode":"create"}])");
  EXPECT_EQ(r.status, 400);
  const json::object result = body_of(r);
  ASSERT_EQ(result.at("errors").as_array().size(), 1u);
  EXPECT_EQ(result.at("errors").at(0).at("deviceId"), "y");
  EXPECT_EQ(result.at("errors").at(0).at("errorCode"), "IotHubQuotaExceeded");
  EXPECT_EQ(free_hub.device_count(), 500u);
}

TEST_F(HubTest, TheBasicTierHasIdentitiesOnly) {
  IotHubSimOptions o = options();
  o.tier = "B1";
  IotHubSim basic(o, clock, direct);
  EXPECT_EQ(ask(basic, "PUT", "/devices/a", R"({"deviceId":"a"})").status, 200);
  EXPECT_EQ(ask(basic, "GET", "/twins/a").status, 400);
  EXPECT_EQ(query(basic, "SELECT * FROM devices").status, 400);
  EXPECT_EQ(ask(basic, "GET", "/jobs").status, 400);
}

TEST_F(HubTest, ACleanBulkCallAnswersTheRecordedFortySevenBytes) {
  EXPECT_EQ(ask("POST", "/devices", R"([{"id":"a","importMode":"Create"}])").body,
            R"({"isSuccessful":true,"errors":[],"warnings":[]})");
  EXPECT_EQ(error_of(ask("POST", "/devices", R"({"devices":[]})")), "400 IotHubFormatError");
}

/// One entry of a bulk call; gives its error code or nothing.
struct Row {
  const char* mode;
  const char* absent;
  const char* current;
  const char* stale;
};

TEST_F(HubTest, BulkModesFollowTheTable) {
  const Row rows[] = {{"createOrUpdate", "", "", ""},
                      {"create", "", "DeviceAlreadyExists", "DeviceAlreadyExists"},
                      {"createOrUpdateIfMatchETag", "", "", "PreconditionFailed"},
                      {"update", "DeviceNotFound", "", ""},
                      {"updateIfMatchETag", "DeviceNotFound", "", "PreconditionFailed"},
                      {"delete", "DeviceNotFound", "", ""},
                      {"deleteIfMatchETag", "DeviceNotFound", "", "PreconditionFailed"},
                      {"updateTwin", "DeviceNotFound", "", ""},
                      {"updateTwinIfMatchETag", "DeviceNotFound", "", "PreconditionFailed"},
                      {"UPDATETWIN", "DeviceNotFound", "", ""}};
  int n = 0;
  const auto code = [&](const Row& row, const std::string& id, const std::string& etag, const std::string& twin_etag) {
    const auto r = ask("POST", "/devices",
                       fmt::format(R"([{{"id":"{}","importMode":"{}","eTag":"{}","twinETag":"{}","tags":{{"n":1}}}}])",
                                   id, row.mode, etag, twin_etag));
    const json::object result = body_of(r);
    const json::array& errors = result.at("errors").as_array();
    EXPECT_EQ(r.status, errors.empty() ? 200 : 400);
    return errors.empty() ? std::string{} : text_of(errors[0].as_object(), "errorCode");
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.mode);
    EXPECT_EQ(code(row, fmt::format("absent{}", ++n), "MA==", "AAAAAAAAAAE="), row.absent);
    for (const bool stale : {false, true}) {
      const std::string id = fmt::format("present{}", ++n);
      create(id);
      const std::string etag = text_of(body_of(ask("GET", "/devices/" + id)), "etag");
      EXPECT_EQ(code(row, id, stale ? "MA==" : etag, stale ? "AAAAAAAAAAk=" : "AAAAAAAAAAE="),
                stale ? row.stale : row.current);
      const bool gone = ask("GET", "/devices/" + id).status == 404;
      const std::string mode = row.mode;
      EXPECT_EQ(gone, mode.starts_with("delete") && !(stale && mode.ends_with("ETag")));
    }
  }
}

TEST_F(HubTest, UpdateTwinReplacesTheSectionsItNamesAndLeavesTheIdentity) {
  ask("POST", "/devices",
      R"([{"id":"d","importMode":"create","tags":{"a":1,"b":2},"properties":{"desired":{"x":1}}}])");
  const auto identity = body_of(ask("GET", "/devices/d"));
  ASSERT_EQ(ask("POST", "/devices", R"([{"id":"d","importMode":"updateTwin","tags":{"a":3}}])").status, 200);
  const auto twin = body_of(ask("GET", "/twins/d"));
  EXPECT_EQ(json::write(twin.at("tags")), R"({"a":3})");
  EXPECT_EQ(twin.at("properties").at("desired").at("x"), 1);
  EXPECT_EQ(twin.at("version"), 3);
  EXPECT_EQ(body_of(ask("GET", "/devices/d")), identity);
}

TEST_F(HubTest, AnUpdateWithoutTwinLeavesTheTwin) {
  ask("POST", "/devices", R"([{"id":"d","importMode":"create","tags":{"a":1}}])");
  const auto before = body_of(ask("GET", "/devices/d"));
  ASSERT_EQ(ask("POST", "/devices", R"([{"id":"d","importMode":"update","status":"disabled"}])").status, 200);
  const auto twin = body_of(ask("GET", "/twins/d"));
  EXPECT_EQ(json::write(twin.at("tags")), R"({"a":1})");
  EXPECT_EQ(twin.at("status"), "disabled");
  EXPECT_NE(body_of(ask("GET", "/devices/d")).at("authentication"), before.at("authentication"))
      << "new keys, as the service does";
}

}  // namespace
}  // namespace twinstep::sims
