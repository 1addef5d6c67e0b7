#include "twinstep/api/device_sides.h"

#include <gtest/gtest.h>

#include "twinstep/workflows/fake_hub.h"
#include "twinstep/workflows/fake_network.h"

namespace twinstep::api {
namespace {

using What = ExternalSide::What;

TEST(LookAtDevice, ADeviceIsLookedUpOutsideByItsTags) {
  workflows::FakeHub hub;
  workflows::FakeNetwork network;
  hub.devices["dev-1"].tags = {{"EUI", "0001"}, {"key", "s3cret"}, {"ref", "7"}, {"twinstep", {{"link", "field"}}}};
  network.devices["0001"] = {"DEV-1", {}};
  const DeviceSides sides = look_at_device(hub, network, DeviceId("dev-1"), {}, {});
  ASSERT_TRUE(sides.hub && sides.external);
  EXPECT_TRUE(sides.hub->exists);
  EXPECT_EQ(sides.hub->owner, "field");
  EXPECT_TRUE(sides.hub->has_ref);
  EXPECT_EQ(json::string_or(sides.hub->tags, "key"), "***") << "secrets that only a create needs are hidden too";
  EXPECT_EQ(json::string_or(sides.hub->tags, "EUI"), "0001");
  EXPECT_EQ(sides.external->what, What::kFound);
  EXPECT_EQ(sides.external->id, "DEV-1");
  network.devices.clear();
  EXPECT_EQ(look_at_device(hub, network, DeviceId("dev-1"), {}, {}).external->what, What::kAbsent);
}

TEST(LookAtDevice, WhatTheHubHasNoMoreIsLookedUpByWhatIsRemembered) {
  workflows::FakeHub hub;
  workflows::FakeNetwork network;
  network.devices["0001"] = {"dev-1", {}};
  const DeviceSides known = look_at_device(hub, network, DeviceId("dev-1"), {{"EUI", "0001"}}, {});
  EXPECT_FALSE(known.hub->exists);
  EXPECT_EQ(known.external->what, What::kFound);
  EXPECT_EQ(look_at_device(hub, network, DeviceId("dev-1"), {}, {}).external->what, What::kCannotLookUp);
}

TEST(DeviceSides, SecretTagsAreNeverShown) {
  const std::vector<providers::TagSpec> specs{
      {{"applicationKey"}, true, true}, {{"lorawan", "key"}, true, false}, {{"EUI"}, false, true}};
  const json::object tags{
      {"applicationKey", "s3cret"}, {"lorawan", {{"key", {{"deep", "s3cret"}}}, {"class", "A"}}}, {"EUI", "00"}};
  const auto shown = json::write(without_secrets(tags, specs));
  EXPECT_EQ(shown, R"({"applicationKey":"***","lorawan":{"key":"***","class":"A"},"EUI":"00"})");
  EXPECT_EQ(json::write(without_secrets({{"lorawan", "text"}}, specs)), R"({"lorawan":"text"})");
}

}  // namespace
}  // namespace twinstep::api
