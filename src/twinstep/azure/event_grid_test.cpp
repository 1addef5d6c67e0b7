#include "twinstep/azure/event_grid.h"

#include <gtest/gtest.h>

namespace twinstep::azure {
namespace {

http::ServerRequest post(std::string body, std::vector<http::Header> headers = {}) {
  http::ServerRequest out;
  out.method = "POST";
  out.headers = std::move(headers);
  out.body = std::move(body);
  return out;
}

const std::string kCurrent =
    R"({"id":"e1","topic":"/SUBSCRIPTIONS/1/IOTHUBS/EXAMPLEHUB","subject":"devices/lora-01","eventType":)"
    R"("Microsoft.Devices.DeviceCreated","eventTime":"2026-08-20T22:05:31Z","data":{"twin":{"etag":"AAE=","version":2,)"
    R"("tags":{"b":1.0,"a":"x"}},"hubName":"examplehub","deviceId":"lora-01"},"dataVersion":"1"})";

TEST(EventGrid, ReadsTheCurrentSchema) {
  const auto read = read_delivery(post("[" + kCurrent + "]"));
  ASSERT_TRUE(read) << read.error().what;
  ASSERT_EQ(read->events.size(), 1u);
  const RegistryEvent& event = read->events[0];
  EXPECT_EQ(event.kind, RegistryEvent::Kind::kCreated);
  EXPECT_EQ(event.id, "e1");
  EXPECT_EQ(event.hub, "examplehub");
  EXPECT_EQ(event.device.value, "lora-01");
  EXPECT_EQ(event.tags, R"({"a":"x","b":1})");
  EXPECT_EQ(event.version, 2u);
  EXPECT_TRUE(event.time);
  EXPECT_EQ(event.hash.size(), 32u);
}

TEST(EventGrid, CloudEventsOfTheSameContentHaveTheSameHash) {
  const auto plain = read_delivery(post("[" + kCurrent + "]"));
  const std::string data = R"({"deviceId":"lora-01","twin":{"tags":{"a":"x","b":1},"version":2,"etag":"AAE="}})";
  const auto structured = read_delivery(
      post(R"({"specVersion":"1.0","id":"e1","source":"/S/IOTHUBS/EXAMPLEHUB","subject":"devices/lora-01","type":)"
           R"("Microsoft.Devices.DeviceCreated","time":"2026-08-20T22:05:31Z","data":)" +
           data + "}"));
  const auto binary = read_delivery(post(data, {{"ce-specversion", "1.0"},
                                                {"ce-id", "e1"},
                                                {"ce-type", "Microsoft.Devices.DeviceCreated"},
                                                {"ce-source", "/S/IOTHUBS/EXAMPLEHUB"},
                                                {"ce-time", "2026-08-20T22:05:31Z"}}));
  ASSERT_TRUE(structured && binary);
  ASSERT_TRUE(structured->events.size() == 1 && binary->events.size() == 1);
  EXPECT_EQ(structured->events[0].hash, plain->events[0].hash);
  EXPECT_EQ(binary->events[0].hash, plain->events[0].hash);
}

TEST(EventGrid, OperationTypeCountsOnlyWithoutAnEventType) {
  const auto read = read_delivery(post(
      R"([{"id":"1","subject":"devices/a%20b","topic":"/x/HUB/","data":{"opType":"DeviceDeleted"}},)"
      R"({"id":"2","eventType":"Microsoft.Devices.DeviceConnected","data":{"opType":"DeviceDeleted","deviceId":1}}])"));
  ASSERT_TRUE(read);
  ASSERT_EQ(read->events.size(), 2u);
  EXPECT_EQ(read->events[0].kind, RegistryEvent::Kind::kDeleted);
  EXPECT_EQ(read->events[0].hub, "HUB");
  EXPECT_EQ(read->events[0].device.value, "a%20b");
  EXPECT_EQ(read->events[1].kind, RegistryEvent::Kind::kOther);
}

TEST(EventGrid, ABadEventDoesNotHoldUpTheOthers) {
  const std::string bad = R"({"id":"b","eventType":"Microsoft.Devices.DeviceCreated","topic":"/h","data":{)";
  const auto read = read_delivery(post("[7," + bad + R"("deviceId":"a b"}},)" + bad + R"("deviceId":5}},)" + bad +
                                       R"("deviceId":"x","twin":{"tags":[]}}},)" + bad +
                                       R"("deviceId":"x","twin":{"tags":{"a":nope}}}},)" + bad +
                                       R"("deviceId":"x\u0000"}},)" + kCurrent + "]"));
  ASSERT_TRUE(read) << read.error().what;
  ASSERT_EQ(read->events.size(), 1u);
  ASSERT_EQ(read->bad.size(), 6u);
  EXPECT_EQ(read->bad[0].reason, "the event is not an object");
  EXPECT_EQ(read->bad[1].reason, "IoT Hub allows no device id 'a b'");
  EXPECT_EQ(read->bad[2].reason, "data.deviceId is not a text");
  EXPECT_EQ(read->bad[3].reason, "data.twin.tags is not an object");
  EXPECT_TRUE(read->bad[4].reason.starts_with("data.twin.tags: not valid JSON"));
  EXPECT_EQ(read->bad[5].device, "x?");
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(read->bad[i].index, i);
  EXPECT_EQ(read->bad[1].id, "b");
}

TEST(EventGrid, RefusesWhatIsNoListOfEvents) {
  for (const char* body : {"", "5", "[", "[{}", "[{}]x", "{\"id\":", "[\"\xff\"]", "null"}) {
    const auto read = read_delivery(post(body));
    ASSERT_FALSE(read) << body;
    EXPECT_EQ(read.error().code, "events.malformed") << body;
  }
  EXPECT_EQ(read_delivery(post(std::string(kMaxDeliveryBytes + 1, ' '))).error().code, "events.too-large");
  std::string many = "[{}";
  for (size_t i = 0; i < kMaxDeliveryEvents; ++i) many += ",{}";
  EXPECT_EQ(read_delivery(post(many + "]")).error().code, "events.too-many");
  EXPECT_EQ(read_delivery(post("\xEF\xBB\xBF []")).value().events.size(), 0u);
}

TEST(EventGrid, ReadsHandshakes) {
  const auto read =
      read_delivery(post(R"([{"id":"v","subject":"","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent",)"
                         R"("data":{"validationCode":"code","validationUrl":"https://x"}}])",
                         {{"aeg-event-type", "SubscriptionValidation"}}));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->purpose, EventDelivery::Purpose::kValidate);
  EXPECT_EQ(read->validation_code, "code");
  EXPECT_EQ(read_delivery(post("[]", {{"aeg-event-type", "SubscriptionValidation"}})).error().code, "events.malformed");
  EXPECT_EQ(read_delivery(post("", {{"Aeg-Event-Type", "SubscriptionDeletion"}}))->purpose,
            EventDelivery::Purpose::kUnsubscribe);

  const auto among =
      read_delivery(post("[" + kCurrent +
                         R"(,{"id":"v","subject":"","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent",)"
                         R"("data":{"validationCode":"code"}}])"));
  ASSERT_TRUE(among);
  EXPECT_EQ(among->purpose, EventDelivery::Purpose::kEvents) << "no event is lost by a validation beside it";
  EXPECT_EQ(among->events.size(), 1u);

  const auto origin = [](const char* value) {
    const auto answer = answer_delivery_options(post("", {{"WebHook-Request-Origin", value}}));
    for (const auto& header : answer.headers)
      if (header.name == "WebHook-Allowed-Origin") return header.value;
    return std::string("none");
  };
  EXPECT_EQ(origin("eventgrid.azure.net"), "eventgrid.azure.net");
  EXPECT_EQ(origin("a b"), "none");
}

}  // namespace
}  // namespace twinstep::azure
