#include "twinstep/api/facade_routes.h"

#include <atomic>
#include <thread>

#include "twinstep/api/api_fixture.h"

namespace twinstep::api {
namespace {

using namespace std::chrono_literals;

/// Lets one principal in.
class KeyGate final : public Gate {
 public:
  explicit KeyGate(Principal who) : who_(std::make_shared<Principal>(std::move(who))) {}
  tl::expected<PrincipalPtr, http::ServerResponse> admit(const http::ServerRequest&, Scope scope) override {
    if (!who_->has(scope)) return tl::unexpected(problem(403, "auth.scope", "this key may not do that"));
    return who_;
  }

 private:
  const PrincipalPtr who_;
};

class FacadeRoutes : public ApiFixture {
 protected:
  http::ServerResponse create(std::string id, std::string tags = {}, std::vector<http::Header> headers = {}) {
    clock.advance(1ms);
    return post("/api/devices/contoso/" + id, std::move(tags), std::move(headers));
  }
  http::ServerResponse remove(std::string id) {
    clock.advance(1ms);
    return send("DELETE", "/api/devices/contoso/" + id);
  }
  http::ServerResponse read(std::string id) { return get("/api/devices/contoso/" + id); }
  static http::Header key(std::string value) { return {"Idempotency-Key", std::move(value)}; }
  static json::object tags_of(const http::ServerResponse& answer) {
    const json::value body = json_of(answer);
    const json::object* tags = json::object_at(body.as_object(), "tags");
    return tags ? *tags : json::object{};
  }
  std::vector<store::Workflow> records(std::string_view id) {
    store::WorkflowFilter filter;
    filter.key = fmt::format("device/default/{}", canonical_device_id(id));
    return store.list(filter, {}).value();
  }
  std::vector<std::string> history(std::string_view id) {
    std::vector<std::string> out;
    for (const auto& task : records(id)) {
      const auto lines = store.history(task.id, {}).value();
      for (const auto& line : lines) out.push_back(line.what);
    }
    return out;
  }
  /// A device that somebody else made.
  workflows::FakeHub::Device& foreign(const std::string& id, json::object tags = {}) {
    auto& out = fake_hub.devices[id];
    out.tags = std::move(tags);
    return out;
  }
  size_t rows() {
    return static_cast<size_t>(database->ask("SELECT count(*) FROM workflow", {}, {}).value().number(0, 0));
  }
};

TEST_F(FacadeRoutes, ADeviceIsMadeWithTheBodyAsItsTagsAndTheMarkOfTheLink) {
  const auto answer = create("dev-1", R"({"site":{"floor":3,"on":true},"note":"é"})");
  EXPECT_EQ(answer.status, 201) << answer.body;
  const json::object body = json_of(answer).as_object();
  EXPECT_EQ(body.at("id"), "dev-1");
  EXPECT_EQ(body.at("hub"), "contoso");
  EXPECT_EQ(body.at("status"), "enabled");
  EXPECT_EQ(body.at("link"), "default");
  EXPECT_EQ(json::write(body.at("tags")), R"({"site":{"floor":3,"on":true},"note":"é"})");
  const auto& there = fake_hub.devices.at("dev-1");
  EXPECT_TRUE(there.enabled);
  EXPECT_EQ(there.tags.at("site").at("floor"), 3);
  EXPECT_EQ(there.tags.at("twinstep").at("link"), "default");
}

TEST_F(FacadeRoutes, AnEmptyBodyMeansNoTagsAndTheHubMayBeLeftOut) {
  EXPECT_EQ(post("/api/devices/plain").status, 201);
  EXPECT_TRUE(tags_of(get("/api/devices/plain")).empty());
  EXPECT_EQ(post("/api/devices/CONTOSO/plain", " \n").status, 200) << "names of hubs compare without case";
}

TEST_F(FacadeRoutes, TheSameTagsAgainAre200AndOthers409WithBothStates) {
  ASSERT_EQ(create("dev-1", R"({"n":5,"appKey":"SECRET-1"})").status, 201);
  EXPECT_EQ(create("dev-1", R"({"appKey":"SECRET-1","n":5.0})").status, 200);
  const auto other = create("dev-1", R"({"n":6,"appKey":"SECRET-2"})");
  EXPECT_EQ(other.status, 409);
  const json::object body = json_of(other).as_object();
  EXPECT_EQ(body.at("code"), "facade.differs");
  EXPECT_EQ(body.at("wanted").at("tags").at("n"), 6);
  EXPECT_EQ(body.at("present").at("tags").at("n"), 5);
  EXPECT_EQ(other.body.find("SECRET"), std::string::npos);
  EXPECT_EQ(history("dev-1"), std::vector<std::string>{"IoTHubDeviceCreated"}) << "only what was written";
}

TEST_F(FacadeRoutes, EveryWriteIsAnEndedTaskThatTasksAndExplainShow) {
  ASSERT_EQ(create("0004a30b001c0530", R"({"EUI":"e","key":"SECRET"})").status, 201);
  ASSERT_EQ(remove("0004a30b001c0530").status, 200);
  const auto tasks = json_of(get("/api/v1/tasks?device=0004A30B001C0530&link=default")).at("items").as_array();
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].at("state"), "done");
  const auto shown = json_of(get("/api/v1/explain/0004A30B001C0530?link=default"));
  const auto& last = shown.at("links").at(0).at("lastTasks").as_array();
  ASSERT_EQ(last.size(), 2u);
  EXPECT_NE(json::write(last).find("IoTHubDeviceCreated"), std::string::npos);
  EXPECT_NE(json::write(last).find("IoTHubDeviceDeleted"), std::string::npos);
  for (const auto& record : records("0004A30B001C0530")) EXPECT_EQ(record.input.find("SECRET"), std::string::npos);
}

