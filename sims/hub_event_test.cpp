// The bytes of events, in every schema.
#include "sims/hub_event.h"

#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

class HubEventTest : public ::testing::Test {
 protected:
  HubEventTest() {
    event.id = "56afc886-767b-d359-d59e-0da7877166b2";
    event.device_id = "lora-01";
    event.time = *parse_iso("2026-08-20T22:05:31.041683Z");
    event.last_digit = 4;
    event.entity.twin_created_us = event.time.time_since_epoch().count();
  }
  std::string text(EventSchema schema) { return json::write(event_json(event, schema, source)); }
  static std::string value(const EventMessage& m, std::string_view name) {
    for (const auto& h : m.headers)
      if (h.name == name) return h.value;
    return "(none)";
  }
  EventSource source = event_source("examplehub.azure-devices.net");
  HubEvent event;
};

constexpr std::string_view kTwin =
    R"("status":"enabled","statusUpdateTime":"0001-01-01T00:00:00","connectionState":"Disconnected",)"
    R"("lastActivityTime":"0001-01-01T00:00:00","cloudToDeviceMessageCount":0,"authenticationType":"sas",)"
    R"("x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"version":2,)"
    R"("properties":{"desired":{"$metadata":{"$lastUpdated":"2026-08-20T22:05:31.041683Z"},"$version":1},)"
    R"("reported":{"$metadata":{"$lastUpdated":"2026-08-20T22:05:31.041683Z"},"$version":1}}})";
constexpr std::string_view kTopic =
    "/SUBSCRIPTIONS/11111111-2222-3333-4444-555555555555/RESOURCEGROUPS/TWINSTEP/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/"
    "EXAMPLEHUB";

TEST_F(HubEventTest, ACreatedDeviceInTheCurrentForm) {
  EXPECT_EQ(text(EventSchema::kEventGrid),
            fmt::format(R"({{"id":"56afc886-767b-d359-d59e-0da7877166b2","topic":"{}","subject":"devices/lora-01",)"
                        R"("eventType":"Microsoft.Devices.DeviceCreated","eventTime":"2026-08-20T22:05:31.0416834Z",)"
                        R"("data":{{"twin":{{"deviceId":"lora-01","etag":"AAAAAAAAAAE=","deviceEtag":"null",{},)"
                        R"("hubName":"examplehub","deviceId":"lora-01"}},"dataVersion":"1","metadataVersion":"1"}})",
                        kTopic, kTwin));
}

TEST_F(HubEventTest, ADeletedDeviceInTheOlderForm) {
  event.change = HubChange::kDeleted;
  EXPECT_EQ(text(EventSchema::kEventGrid2018),
            fmt::format(R"({{"id":"56afc886-767b-d359-d59e-0da7877166b2","topic":"{}","subject":"devices/lora-01",)"
                        R"("eventType":"Microsoft.Devices.DeviceDeleted","eventTime":"2026-08-20T22:05:31.0416834Z",)"
                        R"("data":{{"twin":{{"deviceId":"lora-01","etag":"AAAAAAAAAAE=",{},"hubName":"examplehub",)"
                        R"("deviceId":"lora-01","operationTimestamp":"2026-08-20T22:05:31.0416834Z",)"
                        R"("opType":"DeviceDeleted"}},"dataVersion":"","metadataVersion":"1"}})",
                        kTopic, kTwin));
}

TEST_F(HubEventTest, ACloudEventHasNoVersionsOfItsData) {
  EXPECT_EQ(
      text(EventSchema::kCloudEvents),
      fmt::format(R"({{"specversion":"1.0","id":"56afc886-767b-d359-d59e-0da7877166b2","source":"{}",)"
                  R"("subject":"devices/lora-01","type":"Microsoft.Devices.DeviceCreated",)"
                  R"("time":"2026-08-20T22:05:31.0416834Z","data":{{"twin":{{"deviceId":"lora-01",)"
                  R"("etag":"AAAAAAAAAAE=","deviceEtag":"null",{},"hubName":"examplehub","deviceId":"lora-01"}}}})",
                  kTopic, kTwin));
}

TEST_F(HubEventTest, TheEventGridSchemaIsAlwaysAnArrayAndTellsItsVersions) {
  const EventMessage now = notification({"{}"}, EventSchema::kEventGrid, false);
  EXPECT_EQ(now.body, "[{}]");
  EXPECT_EQ(value(now, "Content-Type"), "application/json; charset=utf-8");
  EXPECT_EQ(value(now, "aeg-event-type"), "Notification");
  EXPECT_EQ(value(now, "aeg-data-version"), "1");
  EXPECT_EQ(value(now, "aeg-metadata-version"), "1");
  const EventMessage old = notification({"{}", "{}"}, EventSchema::kEventGrid2018, true);
  EXPECT_EQ(old.body, "[{},{}]");
  EXPECT_EQ(value(old, "aeg-data-version"), "");
}

