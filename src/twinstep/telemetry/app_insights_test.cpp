// Application Insights by azure.md 4: connection strings, envelopes, and what each answer means.
#include "twinstep/telemetry/app_insights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"
#include "twinstep/json/json.h"
#include "twinstep/telemetry/event_text.h"
#include "twinstep/telemetry/fake_web.h"
#include "twinstep/telemetry/gzip.h"
#include "twinstep/version.h"

namespace twinstep::telemetry {
namespace {

using Lines = std::vector<std::string>;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kKey = "00000000-1111-2222-3333-444444444444";
std::string with_key(std::string_view rest) { return fmt::format("InstrumentationKey={};{}", kKey, rest); }

TEST(IngestionAddress, ComesFromTheConnectionStringByItsRules) {
  const auto endpoint = [](const std::string& text) { return parse_ingestion(text).value().endpoint; };
  EXPECT_EQ(
      endpoint(with_key("IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/;LiveEndpoint=x")),
      "https://westeurope-5.in.applicationinsights.azure.com");
  EXPECT_EQ(endpoint(with_key("EndpointSuffix=applicationinsights.azure.cn;Location=chinaeast2")),
            "https://chinaeast2.dc.applicationinsights.azure.cn");
  EXPECT_EQ(endpoint(with_key("endpointsuffix=applicationinsights.us")), "https://dc.applicationinsights.us");
  EXPECT_EQ(endpoint(with_key("IngestionEndpoint=https://a.example;EndpointSuffix=b.example")), "https://a.example");
  EXPECT_EQ(endpoint(with_key("")), "https://dc.services.visualstudio.com");
  EXPECT_EQ(endpoint(kKey), "https://dc.services.visualstudio.com") << "APPINSIGHTS_INSTRUMENTATIONKEY";
  EXPECT_EQ(parse_ingestion(fmt::format(" INSTRUMENTATIONKEY = {} ; ", kKey)).value().key, kKey);
}

TEST(IngestionAddress, IsRefusedWithTheReasonAndWithoutTheKey) {
  for (const std::string& text :
       {std::string(), std::string("hello"), std::string("InstrumentationKey=1234"),
        with_key("instrumentationkey=00000000-1111-2222-3333-444444444444"), with_key("Location=a;location=b"),
        with_key("IngestionEndpoint=http://example.org"), with_key("IngestionEndpoint=https://user:pw@example.org"),
        with_key("IngestionEndpoint=ftp://example.org"), with_key("=x"), with_key(std::string(5000, 'x'))}) {
    const auto parsed = parse_ingestion(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, "telemetry.connection-string");
    EXPECT_THAT(parsed.error().what, testing::Not(HasSubstr(kKey)));
    EXPECT_THAT(parsed.error().what, testing::Not(HasSubstr("user:pw")));
  }
}

class AppInsightsTest : public testing::Test {
 protected:
  json::value envelope(const obs::Event& event) { return json::parse(insights.line(event), "it").value(); }
  std::string sent(size_t request) { return gunzip(web.requests.at(request).body, 1 << 20).value(); }
  Outcome deliver(const Lines& lines) { return insights.deliver(lines, {}); }

  FakeClock clock;
  FakeWeb web;
  AppInsights insights{
      parse_ingestion(with_key("IngestionEndpoint=https://a.in.applicationinsights.azure.com/")).value(), "host-1", web,
      clock};
};

TEST_F(AppInsightsTest, AnEnvelopeIsAsTheSdksMakeIt) {
  EXPECT_EQ(envelope({"ExternalDeviceCreated",
                      SystemTime{std::chrono::microseconds{1'787'263'531'041'000}},
                      {{"deviceId", "lora-01"}, {"iothubname", "contoso"}},
                      {{"durationMs", 12.5}},
                      "0123456789abcdef0123456789abcdef"}),
            json::parse(
                fmt::format(R"({{"ver":1,"name":"Microsoft.ApplicationInsights.00000000111122223333444444444444.Event",
      "time":"2026-08-20T22:05:31.041Z","iKey":"{}","sampleRate":100,
      "tags":{{"ai.cloud.role":"twinstep","ai.cloud.roleInstance":"host-1","ai.internal.sdkVersion":"cpp:{}",
        "ai.operation.id":"0123456789abcdef0123456789abcdef"}},
      "data":{{"baseType":"EventData","baseData":{{"ver":2,"name":"ExternalDeviceCreated",
        "properties":{{"deviceId":"lora-01","iothubname":"contoso"}},"measurements":{{"durationMs":12.5}}}}}}}})",
                            kKey, kVersion),
                "it")
                .value());
}

TEST_F(AppInsightsTest, LongNamesAndValuesAreCutLongKeysLeftOutAndBrokenTextMended) {
  const auto made = envelope({std::string(600, 'n'),
                              {},
                              {{std::string(151, 'k'), "gone"},
                               {std::string(150, 'k'), std::string(9000, 'v')},
                               {"emoji", std::string(8191, 'v') + "\xF0\x9F\x98\x80"},
                               {"broken", "a\xFFz"}}});
  const json::object& data = json::at(made, "/data/baseData")->as_object();
  EXPECT_EQ(json::string_or(data, "name").size(), 512u);
  const json::object& properties = *json::object_at(data, "properties");
  EXPECT_EQ(properties.size(), 3u);
  EXPECT_EQ(json::string_or(properties, std::string(150, 'k')).size(), 8192u);
  EXPECT_EQ(json::string_or(properties, "emoji").size(), 8191u) << "half an emoji is none";
  EXPECT_EQ(json::string_or(properties, "broken"), "a\xEF\xBF\xBDz");
}

TEST_F(AppInsightsTest, ABatchIsOneGzippedStreamOfLines) {
  EXPECT_TRUE(deliver({"{\"a\":1}", "{\"b\":2}"}).again.empty());
  ASSERT_EQ(web.requests.size(), 1u);
  EXPECT_EQ(web.requests[0].url, "https://a.in.applicationinsights.azure.com/v2/track");
  EXPECT_EQ(web.header(0, "Content-Type"), "application/x-json-stream");
  EXPECT_EQ(web.header(0, "Content-Encoding"), "gzip");
  EXPECT_EQ(sent(0), "{\"a\":1}\n{\"b\":2}");
}

TEST_F(AppInsightsTest, OfAPartialSuccessOnlyWhatMaySucceedIsSentAgain) {
  web.answer(206, R"({"itemsReceived":5,"itemsAccepted":1,"errors":[{"index":1,"statusCode":429,"message":"slow"},
      {"index":3,"statusCode":400,"message":"bad"},{"index":4,"statusCode":500,"message":"oops"},
      {"index":2,"statusCode":502,"message":"not of the list"},{"index":9,"statusCode":500},{"index":-1,"statusCode":500},7]})",
             {{"Retry-After", "7"}});
  const Outcome outcome = deliver({"0", "1", "2", "3", "4"});
  EXPECT_THAT(outcome.again, ElementsAre("1", "4"));
  EXPECT_EQ(outcome.refused, 2u);
  EXPECT_EQ(outcome.wait, Millis{7000});
}