TEST_F(FacadeRoutes, ADeleteIs200AndAnAbsentDeviceIs404) {
  ASSERT_EQ(create("dev-1").status, 201);
  EXPECT_EQ(remove("dev-1").status, 200);
  EXPECT_FALSE(fake_hub.devices.contains("dev-1"));
  const auto again = remove("dev-1");
  EXPECT_EQ(again.status, 404);
  EXPECT_EQ(code_of(again), "facade.no-device");
  EXPECT_EQ(read("dev-1").status, 404);
}

TEST_F(FacadeRoutes, ASoftDeleteKeepsTheKeysAndALaterPostEnablesWithItsOwnTags) {
  config.facade.soft_delete = true;
  ASSERT_EQ(create("dev-1", R"({"a":1,"b":{"c":2,"d":3},"list":[1,2]})").status, 201);
  fake_hub.devices.at("dev-1").key = "KEYS-OF-DEV-1";
  const auto gone = remove("dev-1");
  EXPECT_EQ(gone.status, 200);
  EXPECT_EQ(json_of(gone).at("status"), "disabled");
  auto& device = fake_hub.devices.at("dev-1");
  EXPECT_FALSE(device.enabled);
  EXPECT_EQ(device.reason, "Deleted by external system");
  const int writes = device.identity;
  EXPECT_EQ(remove("dev-1").status, 200) << "a second time";
  EXPECT_EQ(device.identity, writes) << "nothing is written a second time";
  EXPECT_EQ(json_of(read("dev-1")).at("status"), "disabled");

  const auto back = create("dev-1", R"({"b":{"c":9},"list":[3],"e":5})");
  EXPECT_EQ(back.status, 200) << back.body;
  EXPECT_EQ(json_of(back).at("result"), "enabled");
  EXPECT_TRUE(device.enabled);
  EXPECT_EQ(device.key, "KEYS-OF-DEV-1");
  EXPECT_EQ(json::write(tags_of(read("dev-1"))).size(), std::string(R"({"b":{"c":9},"list":[3],"e":5})").size());
  EXPECT_EQ(create("dev-1", R"({"b":{"c":9},"list":[3],"e":5})").status, 200);
  EXPECT_EQ(history("dev-1"),
            (std::vector<std::string>{"IoTHubDeviceEnabled", "IoTHubDeviceDisabled", "IoTHubDeviceCreated"}));
}

TEST_F(FacadeRoutes, ADeviceThatARunDisabledComesBackAndOneThatAPersonDisabledDoesNot) {
  ASSERT_EQ(create("dev-1", R"({"a":1})").status, 201);
  auto& device = fake_hub.devices.at("dev-1");
  device.enabled = false;
  device.reason = "twinstep: absent from thingpark";
  EXPECT_EQ(create("dev-1", R"({"a":2})").status, 200);
  EXPECT_TRUE(device.enabled);
  device.enabled = false;
  device.reason = "stolen";
  const auto answer = create("dev-1", R"({"a":2})");
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(json_of(answer).at("present").at("statusReason"), "stolen");
  EXPECT_FALSE(device.enabled);
}

TEST_F(FacadeRoutes, OnlyDevicesOfTheLinkAreDeleted) {
  foreign("nobodys", {{"a", 1}});
  foreign("theirs", {{"twinstep", {{"link", "other"}}}});
  foreign("samples", {{"ref", "4711"}});
  foreign("odd", {{"twinstep", 5}});
  for (const char* id : {"nobodys", "theirs", "odd"}) {
    const auto answer = remove(id);
    EXPECT_EQ(answer.status, 409) << id;
    EXPECT_EQ(code_of(answer), "facade.not-owned") << id;
    EXPECT_TRUE(fake_hub.devices.contains(id));
  }
  EXPECT_EQ(remove("samples").status, 200) << "the sample's tag `ref` counts as ours";
  EXPECT_EQ(create("theirs").status, 409) << "nor is another link's device taken over";
  config.links[0].scope = config::Scope::kWholeHub;
  EXPECT_EQ(remove("nobodys").status, 200) << "scope: whole-hub was asked for";
}

