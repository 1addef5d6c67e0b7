#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/providers/scripted_client.h"

namespace twinstep::providers {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

class Actility : public testing::Test {
 protected:
  void connect(const std::string& devices = "https://tp.example/devices") {
    auto opened = open(*load_definition("actility"),
                       {{"tokenUri", Secret("https://auth.example/oauth/token")},
                        {"devicesUri", Secret(devices)},
                        {"clientId", Secret("me/login")},
                        {"clientSecret", Secret("s3cr&t \"x\"")}},
                       remote, clock, rng);
    ASSERT_TRUE(opened) << opened.error().what;
    registry = std::move(*opened);
    remote.answer(200, R"({"access_token":"t1","expires_in":3600})");
  }
  void SetUp() override { connect(); }

  /// "a b c|complete" or "a b|why not" or the error.
  std::string listed() {
    std::string out;
    const auto mapper = registry->mapper();
    const auto proof = registry->list(
        [&](std::string_view item, const ItemPlace&) -> Status {
          out += std::string(mapper->map(item)->id) + " ";
          return {};
        },
        [&](std::string_view text, const ItemPlace& place, std::string_view) -> Status {
          out += "broken(" + std::string(text) + " at " + to_string(place) + ") ";
          return {};
        },
        {});
    if (!proof) return "error: " + proof.error().what;
    pages = proof->pages;
    return out + "|" + (proof->complete ? "complete" : proof->why_incomplete);
  }
  static std::string page(int from, int to) {
    std::string out = "[";
    for (int i = from; i <= to; ++i) {
      out += fmt::format("{}{{\"ref\":\"{}\",\"name\":\"d{}\",\"EUI\":\"{:016d}\"}}", i > from ? "," : "", i, i, i);
    }
    return out + "]";
  }
  static DeviceInput device() {
    DeviceInput out;
    out.id = DeviceId("dev-1");
    out.tags = {{"EUI", "0102030405060708"},
                {"activationType", "OTAA"},
                {"deviceProfileId", "P/1"},
                {"applicationEUI", "A1"},
                {"applicationKey", "topsecretkey"}};
    return out;
  }

