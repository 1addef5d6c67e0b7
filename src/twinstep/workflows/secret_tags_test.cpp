#include "twinstep/workflows/secret_tags.h"

#include <gtest/gtest.h>

namespace twinstep::workflows {
namespace {

TEST(ShownTags, HideWhatTheDefinitionCallsSecretAndWhatEverybodyKnowsAtAnyDepth) {
  const json::object tags{{"EUI", "1"},
                          {"pin", "SECRET"},
                          {"lora", {{"pin", "seen"}, {"code", "SECRET"}, {"AppKey", "SECRET"}}},
                          {"list", {{{"nwk-s-key", "SECRET"}}, {{"deep", {{"password", {"SECRET"}}}}}}},
                          {"connectionString", 5},
                          {"key", "seen"}};
  const json::object shown = shown_tags(tags, {{{"pin"}, true, false},
                                               {{"lora", "code"}, true, false},
                                               {{"EUI"}, false, true},
                                               {{"EUI", "none"}, true, false}});
  const std::string text = json::write(shown);
  EXPECT_EQ(text.find("SECRET"), std::string::npos) << text;
  EXPECT_EQ(shown.at("EUI"), "1");
  EXPECT_EQ(shown.at("key"), "seen") << "the name alone says nothing";
  EXPECT_EQ(shown.at("lora").at("pin"), "seen");
  EXPECT_EQ(shown.at("connectionString"), "***");
}

TEST(ShownTags, KnowEveryKeyOfLoRaWanInAnySpelling) {
  for (const char* name : {"appKey", "APPKEY", "app_key", "app-key", "applicationKey", "nwkKey", "NwkSKey", "appSKey",
                           "FNwkSIntKey", "SNwkSIntKey", "NwkSEncKey", "genAppKey", "primaryKey", "clientSecret"})
    EXPECT_TRUE(is_secret_name(name)) << name;
  for (const char* name : {"key", "appEui", "keyboard", "secretary", ""}) EXPECT_FALSE(is_secret_name(name)) << name;
}

}  // namespace
}  // namespace twinstep::workflows
