#include "twinstep/providers/definition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/providers/scripted_client.h"

namespace twinstep::providers {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const std::string kHead = "definition: 1\nname: x\n";
const std::string kTail =
    "endpoints: { main: \"{settings.base}\" }\n"
    "settings: { base: { env: x_base } }\n"
    "identity: { deviceId: /id }\n"
    "list: { request: { path: /devices }, items: \"\" }\n";

std::string complaint(const std::string& text) {
  const auto parsed = parse_definition(text, "x.yaml");
  return parsed ? "" : parsed.error().what;
}

TEST(BuiltinDefinitions, AllLoadWithoutAComplaint) {
  EXPECT_THAT(builtin_names(), testing::ElementsAre("actility", "file"));
  for (const std::string& name : builtin_names()) {
    const auto loaded = load_definition(name);
    ASSERT_TRUE(loaded) << loaded.error().what;
    EXPECT_EQ(loaded->name, name);
    EXPECT_TRUE(loaded->warnings.empty());
  }
  EXPECT_TRUE(load_definition("Actility"));
}

TEST(BuiltinDefinitions, AnUnknownNameGetsTheNearestOne) {
  const auto loaded = load_definition("actilty");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, "provider.unknown");
  EXPECT_THAT(loaded.error().what, AllOf(HasSubstr("did you mean 'actility'?"), HasSubstr("actility, file")));
}

TEST(BuiltinDefinitions, AFileThatIsNotThereIsNamed) {
  const auto loaded = load_definition("no/such/definition.yaml");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(loaded.error().what, HasSubstr("no/such/definition.yaml"));
}

TEST(Open, MissingSettingsAreNamedTogetherWithTheirVariables) {
  ScriptedClient remote;
  FakeClock clock;
  Rng rng(1);
  const auto opened = open(*load_definition("actility"), {{"clientId", Secret("me")}}, remote, clock, rng);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "provider.missing-settings");
  EXPECT_THAT(opened.error().what, AllOf(HasSubstr("tokenUri (environment variable actility_api_token_uri)"),
                                         HasSubstr("devicesUri (environment variable actility_api_devices_uri)"),
                                         HasSubstr("clientSecret (environment variable actility_api_client_secret)"),
                                         Not(HasSubstr("clientId")), Not(HasSubstr("requestsPerSecond"))));
}

TEST(Open, UnknownSettingsAndBadRatesAreRefused) {
  ScriptedClient remote;
  FakeClock clock;
  Rng rng(1);
  const Definition definition = *load_definition("actility");
  std::map<std::string, Secret> settings{{"tokenUri", Secret("https://h/token")},
                                         {"devicesUri", Secret("https://h/d")},
                                         {"clientId", Secret("me")},
                                         {"clientSecret", Secret("s3cret")}};
  EXPECT_TRUE(open(definition, settings, remote, clock, rng));
  auto wrong = settings;
  wrong["clientSecrt"] = Secret("x");
  EXPECT_THAT(open(definition, wrong, remote, clock, rng).error().what, HasSubstr("did you mean 'clientSecret'?"));
  for (const char* rate : {"0", "-1", "many", "1/s"}) {
    wrong = settings;
    wrong["requestsPerSecond"] = Secret(rate);
    const auto opened = open(definition, wrong, remote, clock, rng);
    ASSERT_FALSE(opened) << rate;
    EXPECT_EQ(opened.error().code, "provider.bad-setting");
  }
}

TEST(DefinitionLoader, TheSmallestDefinitionLoadsAndWarnsThatItHasNoTests) {
  const auto parsed = parse_definition(kHead + kTail, "x.yaml");
  ASSERT_TRUE(parsed) << parsed.error().what;
  EXPECT_EQ(parsed->warnings.size(), 1u);
}

TEST(DefinitionLoader, UnknownKeysAreNamedWithPlaceAndNearestName) {
  const std::string what = complaint(kHead + "identiy: {}\n" + kTail);
  EXPECT_THAT(what, AllOf(HasSubstr("x.yaml:3:1: "), HasSubstr("identiy"), HasSubstr("identity")));
  EXPECT_THAT(complaint(kHead + kTail + "create: { steps: [{ request: { methd: POST, path: /d } }] }\n"),
              AllOf(HasSubstr("x.yaml:7:"), HasSubstr("method")));
}