  ScriptedClient remote;
  FakeClock clock;
  Rng rng{7};
  std::unique_ptr<ExternalRegistry> registry;
  int pages = 0;
};

TEST_F(Actility, TheTokenRequestIsAFormWithThreeFieldsInOrderAndNoCredentialsInHeaders) {
  remote.answer(200, page(1, 1)).answer(404).answer(404);
  listed();
  const http::Request& token = remote.sent()[0];
  EXPECT_EQ(token.method, "POST");
  EXPECT_EQ(token.url, "https://auth.example/oauth/token");
  EXPECT_EQ(token.body, "grant_type=client_credentials&client_id=me%2Flogin&client_secret=s3cr%26t%20%22x%22");
  EXPECT_EQ(header_of(token, "Content-Type"), "application/x-www-form-urlencoded");
  EXPECT_EQ(header_of(token, "Authorization"), "");
}

TEST_F(Actility, TheListIsReadFromPageOneWithABearerToken) {
  remote.answer(200, page(1, 2)).answer(200, page(3, 4)).answer(200, page(5, 5)).answer(404, "no more");
  EXPECT_EQ(listed(), "d1 d2 d3 d4 d5 |complete");
  EXPECT_EQ(pages, 3);
  EXPECT_THAT(remote.lines(), ElementsAre("POST https://auth.example/oauth/token",
                                          "GET https://tp.example/devices?pageIndex=1&extendedInfo=true",
                                          "GET https://tp.example/devices?pageIndex=2&extendedInfo=true",
                                          "GET https://tp.example/devices?pageIndex=3&extendedInfo=true",
                                          "GET https://tp.example/devices?pageIndex=4&extendedInfo=true"));
  EXPECT_EQ(header_of(remote.sent()[1], "Authorization"), "Bearer t1");
  EXPECT_EQ(header_of(remote.sent()[1], "Accept"), "");
}

TEST_F(Actility, AnEmptyPageEndsTheListToo) {
  remote.answer(200, page(1, 2)).answer(200, page(3, 3)).answer(200, "[]");
  EXPECT_EQ(listed(), "d1 d2 d3 |complete");
}

TEST_F(Actility, AnEmptyFirstPageIsAnEmptyCompleteList) {
  remote.answer(200, "[]");
  EXPECT_EQ(listed(), "|complete");
}

TEST_F(Actility, NotFoundOnTheFirstPageIsAnEmptyListThatIsNotProven) {
  remote.answer(404);
  const std::string list = listed();
  EXPECT_THAT(list, HasSubstr("the first page answered 404"));
  EXPECT_THAT(list, Not(HasSubstr("error: ")));
  EXPECT_THAT(list, Not(HasSubstr("|complete")));
}

TEST_F(Actility, AfterAFullLastPageTheOneBehindTheEndIsProbed) {
  remote.answer(200, page(1, 2)).answer(200, page(3, 4)).answer(404).answer(404);
  EXPECT_EQ(listed(), "d1 d2 d3 d4 |complete");
  EXPECT_EQ(remote.lines().back(), "GET https://tp.example/devices?pageIndex=4&extendedInfo=true");
}

TEST_F(Actility, APageBehindAHoleMakesTheListIncomplete) {
  remote.answer(200, page(1, 2)).answer(404).answer(200, page(5, 6));
  EXPECT_EQ(listed(), "d1 d2 |page 2 is empty or answered 404, but page 3 has devices");
}

TEST_F(Actility, AShortPageInTheMiddleMakesTheListIncomplete) {
  remote.answer(200, page(1, 3)).answer(200, page(4, 5)).answer(200, page(7, 9));
  EXPECT_THAT(listed(), HasSubstr("|page 2 has only 2 of 3 devices, but page 3 has devices too"));
}

TEST_F(Actility, ARepeatedPageMakesTheListIncomplete) {
  remote.answer(200, page(1, 2)).answer(200, page(3, 4)).answer(200, page(1, 2));
  EXPECT_THAT(listed(), HasSubstr("|page 3 repeats an earlier page"));
}

TEST_F(Actility, OneDeviceOnTwoPagesMakesTheListIncomplete) {
  remote.answer(200, page(1, 2)).answer(200, page(2, 3)).answer(200, "[]").answer(200, "[]");
  EXPECT_THAT(listed(), AllOf(HasSubstr("page 2, item 1 holds a device"), Not(HasSubstr("complete"))));
}

TEST_F(Actility, ACutPageIsAskedForAgainAndNothingOfItIsTaken) {
  const std::string whole = page(3, 4);
  remote.answer(200, page(1, 2))
      .answer(200, whole.substr(0, whole.size() - 9))
      .answer(200, whole)
      .answer(404)
      .answer(404);
  EXPECT_EQ(listed(), "d1 d2 d3 d4 |complete");
}

TEST_F(Actility, APageThatStaysCutMakesTheListIncomplete) {
  remote.answer(200, page(1, 2)).answer(200, "[{\"name\":\"x").answer(200, "<html>").answer(200, "{}");
  EXPECT_THAT(listed(), AllOf(HasSubstr("d1 d2 |page 2 could not be read"), Not(HasSubstr("d3"))));
}

TEST_F(Actility, ServerFaultsOfOnePageAreRepeatedWithGrowingWaits) {
  remote.answer(200, page(1, 2)).answer(500).broken(ErrorKind::kUnavailable).answer(200, page(3, 3)).answer(404);
  EXPECT_EQ(listed(), "d1 d2 d3 |complete");
  ASSERT_EQ(clock.sleeps().size(), 2u);
  EXPECT_GT(clock.sleeps()[1], clock.sleeps()[0]);
}

TEST_F(Actility, APageThatStaysBadMakesTheListIncompleteButTheFirstOneAnError) {
  remote.answer(200, page(1, 2));
  for (int i = 0; i < 5; ++i) remote.answer(500, "boom");
  EXPECT_THAT(listed(), AllOf(HasSubstr("d1 d2 |page 2 could not be read"), HasSubstr("500: boom")));
  for (int i = 0; i < 5; ++i) remote.answer(502, "boom");
  EXPECT_THAT(listed(), HasSubstr("error: actility: GET https://tp.example/devices answered 502: boom"));
}

TEST_F(Actility, AThrottledPageWaitsAsLongAsTheRemoteSays) {
  remote.answer(429, "slow", {{"Retry-After", "7"}}).answer(200, page(1, 1)).answer(404).answer(404);
  EXPECT_EQ(listed(), "d1 |complete");
  ASSERT_FALSE(clock.sleeps().empty());
  EXPECT_EQ(clock.sleeps()[0], Millis{7000});
}

TEST_F(Actility, ElementsThatAreNoObjectsAreCountedAndNamed) {
  remote.answer(200, R"([{"name":"a"},null,"x",5])").answer(404).answer(404);
  EXPECT_EQ(listed(),
            "a broken(null at page 1, item 2) broken(\"x\" at page 1, item 3) broken(5 at page 1, item 4) |complete");
}

TEST_F(Actility, ARefusedTokenIsRenewedOnceWithTheQueryThatForcesIt) {
  remote.answer(401, "expired").answer(200, R"({"access_token":"t2"})").answer(200, page(1, 1)).answer(404).answer(404);
  EXPECT_EQ(listed(), "d1 |complete");
  EXPECT_EQ(remote.lines()[2], "POST https://auth.example/oauth/token?renewToken=true");
  EXPECT_EQ(header_of(remote.sent()[3], "Authorization"), "Bearer t2");
  EXPECT_EQ(header_of(remote.sent()[4], "Authorization"), "Bearer t2");
}

TEST_F(Actility, ATokenThatIsRefusedAgainIsADenialWithoutALoop) {
  remote.answer(401).answer(200, R"({"access_token":"token-2"})").answer(401, "still token-2 no");
  EXPECT_THAT(listed(), AllOf(HasSubstr("answered 401: still *** no"), Not(HasSubstr("token-2"))));
  EXPECT_EQ(remote.unused(), 0u);
}

TEST_F(Actility, TheTokenIsUsedUntilItsLifeEndsAndThenRenewedWithoutForce) {
  remote.answer(200, "[]").answer(200, "[]").answer(200, R"({"access_token":"t2"})").answer(200, "[]");
  listed();
  clock.advance(std::chrono::seconds(3600 - 61));
  listed();
  EXPECT_EQ(remote.sent().size(), 3u);
  clock.advance(std::chrono::seconds(2));
  listed();
  EXPECT_EQ(remote.lines()[3], "POST https://auth.example/oauth/token");
}

TEST_F(Actility, ATokenWithoutALifetimeLastsSixDays) {
  ScriptedClient fresh;
  auto other = open(*load_definition("actility"),
                    {{"tokenUri", Secret("https://h/t")},
                     {"devicesUri", Secret("https://h/d")},
                     {"clientId", Secret("c")},
                     {"clientSecret", Secret("abcdef")}},
                    fresh, clock, rng);
  fresh.answer(200, R"({"access_token":"t"})")
      .answer(200, "[]")
      .answer(200, "[]")
      .answer(200, R"({"access_token":"u"})")
      .answer(200, "[]");
  const auto read = [&] {
    (void)(*other)->list([](auto, auto&) { return Status{}; }, [](auto, auto&, auto) { return Status{}; }, {});
  };
  read();
  clock.advance(std::chrono::hours(6 * 24) - std::chrono::minutes(2));
  read();
  EXPECT_EQ(fresh.sent().size(), 3u);
  clock.advance(std::chrono::minutes(3));
  read();
  EXPECT_EQ(fresh.lines()[3], "POST https://h/t");
}

TEST_F(Actility, NoTokenIsADenialThatNamesTheAddressAndNoSecret) {
  ScriptedClient fresh;
  fresh.answer(400, R"({"error":"bad s3cr&t \"x\"","client_secret":"zzz"})");
  auto other = open(*load_definition("actility"),
                    {{"tokenUri", Secret("https://h/t?x=1")},
                     {"devicesUri", Secret("https://h/d")},
                     {"clientId", Secret("c")},
                     {"clientSecret", Secret("s3cr&t \"x\"")}},
                    fresh, clock, rng);
  const auto made = (*other)->create(device(), {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kDenied);
  EXPECT_THAT(made.error().what, AllOf(HasSubstr("obtaining an access token at https://h/t"), HasSubstr("400"),
                                       Not(HasSubstr("s3cr")), Not(HasSubstr("zzz"))));
  fresh.answer(200, "{}");
  EXPECT_THAT((*other)->create(device(), {}).error().what, HasSubstr("holds no token"));
}

TEST_F(Actility, ATokenServerThatIsDownIsAskedFiveTimesAndNoMore) {
  ScriptedClient fresh;
  for (int i = 0; i < 30; ++i) fresh.answer(503);
  auto other = open(*load_definition("actility"),
                    {{"tokenUri", Secret("https://h/t")},
                     {"devicesUri", Secret("https://h/d")},
                     {"clientId", Secret("c")},
                     {"clientSecret", Secret("abcdef")}},
                    fresh, clock, rng);
  const auto read =
      (*other)->list([](auto, auto&) { return Status{}; }, [](auto, auto&, auto) { return Status{}; }, {});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(fresh.sent().size(), 5u);
}

TEST_F(Actility, ACreateIsOneFlatBodyWithTheNameFirst) {
  remote.answer(201, R"({"ref":"9"})");
  const auto made = registry->create(device(), {});
  ASSERT_TRUE(made) << made.error().what;
  EXPECT_EQ(*made, WriteOutcome::kDone);
  const http::Request& sent = remote.sent()[1];
  EXPECT_EQ(sent.method + " " + sent.url, "POST https://tp.example/devices");
  EXPECT_EQ(
      sent.body,
      R"({"name":"dev-1","EUI":"0102030405060708","activationType":"OTAA","deviceProfileId":"P/1","applicationEUI":"A1","applicationKey":"topsecretkey"})");
  EXPECT_EQ(header_of(sent, "Content-Type"), "application/json; charset=utf-8");
  EXPECT_EQ(header_of(sent, "Authorization"), "Bearer t1");
}

TEST_F(Actility, ABodyOfACreateNeedNotBeJson) {
  remote.answer(200, "created");
  EXPECT_TRUE(registry->create(device(), {}));
}

TEST_F(Actility, AnAbpDeviceIsCreatedWithItsOwnBody) {
  DeviceInput abp = device();
  abp.tags = {{"EUI", "0102030405060708"}, {"activationType", "ABP"},  {"deviceProfileId", "P1"},
              {"networkAddress", "01AB"},  {"networkSessionKey", "N"}, {"applicationSessionKey", "S"}};
  EXPECT_TRUE(registry->missing_for_create(abp).empty());
  remote.answer(201);
  ASSERT_TRUE(registry->create(abp, {}));
  EXPECT_EQ(
      remote.sent()[1].body,
      R"({"name":"dev-1","EUI":"0102030405060708","activationType":"ABP","deviceProfileId":"P1","networkAddress":"01AB","networkSessionKey":"N","applicationSessionKeyRules":[{"key":"S"}]})");
}

TEST_F(Actility, MissingAndMalformedTagsAreNamedAndNothingIsSent) {
  DeviceInput bad = device();
  bad.tags.erase("applicationKey");
  bad.tags["EUI"] = "123";
  EXPECT_THAT(
      registry->missing_for_create(bad),
      ElementsAre(AllOf(Field(&TagFault::text, "EUI must have 16 characters"), Field(&TagFault::missing, false)),
                  AllOf(Field(&TagFault::text, "applicationKey is missing"), Field(&TagFault::missing, true))));
  EXPECT_THAT(registry->known_tags(),
              Contains(AllOf(Field(&TagSpec::path, ElementsAre("networkSessionKey")), Field(&TagSpec::secret, true))));
  const auto made = registry->create(bad, {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kInvalid);
  EXPECT_TRUE(remote.sent().empty());
}

TEST_F(Actility, APageOfAPortalIsNoCreatedDevice) {
  remote.answer(200, "\n<html>log in</html>");
  const auto made = registry->create(device(), {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kCorrupt);
}

TEST_F(Actility, AnAnswerThatBreaksOffIsNoCreatedDevice) {
  remote.answer(200, R"([{"ref":"9","name":"dev)");
  const auto made = registry->create(device(), {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kCorrupt);
  for (const char* body : {"", "created", "{}", R"({"ref":"9"})"}) {
    remote.answer(201, body);
    EXPECT_TRUE(registry->create(device(), {})) << body;
  }
}

TEST_F(Actility, ALookUpWithOtherTypesIsNoAnswerAboutAnyDevice) {
  for (const char* body : {R"([{"name":[1],"EUI":{},"ref":{}}])", R"([7])", R"({"devices":7})", "null"}) {
    remote.answer(200, body);
    const auto gone = registry->remove(device(), {});
    ASSERT_FALSE(gone) << body;
    EXPECT_EQ(gone.error().kind, ErrorKind::kCorrupt) << body << ": " << gone.error().what;
  }
}

TEST_F(Actility, ADuplicateThatIsOursIsASuccess) {
  remote.answer(409, "duplicate").answer(200, R"([{"ref":"9","name":"dev-1","EUI":"0102030405060708"}])");
  const auto made = registry->create(device(), {});
  ASSERT_TRUE(made) << made.error().what;
  EXPECT_EQ(*made, WriteOutcome::kAlreadyThere);
  EXPECT_EQ(remote.lines().back(), "GET https://tp.example/devices?deviceEUI=0102030405060708");
}

TEST_F(Actility, ADuplicateUnderAnotherNameIsAConflict) {
  remote.answer(400, "EUI in use").answer(200, R"([{"ref":"9","name":"other","EUI":"0102030405060708"}])");
  const auto made = registry->create(device(), {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kConflict);
}

TEST_F(Actility, ARefusalThatIsNoDuplicateKeepsItsBodyAndLosesItsSecrets) {
  remote.answer(400, R"({"message":"profile unknown","applicationKey":"topsecretkey","x":"t1 Bearer s3cr&t"})")
      .answer(200, "[]");
  const auto made = registry->create(device(), {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kInvalid);
  EXPECT_EQ(made.error().remote_status, 400);
  EXPECT_THAT(made.error().what, AllOf(HasSubstr("create dev-1: actility: POST"), HasSubstr("profile unknown"),
                                       Not(HasSubstr("topsecret"))));
}

TEST_F(Actility, LongBodiesInErrorsAreCut) {
  remote.answer(400, std::string(5000, 'x')).answer(404);
  EXPECT_LT(registry->create(device(), {}).error().what.size(), 600u);
}

TEST_F(Actility, AfterAnUnsureCreateTheLookUpDecides) {
  remote.broken(ErrorKind::kTimeout).answer(200, R"([{"ref":"9","name":"dev-1","EUI":"0102030405060708"}])");
  EXPECT_EQ(registry->create(device(), {}).value(), WriteOutcome::kDone);
  remote.answer(500).answer(200, "[]").answer(201);
  EXPECT_EQ(registry->create(device(), {}).value(), WriteOutcome::kDone);
  EXPECT_EQ(remote.unused(), 0u);
  EXPECT_EQ(remote.lines().back(), "POST https://tp.example/devices");
}

TEST_F(Actility, ADeleteLooksTheRefUpByTheEuiAndDeletesIt) {
  remote.answer(200, R"([{"ref":"77 a","name":"dev-1","EUI":"0102030405060708"}])").answer(204);
  EXPECT_EQ(registry->remove(device(), {}).value(), WriteOutcome::kDone);
  EXPECT_THAT(remote.lines(), ElementsAre("POST https://auth.example/oauth/token",
                                          "GET https://tp.example/devices?deviceEUI=0102030405060708",
                                          "DELETE https://tp.example/devices/77%20a"));
  EXPECT_EQ(remote.sent()[2].body, "");
}

TEST_F(Actility, AThinAnswerToTheLookUpIsEnoughForADelete) {
  remote.answer(200, R"([{"ref":77}])").answer(200);
  EXPECT_EQ(registry->remove(device(), {}).value(), WriteOutcome::kDone);
  EXPECT_EQ(remote.lines().back(), "DELETE https://tp.example/devices/77");
}

TEST_F(Actility, DeletingWhatIsGoneIsASuccess) {
  remote.answer(200, "[]");
  EXPECT_EQ(registry->remove(device(), {}).value(), WriteOutcome::kAlreadyGone);
  remote.answer(404);
  EXPECT_EQ(registry->remove(device(), {}).value(), WriteOutcome::kAlreadyGone);
  remote.answer(200, R"([{"ref":"77"}])").answer(404);
  EXPECT_EQ(registry->remove(device(), {}).value(), WriteOutcome::kAlreadyGone);
}

TEST_F(Actility, APageThatSaysNotFoundSaysNothingAboutADevice) {
  remote.answer(404, "<html><h1>404 Not Found</h1></html>");
  const auto removed = registry->remove(device(), {});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().kind, ErrorKind::kCorrupt) << removed.error().what;
  remote.answer(404, "<html><h1>404 Not Found</h1></html>");
  const auto found = registry->look_up(device(), {});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kCorrupt) << found.error().what;
}

TEST(ActilityWithoutAToken, KnowsNothingAboutAnyDevice) {
  ScriptedClient remote;
  FakeClock clock;
  Rng rng{7};
  auto registry = open(*load_definition("actility"),
                       {{"tokenUri", Secret("https://auth.example/oauth/token")},
                        {"devicesUri", Secret("https://tp.example/devices")},
                        {"clientId", Secret("me")},
                        {"clientSecret", Secret("s3cret")}},
                       remote, clock, rng);
  ASSERT_TRUE(registry) << registry.error().what;
  DeviceInput device;
  device.id = DeviceId("dev-1");
  device.tags = {{"EUI", "0102030405060708"}};
  for (const int status : {404, 405, 409, 410}) {  // of whatever answers in its place: neither absent nor invalid
    remote.answer(status, R"({"error":"no such page"})");
    const auto found = (*registry)->look_up(device, {});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind, ErrorKind::kUnavailable) << status << ": " << found.error().what;
    remote.answer(status);
    const auto removed = (*registry)->remove(device, {});
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().kind, ErrorKind::kUnavailable) << status << ": " << removed.error().what;
  }
}

TEST_F(Actility, WhatOnlyThatWhichStandsBeforeItAnswersIsAnOutage) {
  for (const int status : {302, 307, 501, 505, 520, 521, 530}) {
    for (int n = 0; n < 5; ++n) remote.answer(status);  // a look-up is repeated
    const auto found = registry->look_up(device(), {});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind, ErrorKind::kUnavailable) << status;
    EXPECT_EQ(remote.unused(), 0u);
  }
}

TEST_F(Actility, ALookUpWithSeveralOrOtherDevicesDeletesNothing) {
  remote.answer(200, page(1, 2));
  auto removed = registry->remove(device(), {});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().kind, ErrorKind::kConflict);
  EXPECT_THAT(removed.error().what, HasSubstr("returned 2 devices, expected 1"));
  remote.answer(200, page(1, 1));
  removed = registry->remove(device(), {});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(remote.sent().size(), 3u);
}

