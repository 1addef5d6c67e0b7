#include "twinstep/api/event_intake.h"

#include <gtest/gtest.h>

#include <set>

#include "twinstep/base/fake_clock.h"
#include "twinstep/workflows/fake_network.h"

namespace twinstep::api {
namespace {

using store::State;

std::string event(const std::string& id, const std::string& what, const std::string& device,
                  const std::string& twin = R"({"tags":{"EUI":"AAAA","key":"s3cret"}})",
                  const std::string& hub = "contoso") {
  return fmt::format(
      R"({{"id":"{}","topic":"/S/IOTHUBS/{}","subject":"devices/{}","eventType":"Microsoft.Devices.{}","eventTime":)"
      R"("2026-08-20T22:05:31Z","data":{{"twin":{},"hubName":"{}","deviceId":"{}"}},"dataVersion":"1"}})",
      id, hub, device, what, twin, hub, device);
}

class Intake : public testing::Test {
 protected:
  Intake() {
    for (const auto& [name, host] : {std::pair{"Main", "contoso.azure-devices.net"},
                                     {"other", "fabrikam.azure-devices.net"},
                                     {"sim", "127.0.0.1:4711"},
                                     {"examplehub", "127.0.0.1:4711"}}) {
      config.hubs.emplace_back().name = name;
      config.hubs.back().host = host;
    }
    config.links.resize(3);
    config.links[0].name = "one";
    config.links[0].hub = "Main";
    config.links[0].external = "tp";
    config.links[0].events = true;
    config.links[1].name = "scheduled";
    config.links[1].hub = "other";
    config.links[1].external = "tp";
    config.links[2].name = "rehearsal";
    config.links[2].hub = "sim";
    config.links[2].external = "tp";
    config.links[2].events = true;
    database = store::open_database("sqlite::memory:", clock).value();
    workflows.emplace(*database);
    std::vector<std::pair<const config::Link*, const providers::ExternalRegistry*>> links;
    for (const auto& link : config.links) links.emplace_back(&link, &network);
    intake.emplace(config, std::move(links), *workflows, hints, clock, rng);
    intake->add_routes(router);
  }

  http::ServerResponse post(std::string body, std::vector<http::Header> headers = {}) {
    http::ServerRequest request;
    request.method = "POST";
    request.path = "/api/ExternalRegistrySynchronizer_EventGridListener";
    request.headers = std::move(headers);
    request.body = std::move(body);
    return router.handle(request, *gate);
  }
  static int64_t told(const http::ServerResponse& answer, std::string_view member) {
    return json::int_or(json::parse(answer.body, "answer").value().as_object(), member, -1);
  }
  std::vector<store::Workflow> tasks(std::optional<State> state = {}) {
    store::WorkflowFilter filter;
    filter.state = state;
    return workflows->list(filter, {}).value();
  }