TEST_F(FacadeRoutes, ADeviceWithoutAnOwnerIsAdoptedByWhoAsksForItAsItIs) {
  foreign("dev-1", {{"a", 1}});
  EXPECT_EQ(create("dev-1", R"({"a":2})").status, 409);
  const auto answer = create("dev-1", R"({"a":1})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(json_of(answer).at("result"), "adopted");
  EXPECT_EQ(fake_hub.devices.at("dev-1").tags.at("twinstep").at("link"), "default");
  EXPECT_EQ(remove("dev-1").status, 200);
}

TEST_F(FacadeRoutes, EdgeDevicesThoseWithModulesAndThoseWithCertificatesAreLeftAlone) {
  for (const char* id : {"edge", "modules", "certificate"}) ASSERT_EQ(create(id, R"({"a":1})").status, 201);
  fake_hub.edge_devices.insert("edge");
  fake_hub.devices.at("modules").modules = {"camera"};
  fake_hub.devices.at("certificate").auth = azure::AuthKind::kSelfSigned;
  for (const char* id : {"edge", "modules", "certificate"}) EXPECT_EQ(code_of(remove(id)), "facade.excluded") << id;
  EXPECT_EQ(create("edge", R"({"a":1})").status, 409);
  EXPECT_EQ(fake_hub.devices.size(), 3u);
  config.links[0].include_edge = config.links[0].include_modules = config.links[0].include_certificates = true;
  for (const char* id : {"edge", "modules", "certificate"}) EXPECT_EQ(remove(id).status, 200) << id;
}

TEST_F(FacadeRoutes, BadBodiesAreRefusedBeforeAnythingIsSent) {
  const auto nested = [](int levels) {
    std::string out = "1";
    for (int i = 0; i < levels; ++i) out = R"({"a":)" + out + "}";
    return out;
  };
  const std::vector<std::string> bad{
      "[]",
      "5",
      "null",
      "\"text\"",
      "{",
      R"({"a":1}x)",
      "{\"a\":\"\xff\"}",
      R"({"a":null})",
      R"({"a":[1,null]})",
      R"({"a":{"b":null}})",
      R"({"a.b":1})",
      R"({"a b":1})",
      R"({"a$b":1})",
      R"({"a#b":1})",
      R"({"a\u0001b":1})",
      R"({"a":{"b.c":1}})",
      R"({"a":4503599627370496})",
      R"({"a":-4503599627370497})",
      R"({"a":18446744073709551615})",
      R"({"twinstep":{"link":"x"}})",
      R"({"twinstep":1})",
      R"({"a":")" + std::string(4097, 'x') + "\"}",
      "{\"" + std::string(1025, 'k') + "\":1}",
      R"({"a":")" + std::string(4096, 'x') + R"(","b":")" + std::string(4096, 'x') + "\"}",
      nested(12),
      nested(70)};
  for (const std::string& body : bad) EXPECT_EQ(create("dev-1", body).status, 400) << body.substr(0, 60);
  EXPECT_EQ(create("dev-1", "{" + std::string(70'000, ' ') + "}").status, 413);
  EXPECT_TRUE(fake_hub.devices.empty());
  EXPECT_EQ(rows(), 0u);
  EXPECT_EQ(create("depth", nested(11)).status, 201) << "ten objects below the tags themselves";
  EXPECT_EQ(create("whole", R"({"a":4503599627370495,"b":-4503599627370496,"c":1.5e300})").status, 201);
  EXPECT_EQ(create("long", R"({"a":")" + std::string(4096, 'x') + "\"}").status, 201);
}

TEST_F(FacadeRoutes, APathLeadsToExactlyTheNamedDeviceOrNowhere) {
  for (const char* bad : {"a%2Fb", "..", "%2E%2E", ".", "%2e", "a%00b", "a%20b", "%C3%A9", "%", "a%2", "%zz", "a%"})
    EXPECT_EQ(create(bad).status, 400) << bad;
  EXPECT_EQ(create(std::string(129, 'a')).status, 400);
  EXPECT_EQ(post("/api/devices//contoso/x").status, 400);
  EXPECT_EQ(post("/api/devices//x").status, 400) << "not the default hub's";
  EXPECT_EQ(post("/api/devices/contoso/").status, 400) << "not a device named as the hub";
  EXPECT_EQ(post("/api/devices/contoso/a/b").status, 404);
  EXPECT_EQ(post("/api/devices/../contoso/x").status, 404);
  EXPECT_EQ(create("%252e%252e").status, 201) << "decoded once: the device %2e%2e";
  EXPECT_EQ(create("a%252Fb").status, 201);
  EXPECT_TRUE(fake_hub.devices.contains("%2e%2e"));
  EXPECT_TRUE(fake_hub.devices.contains("a%2Fb"));
  std::string all;
  for (int c = 33; c < 127; ++c)
    if (is_legal_hub_device_id(std::string(1, static_cast<char>(c)))) all.push_back(static_cast<char>(c));
  while (all.size() < 128) all.push_back('x');
  EXPECT_EQ(create(percent_encode(all)).status, 201);
  EXPECT_TRUE(fake_hub.devices.contains(all));
  EXPECT_EQ(json_of(read(percent_encode(all))).at("id").as_string(), all);
  EXPECT_EQ(fake_hub.devices.size(), 3u);
}

TEST_F(FacadeRoutes, AnUnknownHubIs404AndNeverTheDefaultOne) {
  for (const char* method : {"GET", "POST", "DELETE"}) {
    const auto answer = send(method, "/api/devices/nowhere/dev-1");
    EXPECT_EQ(answer.status, 404);
    EXPECT_EQ(code_of(answer), "facade.unknown-hub");
  }
  EXPECT_TRUE(fake_hub.devices.empty());
}

TEST_F(FacadeRoutes, AmongSeveralHubsOneMustBeNamedUnlessOneIsCalledDefault) {
  config.hubs.push_back(hub("fabrikam"));
  const auto answer = post("/api/devices/dev-1");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(code_of(answer), "facade.which-hub");
  EXPECT_NE(answer.body.find("contoso, fabrikam"), std::string::npos);
  EXPECT_EQ(code_of(post("/api/devices/fabrikam/dev-1")), "facade.no-link");
  config.hubs[0].name = "default";
  config.links[0].hub = "default";
  EXPECT_EQ(post("/api/devices/dev-1").status, 201);
}

TEST_F(FacadeRoutes, OfSeveralLinksOneMustSayThatTheFacadeIsIts) {
  config.links.push_back(link("second", config::Master::kExternal));
  EXPECT_EQ(code_of(create("dev-1")), "facade.which-link");
  config.links.back().facade = true;
  EXPECT_EQ(json_of(create("dev-1")).at("link"), "second");
}

TEST_F(FacadeRoutes, SwitchedOffEveryRouteIs403) {
  config.facade.enabled = false;
  for (const char* method : {"GET", "POST", "DELETE"})
    for (const char* path : {"/api/devices/x", "/api/devices/contoso/x", "/api/devices/nowhere/x"})
      EXPECT_EQ(code_of(send(method, path)), "facade.disabled") << method << path;
  EXPECT_EQ(post("/api/v1/devices/contoso:batch", "{}").status, 403);
}

TEST_F(FacadeRoutes, WhoMayNotTouchADeviceLearnsNothingOfIt) {
  ASSERT_EQ(create("secret-1", R"({"a":1})").status, 201);
  Principal who;
  who.name = "tp";
  who.key_id = "k1";
  who.scopes = {Scope::kFacade};
  who.hubs = {"contoso"};
  who.ids = {"lora-*"};
  who.actions = {DeviceAction::kCreate, DeviceAction::kRead};
  KeyGate restricted(who);
  caller = &restricted;
  const int asked = fake_hub.requests;
  for (const char* method : {"GET", "POST", "DELETE"}) {
    const auto there = send(method, "/api/devices/contoso/secret-1", method == std::string("POST") ? R"({"a":1})" : "");
    const auto absent =
        send(method, "/api/devices/contoso/secret-2", method == std::string("POST") ? R"({"a":1})" : "");
    const auto no_hub = send(method, "/api/devices/nowhere/secret-1");
    EXPECT_EQ(there.status, 403) << method;
    EXPECT_EQ(there.body, absent.body);
    EXPECT_EQ(there.body, no_hub.body);
  }
  EXPECT_EQ(remove("lora-1").status, 403) << "may not delete";
  EXPECT_EQ(fake_hub.requests, asked) << "the hub is not asked at all";
  EXPECT_EQ(create("lora-1").status, 201);
  EXPECT_EQ(read("lora-1").status, 200);
  const auto batch = post("/api/v1/devices/contoso:batch",
                          R"({"operations":[{"op":"create","id":"lora-2"},{"op":"create","id":"secret-1"},)"
                          R"({"op":"create","id":"secret-2"},{"op":"delete","id":"lora-1"}]})");
  const auto results = json_of(batch).at("results").as_array();
  EXPECT_EQ(results[0].at("status"), 201);
  for (size_t i = 1; i < 4; ++i) EXPECT_EQ(results[i].at("status"), 403);
  EXPECT_EQ(results[1].at("detail"), results[2].at("detail"));
  EXPECT_TRUE(fake_hub.devices.contains("lora-1"));
  EXPECT_EQ(post("/api/v1/devices/nowhere:batch", R"({"operations":[{"op":"create","id":"x"}]})").status, 403);
}

TEST_F(FacadeRoutes, TagsThatHoldSecretsAreShownAsStars) {
  foreign("dev-1", {{"key", "SECRET-A"},
                    {"AppKey", "SECRET-B"},
                    {"lora", {{"nwk_s_key", "SECRET-C"}, {"list", {{{"appSKey", "SECRET-D"}}}}}},
                    {"applicationKey", {{"deep", "SECRET-E"}}},
                    {"profile", "p"}});
  const auto answer = read("dev-1");
  EXPECT_EQ(answer.body.find("SECRET"), std::string::npos) << answer.body;
  EXPECT_EQ(tags_of(answer).at("profile"), "p");
  EXPECT_EQ(tags_of(answer).at("key"), "***") << "the provider's definition says so";
  EXPECT_EQ(answer.body.find("hub-made"), std::string::npos) << "never keys";
}

TEST_F(FacadeRoutes, ADryRunSaysWhatWouldHappenAndWritesNothing) {
  config.facade.soft_delete = false;
  ASSERT_EQ(create("here", R"({"a":1})").status, 201);
  foreign("free", {{"a", 1}});
  auto& soft = foreign("soft", {{"twinstep", {{"link", "default"}}}});
  soft.enabled = false;
  soft.reason = "Deleted by external system";
  const size_t before = rows();
  const auto would = [&](const char* method, std::string id, std::string tags = {}) {
    const auto answer = send(method, "/api/devices/contoso/" + id + "?dryRun=true", std::move(tags));
    EXPECT_EQ(answer.status, 200);
    return fmt::format("{} {}", std::string_view(json_of(answer).at("would").as_string()),
                       json_of(answer).at("wouldAnswer").as_int64());
  };
  EXPECT_EQ(would("POST", "new"), "create 201");
  EXPECT_EQ(would("POST", "here", R"({"a":1})"), "nothing 200");
  EXPECT_EQ(would("POST", "here", R"({"a":2})"), "conflict 409");
  EXPECT_EQ(would("POST", "free", R"({"a":1})"), "adopt 200");
  EXPECT_EQ(would("POST", "soft"), "enable 200");
  EXPECT_EQ(would("DELETE", "new"), "not-found 404");
  EXPECT_EQ(would("DELETE", "here"), "delete 200");
  EXPECT_EQ(would("DELETE", "free"), "refuse 409");
  config.facade.soft_delete = true;
  EXPECT_EQ(would("DELETE", "here"), "disable 200");
  const auto batch = post("/api/v1/devices/contoso:batch?dryRun=true",
                          R"({"operations":[{"op":"create","id":"new"},{"op":"delete","id":"here"}]})");
  EXPECT_EQ(json_of(batch).at("results").at(0).at("would"), "create");
  EXPECT_EQ(json_of(batch).at("results").at(1).at("would"), "disable");
  EXPECT_EQ(fake_hub.devices.size(), 3u);
  EXPECT_FALSE(soft.enabled);
  EXPECT_EQ(fake_hub.devices.at("here").identity, 1);
  EXPECT_EQ(rows(), before);
  for (const char* slip : {"dryRun=yes", "dryRun", "dryRun=", "DRYRUN", "dryRun=false&dryRun=true"}) {
    EXPECT_EQ(send("POST", "/api/devices/contoso/x?" + std::string(slip)).status, 400) << slip;
    EXPECT_EQ(post("/api/v1/devices/contoso:batch?" + std::string(slip), R"({"operations":[{"op":"create","id":"x"}]})")
                  .status,
              400)
        << slip;
  }
  EXPECT_EQ(send("POST", "/api/devices/contoso/x?dryrum=true").status, 400) << "a slip must not become a real write";
  EXPECT_FALSE(fake_hub.devices.contains("x"));
}

TEST_F(FacadeRoutes, ABatchGivesEachDeviceItsOwnResult) {
  ASSERT_EQ(create("same", R"({"a":1})").status, 201);
  ASSERT_EQ(create("other", R"({"a":1})").status, 201);
  foreign("theirs");
  const auto answer = post("/api/v1/devices/contoso:batch",
                           R"({"operations":[
    {"op":"create","id":"new","tags":{"a":1}}, {"op":"create","id":"same","tags":{"a":1}},
    {"op":"create","id":"other","tags":{"a":2}}, {"op":"create","id":"bad id"},
    {"op":"create","id":"bad-tags","tags":{"a":null}}, {"op":"delete","id":"theirs"}, {"op":"delete","id":"gone"}]})");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto results = json_of(answer).at("results").as_array();
  std::vector<int64_t> statuses;
  for (const json::value& one : results) statuses.push_back(one.at("status").as_int64());
  EXPECT_EQ(statuses, (std::vector<int64_t>{201, 200, 409, 400, 400, 409, 404}));
  EXPECT_EQ(json_of(answer).at("done"), 2);
  EXPECT_EQ(results[2].at("present").at("tags").at("a"), 1);
  EXPECT_EQ(fake_hub.devices.at("new").tags.at("twinstep").at("link"), "default");
  EXPECT_EQ(history("new"), std::vector<std::string>{"IoTHubDeviceCreated"});
}

