// Files, webhooks, the table of events and its page.
#include "twinstep/telemetry/telemetry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/json/json.h"
#include "twinstep/telemetry/event_table.h"
#include "twinstep/telemetry/fake_web.h"
#include "twinstep/telemetry/ndjson_sink.h"
#include "twinstep/telemetry/webhook_sink.h"

namespace twinstep::telemetry {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string content(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST(LineFile, AppendsWholeLinesAndFollowsARenamedFile) {
  Scratch scratch;
  const std::string path = scratch.path + "/events.ndjson";
  LineFile file(path);
  EXPECT_TRUE(file.deliver({"1", "2"}, {}).again.empty());
  std::filesystem::rename(path, path + ".1");
  EXPECT_TRUE(file.deliver({"3"}, {}).again.empty());
  std::filesystem::remove(path);
  EXPECT_TRUE(file.deliver({"4"}, {}).again.empty());
  EXPECT_EQ(content(path + ".1"), "1\n2\n");
  EXPECT_EQ(content(path), "4\n");
}

TEST(LineFile, BeginsANewLineBehindOneThatWasCutOff) {
  Scratch scratch;
  const std::string path = scratch.path + "/events.ndjson";
  std::ofstream(path) << "{\"na";
  LineFile(path).deliver({"1"}, {});
  EXPECT_EQ(content(path), "{\"na\n1\n");
}

TEST(LineFile, ThatCannotBeWrittenKeepsTheLinesForLater) {
  const Outcome nowhere = LineFile("/nowhere/at/all").deliver({"1", "2"}, {});
  EXPECT_EQ(nowhere.again.size(), 2u);
  EXPECT_THAT(nowhere.why, HasSubstr("/nowhere/at/all"));
  const Outcome full = LineFile("/dev/full").deliver({"1"}, {});
  EXPECT_EQ(full.again.size(), 1u);
}

TEST(WebhookSink, PostsOneSignedArray) {
  FakeClock clock(SystemTime{std::chrono::seconds{1'700'000'000}});
  FakeWeb web;
  Webhook hook(Secret("https://example.org/hook"), Secret("s3cret"), web, clock);
  EXPECT_TRUE(hook.deliver({"{\"a\":1}", "{\"b\":2}"}, {}).again.empty());
  const std::string body = R"([{"a":1},{"b":2}])";
  EXPECT_EQ(web.requests.at(0).body, body);
  EXPECT_EQ(web.header(0, "Content-Type"), "application/json");
  EXPECT_EQ(web.header(0, "X-Twinstep-Signature"),
            "t=1700000000,v1=" + hex_encode(hmac_sha256("s3cret", "1700000000." + body)));
  // The example of docs/events.md, computed with another program.
  EXPECT_EQ(webhook_signature(Secret("secret"), clock.system_now(), "[]"),
            "t=1700000000,v1=74f76d8933679a54d6be8c7560a5233b124658241ca5a3b0f09af80d3ea60d78");
}

TEST(WebhookSink, TriesAgainWhatMayPassAndNeverNamesTheAddress) {
  FakeClock clock;
  FakeWeb web;
  Webhook hook(Secret("https://example.org/T0/secret-path"), Secret(), web, clock);
  for (int status : {408, 425, 429, 500, 503}) {
    web.answer(status, "", {{"Retry-After", "9"}});
    const Outcome outcome = hook.deliver({"1"}, {});
    EXPECT_EQ(outcome.again.size(), 1u) << status;
    EXPECT_EQ(outcome.wait, Millis{9000});
  }
  for (ErrorKind kind : {ErrorKind::kTimeout, ErrorKind::kUnavailable, ErrorKind::kCancelled}) {
    web.breaks(kind);
    const Outcome outcome = hook.deliver({"1"}, {});
    EXPECT_EQ(outcome.again.size(), 1u);
    EXPECT_THAT(outcome.why, testing::Not(HasSubstr("secret-path")));
  }
  for (int status : {301, 400, 401, 404, 410}) {
    web.answer(status);
    EXPECT_EQ(hook.deliver({"1"}, {}).refused, 1u) << status;
  }
  EXPECT_EQ(web.header(0, "X-Twinstep-Signature"), "");
}

TEST(TelemetrySinks, TakeOnlyWhatTheTableNames) {
  Scratch scratch;
  FakeClock clock;
  Rng rng{1};
  TelemetryOptions options;
  options.file = scratch.path + "/events.ndjson";
  auto telemetry = Telemetry::open(options, "", "host", clock, rng).value();
  telemetry->start();
  telemetry->emit({"DeviceTwinCheckFail",
                   clock.system_now(),
                   {{"deviceId", "d"}, {"applicationKey", "000102030405060708090A0B0C0D0E0F"}},
                   {{"surprise", 1}},
                   "op"});
  telemetry->emit({"NoSuchEvent", clock.system_now(), {{"deviceId", "d"}}});
  telemetry->stop();
  EXPECT_EQ(content(options.file),
            R"({"time":"2023-11-14T22:13:20.000Z","name":"DeviceTwinCheckFail","operation":"op",)"
            R"("properties":{"deviceId":"d"}})"
            "\n");
  EXPECT_EQ(telemetry->counts().at(0).second.delivered, 1u);
}

TEST(TelemetrySinks, RefuseAddressesThatCannotBeUsed) {
  FakeClock clock;
  Rng rng{1};
  for (const char* url : {"", "http://example.org/", "https://", "https://a b/", "gopher://x/"}) {
    TelemetryOptions options;
    options.webhooks.push_back({Secret(url), Secret()});
    EXPECT_FALSE(Telemetry::open(options, "", "host", clock, rng)) << url;
  }
  TelemetryOptions options;
  options.application_insights = Secret("InstrumentationKey=x");
  EXPECT_FALSE(Telemetry::open(options, "", "host", clock, rng));
}

TEST(EventTable, HasTheSamplesTwelveNamesAndNoSecretProperty) {
  for (const char* name :
       {"ExternalDeviceCreated", "ExternalDeviceCreationError", "ExternalDeviceCreationFailed", "ExternalDeviceDeleted",
        "ExternalDeviceDeletedError", "ExternalDeviceDeleteFailed", "DeviceTwinCheckFail", "DeviceTwinCheckFailed",
        "IoTHubDeviceCreated", "IoTHubDeviceDeleted"}) {
    ASSERT_TRUE(find_event(name)) << name;
    EXPECT_THAT(find_event(name)->properties, testing::IsSupersetOf({"deviceId", "iothubname"})) << name;
  }
  for (const char* name : {"IoTHubJobCheckNotComplete", "IoTHubJobFailed"})
    EXPECT_THAT(find_event(name)->properties, testing::Contains("iotHubJobId")) << name;
  const std::map<std::string_view, std::vector<std::string_view>> of_the_sample{
      {"ExternalDeviceCreationError", {"error"}},
      {"ExternalDeviceDeletedError", {"errorMessage"}},
      {"DeviceTwinCheckFail", {"missingProperty"}},
      {"IoTHubJobCheckNotComplete", {"jobId", "jobStatus"}},
      {"IoTHubDeviceDeleted", {"softDelete"}}};
  for (const auto& [name, properties] : of_the_sample)
    EXPECT_THAT(find_event(name)->properties, testing::IsSupersetOf(properties)) << name;
  for (const EventKind& kind : event_table())
    for (std::string_view property : kind.properties)
      EXPECT_THAT(std::string(property), testing::Not(testing::ContainsRegex("[Kk]ey|[Ss]ecret|[Tt]oken|tags")));
}

/// The rows of the page's tables of events.
std::map<std::string, std::pair<std::string, std::string>> documented() {
  std::ifstream page(TWINSTEP_SOURCE_DIR "/docs/events.md");
  EXPECT_TRUE(page.is_open());
  std::map<std::string, std::pair<std::string, std::string>> out;
  bool of_events = false;
  for (std::string line; std::getline(page, line);) {
    of_events = line.starts_with("| Event | When |") || (of_events && !line.empty());
    if (!of_events || !line.starts_with("| `")) continue;
    std::vector<std::string> cells;
    std::istringstream row(line.substr(2));
    for (std::string cell; std::getline(row, cell, '|');) cells.push_back(cell.substr(0, cell.size() - 1));
    if (cells.size() < 3) continue;
    for (std::string& cell : cells)
      if (cell.starts_with(' ')) cell.erase(0, 1);
    out[cells[0].substr(1, cells[0].size() - 2)] = {cells[1], cells[2]};
  }
  return out;
}

TEST(EventsPage, IsTheTableOfTheProgram) {
  std::map<std::string, std::pair<std::string, std::string>> expected;
  for (const EventKind& kind : event_table()) {
    std::string properties;
    for (const auto& list : {kind.properties, kind.measurements})
      for (std::string_view one : list) properties += fmt::format("{}`{}`", properties.empty() ? "" : ", ", one);
    expected[std::string(kind.name)] = {std::string(kind.when), properties};
  }
  EXPECT_EQ(documented(), expected);
}

}  // namespace
}  // namespace twinstep::telemetry
