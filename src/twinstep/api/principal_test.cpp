#include "twinstep/api/principal.h"

#include <gtest/gtest.h>

namespace twinstep::api {
namespace {

Principal facade_key() {
  Principal out;
  out.name = "tp";
  out.scopes = {Scope::kFacade};
  out.hubs = {"Contoso"};
  out.ids = {"lora-*", "gw?"};
  out.actions = {DeviceAction::kCreate};
  return out;
}

TEST(Principal, HoldsOnlyTheScopesThatItWasGiven) {
  const Principal key = facade_key();
  EXPECT_TRUE(key.has(Scope::kFacade));
  for (const Scope scope : {Scope::kEvents, Scope::kRead, Scope::kOperate, Scope::kAdmin}) EXPECT_FALSE(key.has(scope));
}

TEST(Principal, MayDoWhatTheKeySaysToTheDevicesThatItNamesInTheHubsThatItNames) {
  const Principal key = facade_key();
  EXPECT_TRUE(key.may(DeviceAction::kCreate, "contoso", "lora-1"));
  EXPECT_TRUE(key.may(DeviceAction::kCreate, "CONTOSO", "lora-"));
  EXPECT_TRUE(key.may(DeviceAction::kCreate, "contoso", "gw7"));
  EXPECT_FALSE(key.may(DeviceAction::kDelete, "contoso", "lora-1"));
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "fabrikam", "lora-1"));
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "contoso", "Lora-1"));
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "contoso", "xlora-1"));
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "contoso", "gw77"));
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "contoso", ""));
}

TEST(Principal, PatternsTakeSeveralStarsAndNothingMore) {
  Principal key = facade_key();
  key.ids = {"*-a-*z"};
  EXPECT_TRUE(key.may(DeviceAction::kCreate, "contoso", "x-a-a-bz"));
  EXPECT_TRUE(key.may(DeviceAction::kCreate, "contoso", "-a-z"));
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "contoso", "-a-"));
  key.ids = {"a**b[1]"};
  EXPECT_TRUE(key.may(DeviceAction::kCreate, "contoso", "a--b[1]"));
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "contoso", "a--b1"));
}

TEST(Principal, WithoutTheFacadeScopeNoDeviceIsWithinReach) {
  Principal key = facade_key();
  key.scopes = {Scope::kAdmin};
  EXPECT_FALSE(key.may(DeviceAction::kCreate, "contoso", "lora-1"));
}

TEST(Principal, WhoNeedsNoKeyMayDoEverything) {
  const auto gate = open_gate("this machine");
  for (const Scope scope : {Scope::kEvents, Scope::kFacade, Scope::kRead, Scope::kOperate, Scope::kAdmin}) {
    const auto who = gate->admit({}, scope);
    ASSERT_TRUE(who);
    EXPECT_TRUE((*who)->has(scope));
    EXPECT_TRUE((*who)->may(DeviceAction::kDelete, "any", "thing"));
  }
}

}  // namespace
}  // namespace twinstep::api
