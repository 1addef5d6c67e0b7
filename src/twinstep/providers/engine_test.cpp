#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "twinstep/base/fake_clock.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/providers/scripted_client.h"

namespace twinstep::providers {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// A definition of the test's own, run against a scripted remote.
class Engine : public testing::Test {
 protected:
  void use(const std::string& text, std::map<std::string, Secret> settings = {}) {
    auto parsed = parse_definition("definition: 1\nname: x\nidentity: { deviceId: /id }\n" + text, "x.yaml");
    ASSERT_TRUE(parsed) << parsed.error().what;
    auto opened = open(*parsed, std::move(settings), remote, clock, rng);
    ASSERT_TRUE(opened) << opened.error().what;
    registry = std::move(*opened);
  }
  std::string listed() {
    std::string out;
    const auto mapper = registry->mapper();
    const auto proof = registry->list(
        [&](std::string_view item, const ItemPlace&) -> Status {
          out += std::string(mapper->map(item)->id) + " ";
          return {};
        },
        [](auto, auto&, auto) { return Status{}; }, {});
    if (!proof) return "error: " + proof.error().what;
    return out + "|" + (proof->complete ? "complete" : proof->why_incomplete);
  }
  static DeviceInput device() {
    DeviceInput out;
    out.id = DeviceId("d1");
    out.tags = {{"EUI", "AB12"}, {"kind", "OTAA"}, {"key", "very-secret"}, {"n", 5}};
    return out;
  }
  ScriptedClient remote;
  FakeClock clock;
  Rng rng{7};
  std::unique_ptr<ExternalRegistry> registry;
};

TEST_F(Engine, OffsetPagingEndsAtTheStatedTotal) {
  use("list: { request: { url: 'https://h/d', query: { limit: '{size}', offset: '{offset}' } }, items: /result,\n"
      "  paging: { kind: offset, size: 2 }, end: [{ total: /totalCount }, { emptyPage: true }] }\n");
  remote.answer(200, R"({"totalCount":3,"result":[{"id":"a"},{"id":"b"}]})")
      .answer(200, R"({"totalCount":"3","result":[{"id":"c"}]})");
  EXPECT_EQ(listed(), "a b c |complete");
  EXPECT_THAT(remote.lines(), ElementsAre("GET https://h/d?limit=2&offset=0", "GET https://h/d?limit=2&offset=2"));
  remote.answer(200, R"({"totalCount":3,"result":[{"id":"a"},{"id":"b"}]})")
      .answer(200, R"({"totalCount":3,"result":[]})");
  EXPECT_EQ(listed(), "a b |the remote states 3 devices, but 2 came");
  remote.answer(200, R"({"totalCount":3,"result":[{"id":"a"},{"id":"b"}]})")
      .answer(200, R"({"totalCount":4,"result":[{"id":"c"}]})");
  EXPECT_THAT(listed(), HasSubstr("total changed from 3 to 4"));
}

TEST_F(Engine, CursorsAreFollowedUntilThereIsNone) {
  use("list: { request: { url: 'https://h/d', query: { 'next?': '{cursor}' } }, items: /items,\n"
      "  paging: { kind: cursor, pointer: /next }, end: [{ noCursor: true }] }\n");
  remote.answer(200, R"({"items":[{"id":"a"}],"next":"p 2"})").answer(200, R"({"items":[{"id":"b"}],"next":null})");
  EXPECT_EQ(listed(), "a b |complete");
  EXPECT_THAT(remote.lines(), ElementsAre("GET https://h/d", "GET https://h/d?next=p%202"));
  remote.answer(200, R"({"items":[{"id":"a"}],"next":"c"})").answer(200, R"({"items":[{"id":"b"}],"next":"c"})");
  EXPECT_EQ(listed(), "a b |page 2 leads back to a page that was read already");
}

TEST_F(Engine, TheLastItemsFieldLeadsOn) {
  use("list: { request: { url: 'https://h/d', query: { 'after?': '{cursor}' } }, items: '',\n"
      "  paging: { kind: last-item, pointer: /id }, end: [{ emptyPage: true }] }\n");
  remote.answer(200, R"([{"id":"a"},{"id":"b"}])").answer(200, R"([{"id":"c"}])").answer(200, "[]");
  EXPECT_EQ(listed(), "a b c |complete");
  EXPECT_THAT(remote.lines(), ElementsAre("GET https://h/d", "GET https://h/d?after=b", "GET https://h/d?after=c"));
}

TEST_F(Engine, NextAddressesAreFollowedOnTheSameHostOnly) {
  use("list: { request: { url: 'https://h/d?size=2' }, items: /data, paging: { kind: next-url, pointer: /paging/next } "
      "}\n");
  remote.answer(200, R"({"data":[{"id":"a"}],"paging":{"next":"https://h:443/d?p=2"}})")
      .answer(200, R"({"data":[{"id":"b"}],"paging":{"next":"/d?p=3"}})")
      .answer(200, R"({"data":[{"id":"c"}],"paging":{}})");
  EXPECT_EQ(listed(), "a b c |complete");
  EXPECT_THAT(remote.lines(), ElementsAre("GET https://h/d?size=2", "GET https://h:443/d?p=2", "GET https://h/d?p=3"));
  for (const char* evil : {"https://evil/d", "http://h/d", "//evil/d", "https://h@evil/d", "https://h.evil/"}) {
    remote.answer(200, fmt::format(R"({{"data":[{{"id":"a"}}],"paging":{{"next":"{}"}}}})", evil));
    EXPECT_THAT(listed(), HasSubstr("which is not followed")) << evil;
  }
}

TEST_F(Engine, LinkHeadersAreFollowed) {
  use("list: { request: { url: 'https://h/d' }, items: '', paging: { kind: link-header } }\n");
  remote.answer(200, R"([{"id":"a"}])", {{"Link", "<https://h/d?p=1>; rel=\"prev\", <https://h/d?p=2>; rel=\"next\""}})
      .answer(200, R"([{"id":"b"}])", {{"Link", "<https://h/d?p=1>; rel=\"prev\""}});
  EXPECT_EQ(listed(), "a b |complete");
}

TEST_F(Engine, AFlagAndAShortPageEndAList) {
  use("list: { request: { url: 'https://h/d', query: { p: '{page}' } }, items: /l, paging: { kind: page-number, first: "
      "0 },\n"
      "  end: [{ flag: /more }] }\n");
  remote.answer(200, R"({"l":[{"id":"a"}],"more":true})").answer(200, R"({"l":[{"id":"b"}],"more":false})");
  EXPECT_EQ(listed(), "a b |complete");
  remote.answer(200, R"({"l":[{"id":"a"}],"more":true})").answer(200, R"({"l":[],"more":true})");
  EXPECT_THAT(listed(), HasSubstr("although the remote says that there is more"));
  use("list: { request: { url: 'https://h/d', query: { p: '{page}' } }, items: '', paging: { kind: page-number },\n"
      "  end: [{ shortPage: 2 }] }\n");
  remote.answer(200, R"([{"id":"a"},{"id":"b"}])").answer(200, R"([{"id":"c"}])");
  EXPECT_EQ(listed(), "a b c |complete");
}

TEST_F(Engine, AMissingListIsEmptyOnlyWhereTheDefinitionSaysSo) {
  use("list: { request: { url: 'https://h/d' }, items: /end_devices, missingIsEmpty: true }\n");
  remote.answer(200, "{}");
  EXPECT_EQ(listed(), "|complete");
  use("list: { request: { url: 'https://h/d' }, items: /end_devices }\n");
  remote.answer(200, "{}").answer(200, "{}").answer(200, "{}");
  EXPECT_THAT(listed(), HasSubstr("error: "));
}

TEST_F(Engine, ListsWithoutAnEndStopAtTheGuard) {
  use("list: { request: { url: 'https://h/d', query: { p: '{page}' } }, items: '', paging: { kind: page-number, "
      "maxPages: 3 } }\n");
  for (int i = 0; i < 3; ++i) remote.answer(200, fmt::format(R"([{{"id":"d{}"}}])", i));
  EXPECT_EQ(listed(), "d0 d1 d2 |the list has more than 3 pages");
}

TEST_F(Engine, ParentsComeFromASettingOrFromTheirOwnList) {
  const std::string text =
      "settings: { apps: { required: false } }\n"
      "list:\n  parents: { as: app, setting: apps, otherwise: { request: { url: 'https://h/apps' }, items: /r, id: /id "
      "} }\n"
      "  request: { url: 'https://h/d', query: { app: '{app.id}' } }\n  items: ''\n";
  use(text, {{"apps", Secret("one, two")}});
  remote.answer(200, R"([{"id":"a"}])").answer(200, R"([{"id":"b"}])");
  EXPECT_EQ(listed(), "a b |complete");
  EXPECT_THAT(remote.lines(), ElementsAre("GET https://h/d?app=one", "GET https://h/d?app=two"));
  use(text);
  remote.answer(200, R"({"r":[{"id":7}]})").answer(200, R"([{"id":"c"}])");
  EXPECT_EQ(listed(), "c |complete");
  EXPECT_EQ(remote.lines().back(), "GET https://h/d?app=7");
  remote.answer(200, R"({"r":[{"id":1},{"id":2}]})").answer(200, R"([{"id":"c"}])");
  for (int i = 0; i < 5; ++i) remote.answer(500);
  EXPECT_THAT(listed(), HasSubstr("|app 2: page 1 could not be read"));
}

TEST_F(Engine, KeysTravelInHeadersQueriesAndBasicAuth) {
  const std::string list =
      "settings: { key: { secret: true } }\nlist: { request: { url: 'https://h/d' }, items: '' }\n";
  use(list + "auth: { kind: header, name: Grpc-Metadata-Authorization, prefix: 'Bearer ', value: '{settings.key}' }\n",
      {{"key", Secret("k&1xyz")}});
  remote.answer(200, "[]");
  EXPECT_EQ(listed(), "|complete");
  EXPECT_EQ(header_of(remote.sent().back(), "Grpc-Metadata-Authorization"), "Bearer k&1xyz");
  use(list + "auth: { kind: query, name: apiKey, value: '{settings.key}' }\n", {{"key", Secret("k&1xyz")}});
  remote.answer(200, "[]");
  listed();
  EXPECT_EQ(remote.lines().back(), "GET https://h/d?apiKey=k%261xyz");
  remote.broken(ErrorKind::kInvalid, "cannot reach https://h/d?apiKey=k%261xyz");
  EXPECT_THAT(listed(), AllOf(HasSubstr("apiKey=***"), Not(HasSubstr("1xyz"))));
  use(list + "auth: { kind: basic, user: me, password: '{settings.key}' }\n", {{"key", Secret("k&1xyz")}});
  remote.answer(200, "[]");
  listed();
  EXPECT_EQ(header_of(remote.sent().back(), "Authorization"), "Basic bWU6ayYxeHl6");
  remote.answer(400, R"({"seen":"Authorization: Basic bWU6ayYxeHl6"})");
  EXPECT_THAT(listed(), AllOf(HasSubstr("Basic ***"), Not(HasSubstr("ayYxeHl6"))));
  use(list + "auth: { kind: header, value: '{settings.key}' }\n", {{"key", Secret("k\"1xyz")}});
  remote.answer(400, R"({"seen":"{\"key\":\"k\\\"1xyz\"}"})");
  EXPECT_THAT(listed(), AllOf(HasSubstr("***"), Not(HasSubstr("1xyz"))));
  use(list + "auth: { kind: header, value: '{settings.key}' }\n", {{"key", Secret("k\r\nX: y")}});
  EXPECT_THAT(listed(), HasSubstr("line break"));
}

TEST_F(Engine, ALoginGivesATokenWithItsOwnLifetime) {
  use("settings: { user: {}, password: { secret: true } }\n"
      "auth: { kind: login, request: { method: POST, url: 'https://h/login', json: { u: '{settings.user}', p: "
      "'{settings.password}' } },\n"
      "  token: /session/id, success: { pointer: /ok, equals: true }, name: X-Session, prefix: '',\n"
      "  lifetime: { pointer: /session/until, unit: epoch-ms, margin: 10s }, renewOn: [401, 403] }\n"
      "list: { request: { url: 'https://h/d' }, items: '' }\n",
      {{"user", Secret("me")}, {"password", Secret("hush-hush")}});
  const auto now = std::chrono::duration_cast<Millis>(clock.system_now().time_since_epoch()).count();
  remote.answer(200, fmt::format(R"({{"ok":true,"session":{{"id":"tok-1","until":{}}}}})", now + 60'000))
      .answer(200, "[]")
      .answer(200, "[]");
  EXPECT_EQ(listed(), "|complete");
  EXPECT_EQ(remote.sent()[0].body, R"({"u":"me","p":"hush-hush"})");
  EXPECT_EQ(header_of(remote.sent()[1], "X-Session"), "tok-1");
  clock.advance(std::chrono::seconds(49));
  listed();
  clock.advance(std::chrono::seconds(2));
  remote.answer(200, R"({"ok":false,"session":{"id":"hush-hush"}})");
  EXPECT_THAT(listed(), AllOf(HasSubstr("holds no token"), Not(HasSubstr("hush"))));
  EXPECT_EQ(remote.sent().size(), 4u);
}

TEST_F(Engine, ManyThreadsShareOneTokenRequest) {
  class Remote final : public http::Client {
   public:
    Result<http::Response> send(const http::Request& request, const Call&) override {
      if (request.url == "https://h/t")
        return http::Response{200, {}, fmt::format(R"({{"access_token":"tok-{}"}})", ++tokens)};
      return http::Response{200, {}, "[]"};
    }
    std::atomic<int> tokens{0};
  } many;
  auto parsed = parse_definition(
      "definition: 1\nname: x\nidentity: { deviceId: /id }\nlist: { request: { url: 'https://h/d' }, items: '' }\n"
      "auth: { kind: oauth2-client-credentials, tokenUrl: 'https://h/t', form: { grant_type: client_credentials } }\n",
      "x.yaml");
  ASSERT_TRUE(parsed) << parsed.error().what;
  auto shared = open(*parsed, {}, many, clock, rng);
  std::atomic<int> complete{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        const auto proof =
            (*shared)->list([](auto, auto&) { return Status{}; }, [](auto, auto&, auto) { return Status{}; }, {});
        complete += proof && proof->complete ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(complete, 8);
  EXPECT_EQ(many.tokens, 1);
}

const std::string kTwoSteps =
    "list: { request: { url: 'https://h/d' }, items: '' }\n"
    "tags: { EUI: /eui, kind: /kind, key: { from: /key, secret: true }, n: /n, absent: /absent }\n"
    "get: { item: /device, steps: [{ request: { url: 'https://h/d', path: '/{tags.EUI|lower}' } }] }\n"
    "create:\n  steps:\n"
    "    - id: device\n      repeat: verify\n"
    "      request: { method: POST, url: 'https://h/d', json: { eui: '{tags.EUI|lower}', n: '{tags.n}', 'gone?': "
    "'{tags.absent}',\n"
    "        text: 'n={tags.n}', list: ['{deviceId}', { $when: { tag: kind, equals: ABP }, abp: 1 }] } }\n"
    "      outcomes:\n"
    "        - { status: 500, bodyMatches: '(?i)duplicate key', is: exists }\n"
    "        - { status: 200, pointer: /error/code, equals: 11, is: exists }\n"
    "        - { status: [4xx], header: X-Reason, matches: later, is: retry }\n"
    "      capture: { ref: /ref }\n"
    "    - when: { tag: kind, equals: OTAA }\n"
    "      repeat: verify\n"
    "      request: { method: PUT, url: 'https://h/d', path: '/{tags.EUI|lower}/keys', json: { key: '{tags.key}' } }\n"
    "delete:\n  steps:\n"
    "    - request: { method: DELETE, url: 'https://h/keys', path: '/{deviceId}' }\n"
    "    - request: { method: DELETE, url: 'https://h/d', path: '/{deviceId}' }\n";

TEST_F(Engine, StepsRunInOrderWithTypesOptionalMembersAndConditions) {
  use(kTwoSteps);
  remote.answer(201, R"({"ref":7})").answer(200);
  EXPECT_EQ(registry->create(device(), {}).value(), WriteOutcome::kDone);
  EXPECT_EQ(remote.sent()[0].body, R"({"eui":"ab12","n":5,"text":"n=5","list":["d1"]})");
  EXPECT_THAT(remote.lines(), ElementsAre("POST https://h/d", "PUT https://h/d/ab12/keys"));
  DeviceInput abp = device();
  abp.tags["kind"] = "ABP";
  remote.answer(201, R"({"ref":8})");
  EXPECT_TRUE(registry->create(abp, {}));
  EXPECT_THAT(remote.sent()[2].body, HasSubstr(R"("list":["d1",{"abp":1}])"));
}

TEST_F(Engine, ABodyCanSayThatTheDeviceIsThereAndTheStepsGoOn) {
  use(kTwoSteps);
  for (const bool by_status : {true, false}) {
    if (by_status) {
      remote.answer(500, "ERROR: Duplicate key value");
    } else {
      remote.answer(200, R"({"error":{"code":11}})");
    }
    remote.answer(200, R"({"device":{"id":"d1"}})").answer(200);
    EXPECT_EQ(registry->create(device(), {}).value(), WriteOutcome::kDone);
    EXPECT_EQ(remote.lines().back(), "PUT https://h/d/ab12/keys");
  }
  remote.answer(500, "duplicate key").answer(200, R"({"device":{"id":"someone-else"}})");
  EXPECT_EQ(registry->create(device(), {}).error().kind, ErrorKind::kConflict);
  EXPECT_EQ(remote.unused(), 0u);
}

TEST_F(Engine, AValueThatIsMissingStopsBeforeAnythingIsSent) {
  use(kTwoSteps);
  DeviceInput bare = device();
  bare.tags.erase("n");
  const auto made = registry->create(bare, {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().what, HasSubstr("{tags.n} has no value for 'n'"));
  for (const char* bad : {"", ".", ".."}) {
    bare = device();
    bare.tags["EUI"] = bad;
    EXPECT_FALSE(registry->look_up(bare, {})) << bad;
  }
  bare.tags["EUI"] = "../x?y#z";
  remote.answer(200, R"({"device":{"id":"d1"}})");
  EXPECT_TRUE(registry->look_up(bare, {}));
  EXPECT_THAT(remote.lines(), ElementsAre("GET https://h/d/..%2Fx%3Fy%23z"));
}

TEST_F(Engine, MissingOnAStepOfADeleteMeansGoOn) {
  use(kTwoSteps);
  remote.answer(404).answer(204);
  EXPECT_EQ(registry->remove(device(), {}).value(), WriteOutcome::kDone);
  remote.answer(404).answer(404);
  EXPECT_EQ(registry->remove(device(), {}).value(), WriteOutcome::kAlreadyGone);
  remote.answer(204).answer(403, "no rights");
  const auto removed = registry->remove(device(), {});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().kind, ErrorKind::kDenied);
  EXPECT_THAT(removed.error().what, AllOf(HasSubstr("delete d1: x: DELETE"), HasSubstr("no rights")));
}

TEST_F(Engine, SecretTagsAreHiddenHoweverTheRemoteRepeatsThem) {
  use(kTwoSteps);
  DeviceInput odd = device();
  odd.tags["key"] = "a\"b/secret";
  remote.answer(201, R"({"ref":7})")
      .answer(400, R"(bad {"key":"a\"b/secret"} a%22b%2Fsecret a"b/secret)")
      .answer(200, R"({"device":{"id":"zz"}})");
  const auto made = registry->create(odd, {});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().what, AllOf(HasSubstr("bad"), Not(HasSubstr("secret"))));
}

TEST_F(Engine, ADefinitionWithoutAnOperationSaysSo) {
  use("list: { request: { url: 'https://h/d' }, items: '' }\n");
  EXPECT_EQ(registry->create(device(), {}).error().code, "external.not-possible");
  EXPECT_EQ(registry->remove(device(), {}).error().code, "external.not-possible");
  EXPECT_FALSE(registry->can_look_up(device()));
}

TEST_F(Engine, AnAddressThatIsNoneIsRefusedWithItsSetting) {
  use("settings: { base: {} }\nendpoints: { main: '{settings.base}' }\nlist: { request: { path: /d }, items: '' }\n",
      {{"base", Secret("ftp://h")}});
  EXPECT_THAT(listed(), AllOf(HasSubstr("not an http or https address"), HasSubstr("endpoint 'main'")));
}

TEST_F(Engine, WaitHeadersOfTheDefinitionAreObeyed) {
  use("list: { request: { url: 'https://h/d' }, items: '' }\nlimits: { waitHeaders: [{ name: X-Reset, unit: epoch-s }] "
      "}\n");
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(clock.system_now().time_since_epoch()).count();
  remote.answer(429, "", {{"X-Reset", std::to_string(now + 12)}}).answer(200, "[]");
  EXPECT_EQ(listed(), "|complete");
  EXPECT_EQ(clock.sleeps().at(0), Millis{12'000});
}

}  // namespace
}  // namespace twinstep::providers