TEST_F(Actility, ADeviceWithoutAnEuiCannotBeLookedUpOrDeleted) {
  DeviceInput bare;
  bare.id = DeviceId("dev-1");
  EXPECT_FALSE(registry->can_look_up(bare));
  EXPECT_TRUE(registry->can_look_up(device()));
  const auto removed = registry->remove(bare, {});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().kind, ErrorKind::kInvalid);
  EXPECT_THAT(removed.error().what, HasSubstr("{tags.EUI}"));
}

TEST_F(Actility, ALookUpGivesTheMappedIdAndTheItem) {
  remote.answer(200, R"([{"ref":"9","name":"Dev-1","EUI":"01-02-03-04-05-06-07-08"}])");
  const auto found = registry->look_up(device(), {});
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->id, "Dev-1");
  EXPECT_EQ(found->item.at("ref"), "9");
  remote.answer(200, "[]");
  EXPECT_EQ(registry->look_up(device(), {}).error().kind, ErrorKind::kNotFound);
}

TEST_F(Actility, TheDevicesAddressMayEndInASlashAndCarryAQuery) {
  remote.answer(200, "[]");
  listed();
  connect("https://tp.example/dx/devices/?tenant=a%20b&pageIndex=9");
  remote.answer(200, "[]").answer(200, R"([{"ref":"7"}])").answer(204);
  listed();
  registry->remove(device(), {}).value();
  const auto lines = remote.lines();
  EXPECT_EQ(lines[3], "GET https://tp.example/dx/devices?tenant=a%20b&pageIndex=1&extendedInfo=true");
  EXPECT_EQ(lines[5], "DELETE https://tp.example/dx/devices/7?tenant=a%20b&pageIndex=9");
}