TEST_F(AppInsightsTest, APartialSuccessThatCannotBeReadIsNotSentTwice) {
  web.answer(206, "<html>");
  EXPECT_TRUE(deliver({"0"}).again.empty());
}

TEST_F(AppInsightsTest, WhatMayPassIsSentAgainAsAWholeAndWhatMayNotIsRefused) {
  for (int status : {408, 429, 439, 500, 502, 503, 504}) {
    web.answer(status, "", {{"Retry-After", "3"}});
    const Outcome outcome = deliver({"0", "1"});
    EXPECT_EQ(outcome.again.size(), 2u) << status;
    EXPECT_EQ(outcome.wait, Millis{3000}) << status;
  }
  for (int status : {400, 401, 402, 403, 404, 413, 302}) {
    std::string bare(kKey);
    std::erase(bare, '-');
    web.answer(status, fmt::format("Invalid instrumentation key {} in {}.Event", kKey, bare));
    const Outcome outcome = deliver({"0", "1"});
    EXPECT_TRUE(outcome.again.empty()) << status;
    EXPECT_EQ(outcome.refused, 2u) << status;
    EXPECT_THAT(outcome.why, HasSubstr("Invalid instrumentation key *** in ***.Event"));
  }
  web.breaks(ErrorKind::kTimeout);
  EXPECT_EQ(deliver({"0"}).again.size(), 1u);
}

TEST_F(AppInsightsTest, ARedirectIsFollowedAndRememberedUntilThatPlaceFails) {
  web.answer(308, "", {{"Location", "https://b.in.applicationinsights.azure.com/v2/track"}});
  EXPECT_TRUE(deliver({"0"}).again.empty());
  EXPECT_EQ(web.requests[1].url, "https://b.in.applicationinsights.azure.com/v2/track");
  EXPECT_EQ(sent(1), "0");
  deliver({"1"});
  EXPECT_EQ(web.requests[2].url, "https://b.in.applicationinsights.azure.com/v2/track");
  web.answer(503);
  deliver({"2"});
  deliver({"2"});
  EXPECT_EQ(web.requests[4].url, "https://a.in.applicationinsights.azure.com/v2/track");
}

TEST_F(AppInsightsTest, RedirectsEndAfterNineAndTheKeyGoesNowhereElse) {
  for (int i = 0; i < 20; ++i)
    web.answer(307, "", {{"Location", "https://b.in.applicationinsights.azure.com/v2/track"}});
  EXPECT_EQ(deliver({"0"}).again.size(), 1u) << "it is kept: what redirects for ever may pass";
  EXPECT_EQ(web.requests.size(), 10u);
  EXPECT_TRUE(
      may_redirect("https://dc.services.visualstudio.com", "https://x.in.applicationinsights.azure.com/v2/track"));
  EXPECT_TRUE(may_redirect("https://telemetry.example.org", "https://telemetry.example.org:8443/v2/track"));
  EXPECT_FALSE(may_redirect("https://telemetry.co.example", "https://evil.co.example/v2/track"));
  EXPECT_TRUE(may_redirect("http://127.0.0.1:80", "http://127.0.0.1:81/v2/track"));
  for (const char* to : {"http://b.in.applicationinsights.azure.com/v2/track", "https://evil.example/v2/track", "",
                         "https://evilapplicationinsights.azure.com.example", "//evil.example/",
                         "https://in.applicationinsights.azure.com@evil.example/", "file:///etc/passwd"})
    EXPECT_FALSE(may_redirect("https://a.in.applicationinsights.azure.com", to)) << to;
  EXPECT_FALSE(may_redirect("https://example.org", "https://evil.org/"));
  EXPECT_FALSE(may_redirect("https://127.0.0.1:1", "http://127.0.0.1:2/"));
}

}  // namespace
}  // namespace twinstep::telemetry