TEST_F(FacadeRoutes, ABatchCountsAsManyCallsToTheRateOfItsKey) {
  size_t charged = 0;
  Principal who = Principal::everything("tp");
  who.charge = [&](size_t more) { charged += more; };
  KeyGate limited(who);
  caller = &limited;
  const char* three = R"({"operations":[{"op":"create","id":"a"},{"op":"create","id":"b"},{"op":"delete","id":"c"}]})";
  EXPECT_EQ(post("/api/v1/devices/contoso:batch?dryRun=true", three).status, 200);
  EXPECT_EQ(charged, 2u);
  EXPECT_EQ(post("/api/v1/devices/contoso:batch", three).status, 200);
  EXPECT_EQ(charged, 4u);
  EXPECT_EQ(create("d").status, 201);
  EXPECT_EQ(charged, 4u) << "the gate took the first one";
}

TEST_F(FacadeRoutes, ABatchNamesEachDeviceOnceInWhateverSpellingAndAtMostAHundred) {
  const auto twice = post(
      "/api/v1/devices/contoso:batch",
      R"({"operations":[{"op":"create","id":"0004A30B001C0530"},{"op":"delete","id":"00-04-a3-0b-00-1c-05-30"}]})");
  EXPECT_EQ(twice.status, 400);
  EXPECT_EQ(code_of(twice), "facade.twice");
  std::string many;
  for (int i = 0; i < 101; ++i) many += fmt::format(R"({}{{"op":"create","id":"d{}"}})", i ? "," : "", i);
  EXPECT_EQ(post("/api/v1/devices/contoso:batch", R"({"operations":[)" + many + "]}").status, 400);
  for (const char* bad :
       {"", "[]", "{}", R"({"operations":[]})", R"({"operations":[5]})", R"({"operations":[{"op":"create"}]})",
        R"({"operations":[{"op":"update","id":"x"}]})", R"({"operations":[{"op":"create","id":"x","tag":{}}]})",
        R"({"operations":[{"op":"delete","id":"x","tags":{}}]})",
        R"({"operations":[{"op":"create","id":"x","tags":5}]})",
        R"({"operations":[{"op":"create","id":"x"}],"more":1})"})
    EXPECT_EQ(post("/api/v1/devices/contoso:batch", bad).status, 400) << bad;
  EXPECT_TRUE(fake_hub.devices.empty());
  EXPECT_EQ(post("/api/v1/devices/nowhere:batch", R"({"operations":[{"op":"create","id":"x"}]})").status, 404);
}