  FakeClock clock;
  Rng rng{5};
  config::Config config;
  workflows::FakeNetwork network;
  workflows::HintMemory hints;
  std::unique_ptr<store::Database> database;
  std::optional<store::WorkflowStore> workflows;
  std::optional<EventIntake> intake;
  const std::unique_ptr<Gate> gate = open_gate("test");
  Router router;
};

TEST_F(Intake, AnEventBecomesATaskBeforeTheAnswer) {
  const auto answer = post("[" + event("e1", "DeviceCreated", "dev-1") + "]");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(told(answer, "started"), 1);
  ASSERT_EQ(tasks().size(), 1u);
  EXPECT_EQ(tasks()[0].key, "device/one/dev-1");
  EXPECT_EQ(tasks()[0].lane, "external/tp");
  EXPECT_EQ(tasks()[0].input.find("s3cret"), std::string::npos);
  EXPECT_TRUE(hints.take(tasks()[0].id));
}

TEST_F(Intake, ARepetitionStartsNothingWhateverItsSchema) {
  post("[" + event("e1", "DeviceCreated", "dev-1") + "]");
  EXPECT_EQ(told(post("[" + event("e1", "DeviceCreated", "dev-1") + "]"), "known"), 1);
  const auto cloud = post(
      R"({"specversion":"1.0","id":"e1","source":"/S/IOTHUBS/contoso","subject":"devices/dev-1","type":)"
      R"("Microsoft.Devices.DeviceCreated","time":"2026-08-20T22:05:31Z","data":{"twin":{"tags":{"EUI":"AAAA","key":)"
      R"("s3cret"}},"hubName":"contoso","deviceId":"dev-1"}})");
  EXPECT_EQ(told(cloud, "known"), 1);
  EXPECT_EQ(tasks().size(), 1u);
}

TEST_F(Intake, OneIdWithTwoContentsIsTwoEvents) {
  post("[" + event("e1", "DeviceCreated", "dev-1") + "]");
  EXPECT_EQ(told(post("[" + event("e1", "DeviceDeleted", "dev-1") + "]"), "joined"), 1);
  EXPECT_EQ(tasks().size(), 1u);
  EXPECT_EQ(tasks()[0].generation, 1);
}

TEST_F(Intake, ABadEventIsRecordedAndDoesNotHoldUpTheOthers) {
  const auto answer = post(
      "[" + event("e1", "DeviceCreated", "dev-1") + "," + event("e2", "DeviceCreated", "no/slash") + "," +
      event("e3", "DeviceCreated", "dev-3", R"({"tags":[1]})") + ",7," + event("e4", "DeviceDeleted", "dev-4") + "]");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(told(answer, "received"), 5);
  EXPECT_EQ(told(answer, "started"), 2);
  EXPECT_EQ(told(answer, "failed"), 3);
  const auto failed = tasks(State::kFailed);
  ASSERT_EQ(failed.size(), 3u);
  for (const auto& one : failed) {
    EXPECT_FALSE(one.status.empty());
    // People find them where they look for failed tasks, with the link's name as far as it is known.
    EXPECT_TRUE(one.key.starts_with("device/one/dev-3") || one.key.starts_with("device/one/event ") ||
                one.key.starts_with("device//event "))
        << one.key;
  }
}

TEST_F(Intake, TagsThatNoHubAllowsAreAFailedTaskWithTheReason) {
  const std::string twin = R"({"tags":{"EUI":")" + std::string(20'000, 'A') + R"("}})";
  EXPECT_EQ(post("[" + event("e1", "DeviceCreated", "dev-1", twin) + "]").status, 200);
  ASSERT_EQ(tasks(State::kFailed).size(), 1u);
  EXPECT_NE(tasks()[0].status.find("8 KB"), std::string::npos);
  EXPECT_EQ(told(post("[" + event("e1", "DeviceCreated", "dev-1", twin) + "]"), "known"), 1);
}

TEST_F(Intake, HubsAreKnownByTheirNameTheirHostAndTheirOtherNames) {
  EXPECT_EQ(told(post("[" + event("e1", "DeviceCreated", "a", "{}", "CONTOSO") + "]"), "started"), 1);
  EXPECT_EQ(told(post("[" + event("e2", "DeviceCreated", "b", "{}", "main") + "]"), "started"), 1);
  EXPECT_EQ(told(post("[" + event("e3", "DeviceCreated", "c", "{}", "ExampleHub") + "]"), "started"), 1);
  std::set<std::string> keys;
  const auto all = tasks();
  for (const auto& task : all) keys.insert(task.key);
  EXPECT_EQ(keys, (std::set<std::string>{"device/one/a", "device/one/b", "device/rehearsal/c"}));
}

TEST_F(Intake, EventsOfUnknownHubsAreRefusedByNameAndCounted) {
  const auto answer = post("[" + event("e1", "DeviceCreated", "a", "{}", "stranger") + "]");
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("stranger"), std::string::npos);
  EXPECT_NE(answer.body.find("event.unknown-hub"), std::string::npos);
  // A link that is only scheduled listens to nobody.
  EXPECT_EQ(post("[" + event("e2", "DeviceCreated", "a", "{}", "fabrikam") + "]").status, 400);
  const auto mixed =
      post("[" + event("e3", "DeviceCreated", "a", "{}", "stranger") + "," + event("e4", "DeviceCreated", "b") + "]");
  EXPECT_EQ(mixed.status, 200);
  EXPECT_EQ(told(mixed, "refused"), 1);
  EXPECT_EQ(intake->counts().unknown_hubs.at("stranger"), 2u);
  EXPECT_EQ(tasks().size(), 1u);
}

TEST_F(Intake, EventsOfNoConcernAreAnsweredAndNotKept) {
  EXPECT_EQ(told(post("[" + event("e1", "DeviceConnected", "a") + "]"), "ignored"), 1);
  EXPECT_TRUE(tasks().empty());
}

TEST_F(Intake, BothHandshakesAreAnswered) {
  const auto validation = post(
      R"([{"id":"1","topic":"","subject":"","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":)"
      R"({"validationCode":"c0de","validationUrl":"https://x"},"eventTime":"2026-01-01T00:00:00Z","dataVersion":"2"}])",
      {{"aeg-event-type", "SubscriptionValidation"}});
  EXPECT_EQ(validation.status, 200);
  EXPECT_EQ(validation.body, R"({"validationResponse":"c0de"})");
  http::ServerRequest options;
  options.method = "OPTIONS";
  options.path = "/api/externalregistrysynchronizer_eventgridlistener/";
  options.headers = {{"WebHook-Request-Origin", "eventgrid.azure.net"}};
  const auto agreed = router.handle(options, *gate);
  EXPECT_EQ(agreed.status, 200);
  bool allowed = false;
  for (const auto& header : agreed.headers)
    allowed = allowed || (header.name == "WebHook-Allowed-Origin" && header.value == "eventgrid.azure.net");
  EXPECT_TRUE(allowed);
}

TEST_F(Intake, WhatIsNoDeliveryIsRefused) {
  EXPECT_EQ(post("{nonsense").status, 400);
  EXPECT_EQ(post("").status, 400);
  std::string many = "[";
  for (int i = 0; i < 5001; ++i) many += (i ? ",{}" : "{}");
  EXPECT_EQ(post(many + "]").status, 413);
  EXPECT_TRUE(tasks().empty());
}

/// A store whose disk is full.
class FullDatabase final : public store::Database {
 public:
  Status write(const Body&, const Call&) override { return fail(ErrorKind::kUnavailable, "store.full", "disk full"); }
  Status read(const Body&, const Call&) override { return {}; }
  void listen(Listener) override {}
  bool shared() const override { return false; }
  Millis went_back() const override { return Millis{0}; }
};

TEST_F(Intake, WithoutACommitThereIsNo2xxAndEventGridComesAgain) {
  FullDatabase full;
  store::WorkflowStore away(full);
  EventIntake blocked(config, {{&config.links[0], &network}}, away, hints, clock, rng);
  http::ServerRequest request;
  request.body = "[" + event("e1", "DeviceCreated", "dev-1") + "]";
  const auto answer = blocked.post(request);
  EXPECT_EQ(answer.status, 503);
  bool told_when = false;
  for (const auto& header : answer.headers)
    told_when = told_when || (header.name == "Retry-After" && header.value == "30");
  EXPECT_TRUE(told_when);
  EXPECT_EQ(blocked.counts().events, 0u);
}

TEST_F(Intake, EachDeliveryIsToldWithWhatItAdds) {
  std::vector<IntakeCounts> told_of;
  std::vector<std::pair<const config::Link*, const providers::ExternalRegistry*>> links;
  for (const auto& link : config.links) links.emplace_back(&link, &network);
  EventIntake listened(config, std::move(links), *workflows, hints, clock, rng,
                       [&](const IntakeCounts& more) { told_of.push_back(more); });
  Router other;
  listened.add_routes(other);
  http::ServerRequest request;
  request.method = "POST";
  request.path = "/api/ExternalRegistrySynchronizer_EventGridListener";
  request.body = "[" + event("e1", "DeviceCreated", "dev-1") + "," +
                 event("e2", "DeviceCreated", "dev-2", R"({"tags":{}})", "unknown") + "]";
  std::string_view pattern;
  EXPECT_EQ(other.handle(request, *gate, &pattern).status, 200);
  EXPECT_EQ(pattern, request.path);
  EXPECT_EQ(other.handle(request, *gate).status, 200);
  ASSERT_EQ(told_of.size(), 2u);
  EXPECT_EQ(told_of[0].deliveries, 1u);
  EXPECT_EQ(told_of[0].started, 1u);
  EXPECT_EQ(told_of[0].unknown_hubs.at("unknown"), 1u);
  EXPECT_EQ(told_of[1].known, 1u);
  EXPECT_EQ(told_of[1].started, 0u);
}

}  // namespace
}  // namespace twinstep::api
