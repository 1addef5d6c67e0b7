// What a subscription may be told.
#include "sims/event_subscription.h"

#include <gtest/gtest.h>

namespace twinstep::sims {
namespace {

Result<SubscriptionSettings> given(const std::string& more) {
  return subscription_settings(
      json::parse(R"({"name":"a","endpoint":"http://h/p?code=x")" + more + "}", "test")->as_object());
}

TEST(EventSubscription, DefaultsAreThoseOfTheService) {
  const auto s = given("");
  ASSERT_TRUE(s) << s.error().what;
  EXPECT_EQ(s->endpoint, "http://h/p?code=x");
  EXPECT_EQ(s->schema, EventSchema::kEventGrid);
  EXPECT_EQ(s->batch, 1);
  EXPECT_EQ(s->attempts, 30);
  EXPECT_EQ(s->time_to_live, std::chrono::hours{24});
  EXPECT_FALSE(s->dead_letter);
  EXPECT_FALSE(s->keep_trying);
  EXPECT_TRUE(s->wants(HubChange::kCreated) && s->wants(HubChange::kDeleted));
}

TEST(EventSubscription, EveryMemberIsRead) {
  const auto s = given(
      R"(,"schema":"cloudevents","maxEventsPerBatch":5000,"preferredBatchSizeInKilobytes":1024,
         "maxDeliveryAttempts":3,"eventTimeToLiveInMinutes":2,"deadLetter":true,"keepTrying":true,
         "eventTypes":["Microsoft.Devices.DeviceDeleted"],"headers":{"X-Secret":"s"},
         "duplicates":0.5,"reorder":1,"delayMs":700)");
  ASSERT_TRUE(s) << s.error().what;
  EXPECT_EQ(s->schema, EventSchema::kCloudEvents);
  EXPECT_EQ(s->batch, 5000);
  EXPECT_EQ(s->batch_bytes, 1u << 20);
  EXPECT_EQ(s->attempts, 3);
  EXPECT_EQ(s->time_to_live, std::chrono::minutes{2});
  EXPECT_TRUE(s->dead_letter && s->keep_trying);
  EXPECT_FALSE(s->wants(HubChange::kCreated));
  ASSERT_EQ(s->headers.size(), 1u);
  EXPECT_EQ(s->headers[0].name, "X-Secret");
  EXPECT_EQ(s->duplicates, 0.5);
  EXPECT_EQ(s->reorder, 1);
  EXPECT_EQ(s->delay, std::chrono::milliseconds{700});
}

TEST(EventSubscription, WhatTheServiceWouldRefuseIsRefusedByName) {
  for (const auto& [more, named] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"(,"name":"a_b")", "name"},
           {R"(,"endpoint":"ftp://h")", "endpoint"},
           {R"(,"schema":"xml")", "schema"},
           {R"(,"maxEventsPerBatch":5001)", "maxEventsPerBatch"},
           {R"(,"preferredBatchSizeInKilobytes":0)", "preferredBatchSizeInKilobytes"},
           {R"(,"maxDeliveryAttempts":31)", "maxDeliveryAttempts"},
           {R"(,"eventTimeToLiveInMinutes":1441)", "eventTimeToLiveInMinutes"},
           {R"(,"eventTypes":["Microsoft.Devices.DeviceConnected"])", "eventTypes"},
           {R"(,"headers":{"aeg-event-type":"x"})", "aeg-event-type"},
           {R"(,"duplicates":1.5)", "duplicates"},
           {R"(,"deadLetter":"yes")", "deadLetter"},
           {R"(,"schema":"cloudevents-binary","maxEventsPerBatch":2)", "maxEventsPerBatch"},
           {R"(,"colour":"red")", "colour"}}) {
    const auto s = given(more);
    ASSERT_FALSE(s) << more;
    EXPECT_NE(s.error().what.find(named), std::string::npos) << s.error().what;
  }
  EXPECT_FALSE(subscription_settings(json::object{{"name", "a"}}));
  EXPECT_FALSE(subscription_settings(json::object{{"endpoint", "http://h"}}));
}

TEST(EventSubscription, TheCommandLineTakesAnAddressWithAFewWordsBeforeItOrJson) {
  auto s = subscription_argument("http://h:1/p?a=1,b", 3);
  ASSERT_TRUE(s) << s.error().what;
  EXPECT_EQ(s->name, "subscription-3");
  EXPECT_EQ(s->endpoint, "http://h:1/p?a=1,b");
  EXPECT_TRUE(s->keep_trying);
  s = subscription_argument("schema=cloudevents,batch=100,name=mine,https://h/p", 1);
  ASSERT_TRUE(s) << s.error().what;
  EXPECT_EQ(s->schema, EventSchema::kCloudEvents);
  EXPECT_EQ(s->batch, 100);
  EXPECT_EQ(s->name, "mine");
  s = subscription_argument(R"({"endpoint":"http://h","keepTrying":false,"deadLetter":true})", 1);
  ASSERT_TRUE(s) << s.error().what;
  EXPECT_FALSE(s->keep_trying);
  EXPECT_TRUE(s->dead_letter);
  for (const char* bad : {"", "schema=cloudevents", "batch=x,http://h", "colour=red,http://h", "{", "nonsense"})
    EXPECT_FALSE(subscription_argument(bad, 1)) << bad;
}

}  // namespace
}  // namespace twinstep::sims