TEST_F(HubEventTest, CloudEventsAreSingleUnlessTheSubscriptionBatches) {
  const EventMessage one = notification({"{}"}, EventSchema::kCloudEvents, false);
  EXPECT_EQ(one.body, "{}");
  EXPECT_EQ(value(one, "Content-Type"), "application/cloudevents+json; charset=utf-8");
  const EventMessage batch = notification({"{}"}, EventSchema::kCloudEvents, true);
  EXPECT_EQ(batch.body, "[{}]");
  EXPECT_EQ(value(batch, "Content-Type"), "application/cloudevents-batch+json; charset=utf-8");
}

TEST_F(HubEventTest, BinaryModePutsTheAttributesIntoHeadersAndEscapesThem) {
  event.device_id = "a%b";
  const EventMessage m = notification({text(EventSchema::kCloudEventsBinary)}, EventSchema::kCloudEventsBinary, false);
  EXPECT_EQ(value(m, "Content-Type"), "application/json; charset=utf-8");
  EXPECT_EQ(value(m, "ce-specversion"), "1.0");
  EXPECT_EQ(value(m, "ce-id"), event.id);
  EXPECT_EQ(value(m, "ce-source"), kTopic);
  EXPECT_EQ(value(m, "ce-type"), "Microsoft.Devices.DeviceCreated");
  EXPECT_EQ(value(m, "ce-time"), "2026-08-20T22:05:31.0416834Z");
  EXPECT_EQ(value(m, "ce-subject"), "devices/a%25b");
  EXPECT_EQ(value(m, "ce-data"), "(none)");
  EXPECT_TRUE(m.body.starts_with(R"({"twin":{"deviceId":"a%b",)")) << m.body;
  EXPECT_TRUE(m.body.ends_with(R"("hubName":"examplehub","deviceId":"a%b"})")) << m.body;
}

TEST_F(HubEventTest, TheTwinOfACreatedDeviceIsTheDefaultOneWithTagsOnlyOnDemand) {
  Entity e;
  e.tags = R"({"site":"east"})";
  e.desired = R"({"interval":5})";
  event.entity = shown_in_event(HubChange::kCreated, e, false);
  EXPECT_EQ(text(EventSchema::kEventGrid).find("east"), std::string::npos);
  event.entity = shown_in_event(HubChange::kCreated, e, true);
  EXPECT_NE(text(EventSchema::kEventGrid).find(R"("tags":{"site":"east"})"), std::string::npos);
  EXPECT_EQ(text(EventSchema::kEventGrid).find("interval"), std::string::npos);
}

TEST_F(HubEventTest, TheTwinOfADeletedDeviceIsTheLastOneKnownWithoutKeysAndModules) {
  Entity e;
  e.tags = R"({"site":"east"})";
  e.desired = R"({"interval":5})";
  e.more().primary_key = "MDEyMzQ1Njc4OWFiY2RlZg==";
  e.more().modules["m"];
  event.entity = shown_in_event(HubChange::kDeleted, e, false);
  EXPECT_NE(text(EventSchema::kEventGrid).find(R"("tags":{"site":"east"})"), std::string::npos);
  EXPECT_NE(text(EventSchema::kEventGrid).find(R"("interval":5)"), std::string::npos);
  EXPECT_TRUE(event.entity.extras->modules.empty());
  EXPECT_EQ(text(EventSchema::kEventGrid).find("MDEy"), std::string::npos);
}

TEST_F(HubEventTest, AValidationIsAnEventOfTheAzureSubscription) {
  const EventMessage m = validation(source, event.time, "the-code", "http://here");
  EXPECT_EQ(value(m, "aeg-event-type"), "SubscriptionValidation");
  EXPECT_EQ(value(m, "aeg-data-version"), "2");
  const json::array all = json::parse(m.body, "body")->as_array();
  ASSERT_EQ(all.size(), 1u);
  json::object e = all[0].as_object();
  EXPECT_EQ(text_of(e, "id").size(), 36u);
  e.erase("id");
  EXPECT_EQ(
      json::write(e),
      R"({"metadataVersion":"1","topic":"/subscriptions/11111111-2222-3333-4444-555555555555","subject":"",)"
      R"("eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2026-08-20T22:05:31.0416830Z",)"
      R"("data":{"validationCode":"the-code","validationUrl":"http://here"},"dataVersion":"2"})");
}

TEST_F(HubEventTest, ADeletionNamesTheSubscription) {
  const EventMessage grid = deletion(source, event.time, "one", EventSchema::kEventGrid);
  EXPECT_EQ(value(grid, "aeg-event-type"), "SubscriptionDeletion");
  EXPECT_NE(grid.body.find("/eventSubscriptions/one\""), std::string::npos);
  const EventMessage cloud = deletion(source, event.time, "one", EventSchema::kCloudEvents);
  EXPECT_EQ(value(cloud, "aeg-event-type"), "SubscriptionDeletion");
  EXPECT_TRUE(cloud.body.starts_with(R"({"specversion":"1.0")")) << cloud.body;
}

}  // namespace
}  // namespace twinstep::sims