TEST_F(Actility, RequestsKeepToTenPerSecond) {
  std::string out;
  for (int i = 1; i <= 40; ++i) remote.answer(200, page(i, i));
  remote.answer(404).answer(404);
  EXPECT_THAT(listed(), HasSubstr("|complete"));
  Millis waited{0};
  for (const Millis one : clock.sleeps()) waited += one;
  EXPECT_GE(waited, Millis{2900});
  EXPECT_LE(waited, Millis{3500});
}

TEST_F(Actility, AStopEndsTheListAsCancelled) {
  std::stop_source stop;
  stop.request_stop();
  remote.answer(500);
  const auto read = registry->list([](auto, auto&) { return Status{}; }, [](auto, auto&, auto) { return Status{}; },
                                   {SteadyTime::max(), stop.get_token()});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kCancelled);
}

TEST_F(Actility, TheFirstPageAloneIsNeverComplete) {
  remote.answer(200, page(1, 3));
  int seen = 0;
  const auto proof = registry->first_page([&](auto, auto&) { return ++seen, Status{}; },
                                          [](auto, auto&, auto) { return Status{}; }, {});
  ASSERT_TRUE(proof);
  EXPECT_EQ(seen, 3);
  EXPECT_FALSE(proof->complete);
}

}  // namespace
}  // namespace twinstep::providers