TEST_F(FacadeRoutes, ADevEuiInAnotherSpellingIsNoSecondDevice) {
  const std::string upper = "0004A30B001C0530", lower = "0004a30b001c0530";
  ASSERT_EQ(create(upper).status, 201);
  const auto second = create(lower);
  EXPECT_EQ(second.status, 409);
  EXPECT_EQ(code_of(second), "facade.differs");
  EXPECT_NE(second.body.find("as '" + upper + "'"), std::string::npos) << second.body;
  const auto batch =
      post("/api/v1/devices/contoso:batch",
           R"({"operations":[{"op":"create","id":"00-04-A3-0B-00-1C-05-30"},{"op":"create","id":"x"}]})");
  EXPECT_EQ(json_of(batch).at("results").at(0).at("status").as_int64(), 409);
  EXPECT_EQ(json_of(batch).at("results").at(1).at("status").as_int64(), 201);
  EXPECT_EQ(create(upper).status, 200);
  ASSERT_EQ(send("DELETE", "/api/devices/contoso/" + upper).status, 200);
  EXPECT_EQ(create(lower).status, 201) << "the other one is gone";
}

Error used_up() {
  return {.kind = ErrorKind::kThrottled,
          .what = "the hub's budget is used up",
          .code = "hub.budget",
          .retry_after = Millis{2'100}};
}

TEST_F(FacadeRoutes, WhenTheBudgetIsUsedUpTheCallerHearsForHowLong) {
  fake_hub.before_write = [](const DeviceId&) -> Status { return fail(used_up()); };
  const auto answer = create("dev-1");
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(header(answer, "Retry-After"), "3");
  EXPECT_EQ(rows(), 0u);
}

TEST_F(FacadeRoutes, ABatchThatTheBudgetAllowsInPartSaysWhichDevicesMustComeAgain) {
  most_at_once = 2;
  int calls = 0;
  fake_hub.before_bulk = [&]() -> Status { return ++calls > 1 ? Status(fail(used_up())) : Status(); };
  const std::string body =
      R"({"operations":[{"op":"create","id":"a"},{"op":"create","id":"b"},{"op":"create","id":"c"}]})";
  const auto answer = post("/api/v1/devices/contoso:batch", body, {key("k")});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(header(answer, "Retry-After"), "3");
  const auto results = json_of(answer).at("results").as_array();
  EXPECT_EQ(results[1].at("status"), 201);
  EXPECT_EQ(results[2].at("status"), 429);
  EXPECT_EQ(results[2].at("retryAfter"), 3);
  EXPECT_EQ(post("/api/v1/devices/contoso:batch", body, {key("k")}).status, 429) << "nothing at all could be sent";
  fake_hub.before_bulk = {};
  const auto again = post("/api/v1/devices/contoso:batch", body, {key("k")});
  EXPECT_EQ(header(again, "Idempotent-Replayed"), "") << "what was not final is not kept";
  EXPECT_EQ(json_of(again).at("done"), 3);
}

TEST_F(FacadeRoutes, ALostAnswerOfTheHubIsFoundOutByLooking) {
  fake_hub.after_write = [] { return fail(ErrorKind::kTimeout, "http.timeout", "no answer"); };
  const auto lost = create("dev-1", R"({"a":1})");
  EXPECT_EQ(lost.status, 201);
  EXPECT_EQ(history("dev-1"), std::vector<std::string>{"IoTHubDeviceCreated"});
  fake_hub.bulk_answer_lost = true;
  const auto batch = post("/api/v1/devices/contoso:batch", R"({"operations":[{"op":"create","id":"dev-2"}]})");
  EXPECT_EQ(json_of(batch).at("results").at(0).at("status"), 201);
  fake_hub.after_write = {};
  fake_hub.before_write = [](const DeviceId&) -> Status {
    return fail(ErrorKind::kTimeout, "http.timeout", "no answer");
  };
  EXPECT_EQ(create("dev-3").status, 503);
  fake_hub.before_write = [](const DeviceId&) -> Status { return fail(ErrorKind::kDenied, "hub.unauthorized", "401"); };
  const auto denied = create("dev-4");
  EXPECT_EQ(denied.status, 503) << "our credentials are no fault of the caller's";
  EXPECT_NE(header(denied, "Retry-After"), "");
}

/// A store that can be full.
class FillingDatabase final : public store::Database {
 public:
  explicit FillingDatabase(store::Database& under) : under_(under) {}
  bool full = false;
  Status write(const Body& body, const Call& call) override {
    if (full) return fail(ErrorKind::kUnavailable, "store.full", "the disk is full");
    return under_.write(body, call);
  }
  Status read(const Body& body, const Call& call) override { return under_.read(body, call); }
  void listen(Listener listener) override { under_.listen(std::move(listener)); }
  bool shared() const override { return under_.shared(); }
  Millis went_back() const override { return under_.went_back(); }

 private:
  store::Database& under_;
};

TEST_F(FacadeRoutes, WhileTheStoreIsFullNothingIsPromisedAndAfterTheFirstTimeTheHubIsLeftAlone) {
  FillingDatabase filling(*database);
  store::WorkflowStore over(filling);
  std::vector<std::string> heard;
  Facade other(FacadeDeps{config,
                          filling,
                          over,
                          clock,
                          rng,
                          [this](const config::Link& link) {
                            return workflows::FacadeTarget{link, fake_hub, network, [] { return size_t{50}; }};
                          },
                          {},
                          [&](const store::NewWorkflow& task) { heard.push_back(task.history.at(0).what); }});
  Router routes;
  other.add_routes(routes);
  const auto ask = [&](std::string id, std::vector<http::Header> headers = {}) {
    http::ServerRequest request;
    request.method = "POST";
    request.path = request.target = "/api/devices/contoso/" + id;
    request.headers = std::move(headers);
    return routes.handle(request, *gate);
  };
  filling.full = true;
  EXPECT_EQ(ask("keyed", {key("one")}).status, 503);
  EXPECT_FALSE(fake_hub.devices.contains("keyed")) << "the key is written before the hub is asked";
  const auto first = ask("first");
  EXPECT_EQ(first.status, 503);
  EXPECT_NE(header(first, "Retry-After"), "");
  EXPECT_EQ(ask("second").status, 503);
  EXPECT_FALSE(fake_hub.devices.contains("second"));
  EXPECT_TRUE(heard.empty()) << "nobody hears of what is not written";
  filling.full = false;
  EXPECT_EQ(ask("first").status, 200) << "it was made the first time";
  EXPECT_EQ(history("first"), std::vector<std::string>{"IoTHubDeviceFound"});
  EXPECT_EQ(ask("second").status, 201);
  EXPECT_EQ(heard, (std::vector<std::string>{"IoTHubDeviceFound", "IoTHubDeviceCreated"}));
}

TEST_F(FacadeRoutes, ADeviceMadeBeforeACrashIsRecordedWhenItIsAskedForAgain) {
  foreign("dev-1", {{"a", 1}, {"twinstep", {{"link", "default"}}}});
  EXPECT_EQ(create("dev-1", R"({"a":1})").status, 200);
  EXPECT_EQ(history("dev-1"), std::vector<std::string>{"IoTHubDeviceFound"});
  EXPECT_EQ(create("dev-1", R"({"a":1})").status, 200);
  EXPECT_EQ(history("dev-1").size(), 1u);
  fake_hub.devices.clear();
  EXPECT_EQ(remove("dev-1").status, 404);
  EXPECT_EQ(history("dev-1"), (std::vector<std::string>{"IoTHubDeviceAbsent", "IoTHubDeviceFound"}));
  EXPECT_EQ(remove("dev-1").status, 404);
  EXPECT_EQ(history("dev-1").size(), 2u);
}

TEST_F(FacadeRoutes, TheSameRequestWithTheSameKeyIsDoneOnceAndAnsweredTheSame) {
  const auto first = create("dev-1", R"({"a":1,"appKey":"SECRET"})", {key("one")});
  ASSERT_EQ(first.status, 201);
  fake_hub.devices.clear();
  const auto again = create("dev-1", R"({"a":1,"appKey":"SECRET"})", {key("one")});
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(header(again, "Idempotent-Replayed"), "true");
  EXPECT_EQ(header(again, "Content-Type"), header(first, "Content-Type"));
  EXPECT_TRUE(fake_hub.devices.empty()) << "it was not done again";
  EXPECT_EQ(create("dev-1", R"({"a":2})", {key("one")}).status, 422);
  EXPECT_EQ(send("DELETE", "/api/devices/contoso/dev-1", {}, {key("one")}).status, 422);
  EXPECT_EQ(create("dev-2", {}, {key("one")}).status, 422);
  EXPECT_EQ(send("DELETE", "/api/devices/contoso/dev-9", {}, {key("two")}).status, 404);
  EXPECT_EQ(header(send("DELETE", "/api/devices/contoso/dev-9", {}, {key("two")}), "Idempotent-Replayed"), "true");
  for (const char* bad : {"", "with blank", "\xc3\xa9"}) EXPECT_EQ(create("x", {}, {key(bad)}).status, 400);
  EXPECT_EQ(create("x", {}, {key(std::string(256, 'k'))}).status, 400);
  EXPECT_EQ(create("x", {}, {key("three"), key("four")}).status, 400);
  const auto kept = database->ask("SELECT id || request || head || body FROM answer", {}, {}).value();
  for (size_t row = 0; row < kept.size(); ++row) {
    EXPECT_EQ(kept.text(row, 0).find("SECRET"), std::string::npos);
    EXPECT_EQ(kept.text(row, 0).find("one"), std::string::npos);
  }
  clock.advance(25h);
  EXPECT_EQ(create("dev-1", R"({"a":2})", {key("one")}).status, 201) << "a day later the key is free";
}

TEST_F(FacadeRoutes, AnswersThatMayPassAreNotKeptAndCallersDoNotShareKeys) {
  fake_hub.before_write = [](const DeviceId&) -> Status { return fail(used_up()); };
  EXPECT_EQ(create("dev-1", {}, {key("one")}).status, 429);
  fake_hub.before_write = {};
  EXPECT_EQ(create("dev-1", {}, {key("one")}).status, 201);
  Principal who = Principal::everything("other");
  who.key_id = "k2";
  KeyGate restricted(who);
  caller = &restricted;
  const auto mine = create("dev-1", {}, {key("one")});
  EXPECT_EQ(mine.status, 200) << "done for this caller, not replayed from another";
  EXPECT_EQ(header(mine, "Idempotent-Replayed"), "");
}

TEST_F(FacadeRoutes, ADeviceThatSomebodyElseChangesAtThisMomentIsNotRefusedForADay) {
  ASSERT_EQ(create("dev-1").status, 201);
  fake_hub.before_write = [](const DeviceId&) -> Status {
    return fail(ErrorKind::kConflict, "hub.PreconditionFailed", "changed meanwhile");
  };
  const auto busy = send("DELETE", "/api/devices/contoso/dev-1", {}, {key("one")});
  EXPECT_EQ(busy.status, 409);
  EXPECT_EQ(json_of(busy).at("code"), "facade.changing");
  EXPECT_EQ(header(busy, "Retry-After"), "1");
  const auto batch =
      post("/api/v1/devices/contoso:batch", R"({"operations":[{"op":"delete","id":"dev-1"}]})", {key("two")});
  EXPECT_EQ(json_of(batch).at("results").at(0).at("retryAfter").as_int64(), 1);
  fake_hub.before_write = {};
  EXPECT_EQ(send("DELETE", "/api/devices/contoso/dev-1", {}, {key("one")}).status, 200)
      << "not answered from what was kept";
}

TEST_F(FacadeRoutes, AHubThatIsNotThereIsNoAnswerAboutADevice) {
  fake_hub.before_write = [](const DeviceId&) -> Status {
    return fail(ErrorKind::kNotFound, "hub.IotHubNotFound", "there is no such hub");
  };
  EXPECT_EQ(create("dev-1", {}, {key("one")}).status, 503);
  fake_hub.before_write = {};
  EXPECT_EQ(create("dev-1", {}, {key("one")}).status, 201);
}

TEST_F(FacadeRoutes, WhileTheFirstRequestIsAtWorkTheSecondWithItsKeyIs409) {
  http::ServerResponse second, same;
  bool first_write = true;
  fake_hub.before_write = [&](const DeviceId&) -> Status {
    if (!std::exchange(first_write, false)) return {};
    second = create("dev-2", {}, {key("one")});
    same = create("dev-1", {}, {key("one")});
    return {};
  };
  EXPECT_EQ(create("dev-1", {}, {key("one")}).status, 201);
  EXPECT_EQ(second.status, 422) << "another request";
  EXPECT_EQ(same.status, 409);
  EXPECT_EQ(header(same, "Retry-After"), "1");
  EXPECT_EQ(create("dev-1", {}, {key("one")}).status, 201) << "replayed";
}

TEST_F(FacadeRoutes, WhileAsManyWaitForTheHubAsMayTheNextIsToldToComeAgain) {
  Facade narrow(FacadeDeps{config,
                           *database,
                           store,
                           clock,
                           rng,
                           [this](const config::Link& link) {
                             return workflows::FacadeTarget{link, fake_hub, network, [] { return size_t{50}; }};
                           },
                           {},
                           {},
                           1});
  Router routes;
  narrow.add_routes(routes);
  const auto ask = [&](std::string method, std::string path, std::string body = {}) {
    http::ServerRequest request;
    request.method = std::move(method);
    request.path = request.target = std::move(path);
    request.body = std::move(body);
    return routes.handle(request, *gate);
  };
  std::vector<http::ServerResponse> others;
  fake_hub.before_write = [&](const DeviceId&) -> Status {
    others.push_back(ask("POST", "/api/devices/contoso/dev-2"));
    others.push_back(ask("GET", "/api/devices/contoso/dev-2"));
    others.push_back(ask("POST", "/api/v1/devices/contoso:batch", R"({"operations":[{"op":"create","id":"dev-2"}]})"));
    return {};
  };
  EXPECT_EQ(ask("POST", "/api/devices/contoso/dev-1").status, 201);
  ASSERT_EQ(others.size(), 3u);
  for (const http::ServerResponse& other : others) {
    EXPECT_EQ(other.status, 503);
    EXPECT_EQ(json_of(other).at("code"), "facade.busy");
    EXPECT_EQ(header(other, "Retry-After"), "1");
  }
  fake_hub.before_write = {};
  EXPECT_FALSE(fake_hub.devices.contains("dev-2"));
  EXPECT_EQ(ask("POST", "/api/devices/contoso/dev-2").status, 201);
}

TEST_F(FacadeRoutes, ManyAtOnceForOneDeviceEndInOneOfTheirStatesAndInOneCreation) {
  std::atomic<int> created{0}, fine{0}, conflicts{0}, others{0};
  {
    std::vector<std::jthread> callers;
    for (int t = 0; t < 8; ++t)
      callers.emplace_back([&, t] {
        http::ServerRequest request;
        request.method = "POST";
        request.path = request.target = "/api/devices/contoso/dev-1";
        request.body = fmt::format(R"({{"n":{}}})", t % 2);
        const int status = router.handle(request, *gate).status;
        ++(status == 201 ? created : status == 200 ? fine : status == 409 ? conflicts : others);
      });
  }
  EXPECT_EQ(created, 1);
  EXPECT_EQ(fine, 3);
  EXPECT_EQ(conflicts, 4);
  EXPECT_EQ(others, 0);
}

TEST_F(FacadeRoutes, ARunSparesWhatTheFacadeMadeAShortWhileAgo) {
  ASSERT_EQ(create("dev-1").status, 201);
  const auto spared = [&](const char* id) {
    return workflows::why_spared(store, config.links[0], DeviceId(id), config.facade.grace, clock, {}).value();
  };
  EXPECT_NE(spared("dev-1"), "");
  EXPECT_EQ(spared("dev-2"), "");
  store::NewWorkflow event;  // what the hub's own event about it became
  event.id = store::WorkflowId("event");
  event.kind = "device";
  event.lane = "external/thingpark";
  event.key = "device/default/dev-1";
  event.input = R"({"link":"default","device":"dev-1","what":"created"})";
  event.state = store::State::kDone;
  start(event);
  EXPECT_NE(spared("dev-1"), "");
  clock.advance(59min);
  EXPECT_NE(spared("dev-1"), "");
  clock.advance(2min);
  EXPECT_EQ(spared("dev-1"), "");
  EXPECT_EQ(create("dev-1").status, 200);
  EXPECT_NE(spared("dev-1"), "") << "a run's list may be older than this call as well";
  ASSERT_EQ(create("dev-3").status, 201);
  ASSERT_EQ(remove("dev-3").status, 200);
  EXPECT_EQ(spared("dev-3"), "") << "what was deleted since is none of the facade's";
}

TEST_F(FacadeRoutes, PagesOfOtherSitesMayNotChangeDevices) {
  EXPECT_EQ(code_of(create("dev-1", {}, {{"Origin", "https://evil.example"}})), "api.cross-site");
  EXPECT_TRUE(fake_hub.devices.empty());
}

}  // namespace
}  // namespace twinstep::api