TEST(DefinitionLoader, EveryFaultIsToldInOneGo) {
  const std::string what = complaint(kHead + kTail + "tags:\n  a: notapointer\n  b: { from: /b, filters: [uper] }\n");
  EXPECT_THAT(what, AllOf(HasSubstr("x.yaml:8:6: "), HasSubstr("'notapointer' is not a JSON pointer"),
                          HasSubstr("x.yaml:9:"), HasSubstr("did you mean 'upper'?")));
}

TEST(DefinitionLoader, ReferencesToThingsThatDoNotExistAreRefused) {
  const auto with_create = [](const std::string& value) {
    return complaint(kHead + kTail + "tags: { EUI: /eui }\ncreate:\n  steps:\n    - request: { method: POST, path: \"" +
                     value + "\" }\n");
  };
  EXPECT_EQ(with_create("/d/{tags.EUI}/{deviceId}/{settings.base}"), "");
  EXPECT_THAT(with_create("/d/{tags.EIU}"),
              AllOf(HasSubstr("x.yaml:10:"), HasSubstr("no tag 'EIU'"), HasSubstr("'EUI'")));
  EXPECT_THAT(with_create("/d/{settings.bse}"), HasSubstr("no setting 'bse'; did you mean 'base'?"));
  EXPECT_THAT(with_create("/d/{find.ref}"), HasSubstr("no value 'find.ref'"));
  EXPECT_THAT(with_create("/d/{tags.EUI|uper}"), HasSubstr("unknown filter 'uper'"));
  EXPECT_THAT(with_create("/d/{tags.EUI"), HasSubstr("lacks a closing brace"));
  EXPECT_THAT(complaint(kHead + kTail + "delete: { steps: [{ request: { endpoint: man, path: /d } }] }\n"),
              HasSubstr("no endpoint 'man'; did you mean 'main'?"));
  EXPECT_THAT(complaint(kHead + kTail + "create: { steps: [{ repeat: verify, request: { path: /d } }] }\n"),
              HasSubstr("needs a 'get' operation"));
}

TEST(DefinitionLoader, WhatTheEngineCannotDoIsRefusedAndNotIgnored) {
  EXPECT_THAT(complaint(kHead + kTail + "auth: { kind: aws-sigv4, region: eu-west-1 }\n"),
              AllOf(HasSubstr("x.yaml:7:15: "), HasSubstr("not supported yet")));
  EXPECT_THAT(complaint(kHead + kTail + "update: { policy: full }\n"), HasSubstr("not supported yet"));
  EXPECT_THAT(complaint(kHead + kTail + "limits: { device: { requestsPerSecond: \"1\" } }\n"),
              HasSubstr("not supported yet"));
  EXPECT_THAT(complaint(kHead + kTail + "definitions: 2\n"), HasSubstr("definitions"));
}

TEST(DefinitionLoader, MissingPartsAndInlineSecretsAreRefused) {
  EXPECT_THAT(complaint("definition: 1\nname: x\n"), AllOf(HasSubstr("identity"), HasSubstr("'list' or 'file'")));
  EXPECT_THAT(complaint("definition: 2\nname: x\n" + kTail), HasSubstr("x.yaml:1:"));
  EXPECT_THAT(
      complaint(kHead + "endpoints: {}\nsettings: { k: { secret: true, default: hush-hush } }\nidentity: { deviceId: "
                        "/id }\nlist: { request: { url: https://h/d }, items: \"\" }\n"),
      AllOf(HasSubstr("a secret must not stand in a definition"), Not(HasSubstr("hush-hush"))));
  EXPECT_THAT(complaint("a: [1,"), HasSubstr("x.yaml:"));
}

TEST(DefinitionLoader, ADefinitionMayBeWrittenAsJson) {
  const auto parsed = parse_definition(
      R"({"definition":1,"name":"j","settings":{"key":{"env":"k","secret":true}},
          "auth":{"kind":"query","name":"apiKey","value":"{settings.key}"},
          "identity":{"deviceId":{"from":"/devEui","filters":["upper"]}},
          "list":{"request":{"url":"https://h/devices"},"items":"/result",
                  "paging":{"kind":"offset","size":100},"end":[{"total":"/totalCount"}]}})",
      "j.json");
  ASSERT_TRUE(parsed) << parsed.error().what;
  EXPECT_EQ(parsed->list->pages.paging.kind, PagingKind::kOffset);
  EXPECT_EQ(parsed->list->pages.end.total_pointer, "/totalCount");
}

}  // namespace
}  // namespace twinstep::providers
