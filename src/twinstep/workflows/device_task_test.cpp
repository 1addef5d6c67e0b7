#include "twinstep/workflows/device_task.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "twinstep/base/fake_clock.h"
#include "twinstep/workflows/fake_hub.h"
#include "twinstep/workflows/fake_network.h"

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;
using What = DeviceHint::What;
using store::State;

class NoProgress final : public Progress {
 public:
  void counted(std::string_view, uint64_t, std::optional<uint64_t>) override {}
  void note(std::string_view) override {}
};

struct Crash {};

/// Device tasks over a store in memory, worked on one claim after the other.
class DeviceTask : public testing::Test {
 protected:
  DeviceTask() {
    link.name = "one";
    link.hub = "fake";
    link.external = "outside";
    link.events = true;
    database = store::open_database("sqlite::memory:", clock).value();
    workflows.emplace(*database);
    state.emplace(*database);
    context.emplace(LinkContext{config, link, hub_config, hub, nullptr, network, *state, clock, rng, progress, "/tmp"});
  }

  static json::object tags(const std::string& eui) { return {{"EUI", eui}, {"key", "s3cret"}, {"profile", "P"}}; }
  void in_hub(const std::string& id, json::object with) { hub.devices[id].tags = std::move(with); }

  store::Started hint(What what, const std::string& id, json::object with = {}, const std::string& event = {}) {
    DeviceHint out;
    out.what = what;
    out.device = DeviceId(id);
    if (!with.empty()) out.tags = json::write(with);
    out.event_id = event;
    out.source = "event " + event;
    const auto task = device_task(link, network, out, rng);
    if (what == What::kCreated && !with.empty()) hints.put(task.id, json::write(with), {});
    const auto started = workflows->start({task}, call).value().at(0);
    if (started.what != store::Started::kStarted) (void)hints.take(task.id);
    return started;
  }

  /// Works on everything that is due; gives how many claims that were.
  int work() {
    int worked = 0;
    for (;;) {
      auto claimed = workflows->claim(external_lane("outside"), "me", 1, 60s, call).value();
      if (claimed.empty()) return worked;
      ++worked;
      const store::Workflow claim = claimed[0].workflow;
      engine::Attempt attempt(*workflows, std::move(claimed[0]), call, rng);
      attempt.others_got_through(others_got_through);
      try {
        const auto finish = converge_device(*context, attempt, *workflows, hints);
        rest = attempt.rest();
        EXPECT_TRUE(workflows->finish(claim, finish, call));
      } catch (const Crash&) {
        EXPECT_TRUE(workflows->begin(call));  // as a restarted daemon does
      }
      if (rest) return worked;  // the lane would rest now
    }
  }
  /// Lets time pass until nothing waits any more, for two days at most.
  void drain() {
    for (int i = 0; i < 3000; ++i) {
      work();
      const auto next = workflows->next_due(external_lane("outside"), call).value();
      if (!next) return;
      clock.advance(std::max(*next, Millis{1}));
    }
  }
  store::Workflow task(const store::WorkflowId& id) { return workflows->find(id, call).value(); }
  std::vector<std::string> history(const store::WorkflowId& id) {
    std::vector<std::string> out;
    const auto lines = workflows->history(id, call).value();
    for (const auto& line : lines) out.push_back(line.what);
    return out;
  }

  FakeClock clock;
  Rng rng{7};
  config::Config config;
  config::Link link;
  config::Hub hub_config;
  FakeHub hub;
  FakeNetwork network;
  NoProgress progress;
  std::unique_ptr<store::Database> database;
  std::optional<store::WorkflowStore> workflows;
  std::optional<store::StateFile> state;
  std::optional<LinkContext> context;
  HintMemory hints;
  std::optional<engine::Attempt::Rest> rest;
  bool others_got_through = false;
  Call call;
};

TEST_F(DeviceTask, AnEventWithEveryTagCreatesWithoutAskingTheHub) {
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  EXPECT_EQ(work(), 1);
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_EQ(history(started.id), (std::vector<std::string>{"ExternalDeviceCreated"}));
  ASSERT_TRUE(network.devices.contains("AAAA"));
  EXPECT_EQ(network.devices["AAAA"].tags, tags("AAAA"));
}

TEST_F(DeviceTask, SecretTagsAreNeverKept) {
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  EXPECT_EQ(task(started.id).input.find("s3cret"), std::string::npos);
  work();
  const auto ledger = workflows->ledger("one", "dev-1", call).value();
  ASSERT_TRUE(ledger);
  EXPECT_TRUE(ledger->present);
  EXPECT_EQ(ledger->tags, R"({"EUI":"AAAA","profile":"P"})");
}

TEST_F(DeviceTask, WhoDoesNotRememberTheTagsReadsTheHub) {
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  ASSERT_TRUE(hints.take(started.id));  // as after a restart, or on another replica
  in_hub("dev-1", tags("BBBB"));
  work();
  EXPECT_TRUE(network.devices.contains("BBBB"));
  EXPECT_EQ(network.devices.size(), 1u);
}

TEST_F(DeviceTask, TagsAreWaitedForByThePolicyAndThenCreated) {
  in_hub("dev-1", {{"EUI", "AAAA"}});
  config.twin_check = {60s, 300s, 100, 48h};
  const auto started = hint(What::kCreated, "dev-1", {}, "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kWaiting);
  EXPECT_EQ(task(started.id).status, "waits for tags: key is missing");
  const auto first = task(started.id).due - clock.system_now();
  EXPECT_GE(first, 54s);
  EXPECT_LE(first, 66s);
  clock.advance(67s);
  work();
  const auto second = task(started.id).due - clock.system_now();
  EXPECT_GE(second, 108s);
  in_hub("dev-1", tags("AAAA"));
  drain();
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_EQ(history(started.id),
            (std::vector<std::string>{"DeviceTwinCheckFail", "DeviceTwinCheckFail", "ExternalDeviceCreated"}));
}

TEST_F(DeviceTask, TagsThatNeverComeFailTheTaskWhenThePolicyIsUsedUp) {
  in_hub("dev-1", {});
  config.twin_check = {60s, 300s, 4, 48h};
  const auto started = hint(What::kCreated, "dev-1", {}, "e1");
  drain();
  EXPECT_EQ(task(started.id).state, State::kFailed);
  EXPECT_EQ(task(started.id).error_code, "device.tags-missing");
  EXPECT_EQ(history(started.id),
            (std::vector<std::string>{"DeviceTwinCheckFail", "DeviceTwinCheckFail", "DeviceTwinCheckFail",
                                      "DeviceTwinCheckFail", "DeviceTwinCheckFailed"}));
  in_hub("dev-1", tags("AAAA"));
  ASSERT_TRUE(workflows->retry(started.id, call));
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
}

TEST_F(DeviceTask, TheSumOfTheWaitsEndsThePolicyTooAndNotTheClock) {
  in_hub("dev-1", {});
  config.twin_check = {60s, 60s, 1000, 5min};
  const auto started = hint(What::kCreated, "dev-1", {}, "e1");
  work();
  clock.advance(30h);  // the daemon was off, or the clock jumped: nobody's failure
  work();
  EXPECT_EQ(task(started.id).state, State::kWaiting);
  drain();
  EXPECT_EQ(task(started.id).state, State::kFailed);
  EXPECT_GE(task(started.id).attempt, 3);
}

TEST_F(DeviceTask, WaitingForTagsDoesNotUseUpThePatienceForTheNetworkServer) {
  in_hub("dev-1", {});
  config.twin_check = {60s, 60s, 100, 48h};
  config.external_calls = {10s, 10s, 3, 1h};
  const auto started = hint(What::kCreated, "dev-1", {}, "e1");
  for (int i = 0; i < 10; ++i) {
    work();
    clock.advance(70s);
  }
  in_hub("dev-1", tags("AAAA"));
  network.failures = {{.kind = ErrorKind::kUnavailable, .what = "503", .code = "external.down"},
                      {.kind = ErrorKind::kUnavailable, .what = "503", .code = "external.down"}};
  drain();
  EXPECT_EQ(task(started.id).state, State::kDone) << task(started.id).status;
}

TEST_F(DeviceTask, ARefusalInBetweenDoesNotMixUpThePoliciesTries) {
  in_hub("dev-1", {{"EUI", "AAAA"}});
  config.twin_check = {1s, 1s, 100, 48h};
  config.external_calls = {1s, 1s, 5, 48h};
  const auto started = hint(What::kCreated, "dev-1", {}, "e1");
  for (int i = 0; i < 10; ++i) {
    work();
    clock.advance(2s);
  }
  EXPECT_EQ(task(started.id).attempt, 10);
  in_hub("dev-1", tags("AAAA"));
  network.failures.push_back({.kind = ErrorKind::kThrottled, .what = "429", .code = "external.429"});
  work();
  ASSERT_TRUE(rest);
  clock.advance(2s);
  network.failures.push_back({.kind = ErrorKind::kUnavailable, .what = "down", .code = "external.503"});
  work();
  EXPECT_EQ(task(started.id).state, State::kWaiting) << "ten looks at the twin are no tries of the network server";
  EXPECT_EQ(task(started.id).attempt, 1);
  clock.advance(2s);
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
}

TEST_F(DeviceTask, WhoIsNotSureOfItsClaimAnyMoreChangesNothingOutside) {
  in_hub("dev-1", tags("AAAA"));
  hint(What::kChanged, "dev-1", {}, "e1");
  network.devices["BBBB"] = {"dev-2", tags("BBBB")};
  hint(What::kDeleted, "dev-2", tags("BBBB"), "e2");
  for (int i = 0; i < 2; ++i) {
    auto claimed = workflows->claim(external_lane("outside"), "me", 1, 60s, call).value();
    ASSERT_EQ(claimed.size(), 1u);
    // As after a pause of the process: another replica has the task, and nothing has told this one yet.
    engine::Attempt attempt(*workflows, std::move(claimed[0]), call, rng, [] { return false; });
    EXPECT_EQ(converge_device(*context, attempt, *workflows, hints).state, State::kWaiting);
  }
  EXPECT_EQ(network.creates, 0);
  EXPECT_EQ(network.removes, 0);
}

TEST_F(DeviceTask, ASenselessRetryAfterNeitherRestsTheLaneForDaysNorGivesUp) {
  for (const ErrorKind kind : {ErrorKind::kThrottled, ErrorKind::kUnavailable}) {
    rest.reset();
    network.failures.push_back({.kind = kind, .what = "later", .code = "external.later", .retry_after = 100'000h});
    const bool first = kind == ErrorKind::kThrottled;
    in_hub(first ? "dev-1" : "dev-2", tags(first ? "AAAA" : "BBBB"));
    const auto started = hint(What::kCreated, first ? "dev-1" : "dev-2", tags(first ? "AAAA" : "BBBB"));
    work();
    EXPECT_EQ(task(started.id).state, State::kWaiting);
    EXPECT_EQ(rest.value_or(engine::Attempt::Rest{1h, "", false}).span, 1h);
    rest.reset();
    drain();
    EXPECT_EQ(task(started.id).state, State::kDone);
  }
}

TEST_F(DeviceTask, TagsThatCanNeverWorkFailAtOnce) {
  const auto started = hint(What::kCreated, "dev-1", tags("TOO-LONG"), "e1");
  in_hub("dev-1", tags("TOO-LONG"));
  work();
  EXPECT_EQ(task(started.id).state, State::kFailed);
  EXPECT_EQ(task(started.id).error_code, "device.bad-tags");
  EXPECT_NE(task(started.id).status.find("EUI must have 4 characters"), std::string::npos);
  EXPECT_EQ(network.creates, 0);
}

TEST_F(DeviceTask, AnEdgeDeviceOrOneWithACertificateIsLeftAlone) {
  link.include_edge = false;
  hub.devices["gw"].tags = tags("AAAA");
  hub.edge_devices.insert("gw");
  const auto started = hint(What::kCreated, "gw", {}, "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_EQ(task(started.id).status, "left alone: an Edge device");
  EXPECT_TRUE(network.devices.empty());
}

TEST_F(DeviceTask, ADeviceThatTheLinksOwnRunsMadeIsNotAskedFor) {
  for (auto with : {json::object{{"EUI", "AAAA"}}, tags("AAAA")}) {
    with["twinstep"] = {{"link", "one"}};
    in_hub("dev-1", with);
    const auto started = hint(What::kCreated, "dev-1", with);
    work();
    EXPECT_EQ(task(started.id).state, State::kDone);
    EXPECT_EQ(network.creates + network.look_ups, 0);
  }
  // Another link's device is a device like any other.
  auto with = tags("BBBB");
  with["twinstep"] = {{"link", "two"}};
  in_hub("dev-2", with);
  hint(What::kCreated, "dev-2", with);
  work();
  EXPECT_TRUE(network.devices.contains("BBBB"));
}

TEST_F(DeviceTask, ADeviceThatCameFromOutsideNeedsNoSecretTags) {
  network.devices["AAAA"] = {"dev-1", tags("AAAA")};
  in_hub("dev-1", {{"EUI", "AAAA"}});
  const auto started = hint(What::kCreated, "dev-1", {{"EUI", "AAAA"}}, "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_EQ(network.creates, 0);
}

TEST_F(DeviceTask, ADeletedDeviceIsFoundByTheTagsOfItsEvent) {
  network.devices["AAAA"] = {"dev-1", tags("AAAA")};
  const auto started = hint(What::kDeleted, "dev-1", {{"EUI", "AAAA"}}, "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_EQ(history(started.id), (std::vector<std::string>{"ExternalDeviceDeleted"}));
  EXPECT_TRUE(network.devices.empty());
}

TEST_F(DeviceTask, ADeletedDeviceIsFoundByWhatIsRememberedOfIt) {
  hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  const auto started = hint(What::kDeleted, "dev-1", {}, "e2");
  work();
  EXPECT_EQ(task(started.id).status, "deleted from outside");
  EXPECT_TRUE(network.devices.empty());
  EXPECT_FALSE(workflows->ledger("one", "dev-1", call).value()->present);
}

TEST_F(DeviceTask, DeletingWhatIsGoneIsASuccess) {
  const auto started = hint(What::kDeleted, "dev-1", {{"EUI", "AAAA"}}, "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_EQ(network.removes, 0);
}

TEST_F(DeviceTask, ADevEuiThatTheHubHasInTwoSpellingsStaysUntilBothAreGone) {
  struct Two {
    std::string stays, goes;
  };
  const std::string upper = "0004A30B00000001", lower = "0004a30b00000001", dashes = "00-04-A3-0B-00-00-00-01";
  for (const Two& two : std::vector<Two>{{upper, lower}, {lower, upper}, {upper, dashes}, {lower, dashes}})
    for (const std::string& first : {two.stays, two.goes}) {
      for (const std::string& id : {first, first == two.stays ? two.goes : two.stays}) {
        in_hub(id, tags("AAAA"));
        hint(What::kCreated, id, tags("AAAA"));
        work();
      }
      hub.devices.erase(two.goes);
      hint(What::kDeleted, two.goes, {{"EUI", "AAAA"}});
      work();
      EXPECT_TRUE(network.devices.contains("AAAA")) << two.stays << " is there, only " << two.goes << " was deleted";
      hub.devices.erase(two.stays);
      hint(What::kDeleted, two.stays, {{"EUI", "AAAA"}});
      work();
      EXPECT_TRUE(network.devices.empty()) << two.stays;
    }
}

TEST_F(DeviceTask, ADeviceThatOnlyBearsTheTagsIsNotDeleted) {
  network.devices["AAAA"] = {"renamed", tags("AAAA")};
  const auto started = hint(What::kDeleted, "dev-1", {{"EUI", "AAAA"}}, "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_NE(task(started.id).status.find("left alone"), std::string::npos);
  EXPECT_TRUE(network.devices.contains("AAAA"));
}

TEST_F(DeviceTask, ASecondHintBeforeTheFirstTryReadsTheHub) {
  hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  in_hub("dev-1", tags("BBBB"));
  hint(What::kCreated, "dev-1", tags("BBBB"), "e3");
  work();
  EXPECT_FALSE(network.devices.contains("AAAA"));
  EXPECT_TRUE(network.devices.contains("BBBB"));
}

TEST_F(DeviceTask, ADeleteCancelsAWaitingCreate) {
  in_hub("dev-1", {{"EUI", "AAAA"}});
  const auto created = hint(What::kCreated, "dev-1", {}, "e1");
  work();
  hub.devices.clear();
  const auto deleted = hint(What::kDeleted, "dev-1", {{"EUI", "AAAA"}}, "e2");
  EXPECT_EQ(deleted.what, store::Started::kMerged);
  EXPECT_EQ(deleted.id, created.id);
  work();
  EXPECT_EQ(task(created.id).state, State::kDone);
  EXPECT_TRUE(network.devices.empty());
}

TEST_F(DeviceTask, ALateCreateEventOfADeletedDeviceCreatesNothing) {
  hint(What::kDeleted, "dev-1", {{"EUI", "AAAA"}}, "e2");
  work();
  hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  EXPECT_TRUE(network.devices.empty());
}

TEST_F(DeviceTask, ADeviceMadeAgainWithAnotherIdentityLeavesNothingBehind) {
  hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  in_hub("dev-1", tags("BBBB"));
  hint(What::kCreated, "dev-1", tags("BBBB"), "e3");
  work();
  EXPECT_FALSE(network.devices.contains("AAAA"));
  EXPECT_TRUE(network.devices.contains("BBBB"));
}

TEST_F(DeviceTask, ADeviceMadeAgainWithoutItsTagsLeavesNothingBehind) {
  for (const bool delete_first : {true, false}) {
    const std::string id = delete_first ? "dev-1" : "dev-2", eui = delete_first ? "AAAA" : "BBBB";
    in_hub(id, tags(eui));
    hint(What::kCreated, id, tags(eui));
    work();
    ASSERT_TRUE(network.devices.contains(eui));
    in_hub(id, {{"note", "later"}});  // deleted and made again before anybody looked
    if (delete_first) hint(What::kDeleted, id, tags(eui));
    const auto again = hint(What::kCreated, id);
    if (!delete_first) {
      work();
      hint(What::kDeleted, id, tags(eui));
    }
    work();
    EXPECT_FALSE(network.devices.contains(eui));
    EXPECT_EQ(task(again.id).state, State::kWaiting);
    in_hub(id, tags(eui));
    clock.advance(2min);
    work();
    EXPECT_TRUE(network.devices.contains(eui));
  }
}

TEST_F(DeviceTask, ADeviceThatLostItsTagsIsNotTakenForADeletedOne) {
  in_hub("dev-1", tags("AAAA"));
  hint(What::kCreated, "dev-1", tags("AAAA"));
  work();
  in_hub("dev-1", {{"note", "somebody removed the tags"}});
  hint(What::kChanged, "dev-1");
  work();
  EXPECT_TRUE(network.devices.contains("AAAA"));
}

TEST_F(DeviceTask, AnotherProfileOfTheSameIdentityIsNotDeletedAndMadeAgain) {
  hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  auto other = tags("AAAA");
  other["profile"] = "Q";
  in_hub("dev-1", other);
  hint(What::kCreated, "dev-1", other, "e3");
  work();
  EXPECT_EQ(network.removes, 0);
  EXPECT_TRUE(network.devices.contains("AAAA"));
}

TEST_F(DeviceTask, OutagesAreWaitedOutByThePolicyAndThenGivenUp) {
  config.external_calls = {10s, 60s, 3, 1h};
  in_hub("dev-1", tags("AAAA"));
  for (int i = 0; i < 3; ++i)
    network.failures.push_back({.kind = ErrorKind::kUnavailable, .what = "no answer", .code = "external.down"});
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  drain();
  EXPECT_EQ(task(started.id).state, State::kFailed);
  EXPECT_EQ(history(started.id),
            (std::vector<std::string>{"ExternalDeviceCreationError", "ExternalDeviceCreationError",
                                      "ExternalDeviceCreationError", "ExternalDeviceCreationFailed"}));
}

TEST_F(DeviceTask, AnHourWithoutTheNetworkServerIsWaitedOutByTheSamplesSettings) {
  constexpr int kMany = 20;
  std::vector<store::WorkflowId> ids;
  for (int n = 0; n < kMany; ++n) {
    const std::string name = fmt::format("dev-{}", n);
    in_hub(name, tags(fmt::format("A{:03}", n)));
    ids.push_back(hint(What::kCreated, name, tags(fmt::format("A{:03}", n)), "e-" + name).id);
  }
  const auto back = clock.system_now() + 1h;
  for (;;) {
    network.failures.assign(kMany, {.kind = ErrorKind::kUnavailable, .what = "refused", .code = "external.down"});
    work();
    network.failures.clear();
    const auto next = workflows->next_due(external_lane("outside"), call).value();
    ASSERT_TRUE(next);  // all wait
    if (clock.system_now() + *next >= back) break;
    clock.advance(std::max(*next, Millis{1}));
  }
  for (const auto& id : ids) {
    EXPECT_EQ(task(id).state, State::kWaiting);
    // At once, after 5, 10 and 20 minutes; half an hour later, shortened by its jitter, is just within the hour.
    const size_t tries = history(id).size();
    EXPECT_TRUE(tries == 4 || tries == 5) << tries;
    EXPECT_EQ(history(id), std::vector<std::string>(tries, "ExternalDeviceCreationError"));
  }
  drain();
  for (const auto& id : ids) EXPECT_EQ(task(id).state, State::kDone);
  EXPECT_EQ(network.devices.size(), static_cast<size_t>(kMany));
  EXPECT_LE(clock.system_now() - back, 36min);  // the longest wait with its jitter
}

TEST_F(DeviceTask, TheServersOwnRetryAfterIsObeyed) {
  in_hub("dev-1", tags("AAAA"));
  network.failures.push_back(
      {.kind = ErrorKind::kUnavailable, .what = "503", .code = "external.down", .retry_after = Millis{90'000}});
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  EXPECT_EQ(task(started.id).due, clock.system_now() + 90s);
  drain();
  EXPECT_EQ(task(started.id).state, State::kDone);
}

TEST_F(DeviceTask, RefusedCredentialsRestTheLaneAndFailNoDevice) {
  network.failures.push_back({.kind = ErrorKind::kDenied, .what = "401", .code = "external.denied"});
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  ASSERT_TRUE(rest);
  EXPECT_TRUE(rest->alarm);
  EXPECT_EQ(task(started.id).state, State::kWaiting);
  EXPECT_EQ(task(started.id).attempt, 0);
}

TEST_F(DeviceTask, WhatIsForbiddenToOneDeviceWhileOthersGetThroughIsItsOwnFailure) {
  for (const bool others : {false, true})
    for (const int status : {401, 403}) {
      const std::string id = fmt::format("dev-{}-{}", others, status);
      in_hub(id, tags("AAAA"));
      network.failures.push_back(
          {.kind = ErrorKind::kDenied, .what = "no", .code = "external.denied", .remote_status = status});
      const auto started = hint(What::kCreated, id, tags("AAAA"), id);
      others_got_through = others;
      work();
      const bool own = others && status == 403;
      EXPECT_EQ(rest.has_value(), !own) << id;
      EXPECT_EQ(task(started.id).state, State::kWaiting);
      EXPECT_EQ(task(started.id).attempt, own ? 1 : 0) << id;
      ASSERT_TRUE(workflows->cancel(started.id, "next", call));
    }
}

TEST_F(DeviceTask, ThrottlingRestsTheLaneWithoutAlarmAndWithoutCounting) {
  network.failures.push_back(
      {.kind = ErrorKind::kThrottled, .what = "429", .code = "external.throttled", .retry_after = Millis{7'000}});
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  ASSERT_TRUE(rest);
  EXPECT_FALSE(rest->alarm);
  EXPECT_EQ(rest->span, 7s);
  EXPECT_EQ(task(started.id).attempt, 0);
}

TEST_F(DeviceTask, WhatTheServerRefusesForGoodFailsAtOnce) {
  network.failures.push_back({.kind = ErrorKind::kInvalid, .what = "profile P is unknown", .code = "external.invalid"});
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kFailed);
  EXPECT_EQ(task(started.id).status, "profile P is unknown");
}

TEST_F(DeviceTask, ACrashAfterTheCallOutsideDoublesNothing) {
  in_hub("dev-1", tags("AAAA"));
  int crashes = 1;
  network.after_write = [&] {
    if (crashes-- > 0) throw Crash{};
  };
  const auto started = hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  EXPECT_EQ(task(started.id).state, State::kDone);
  EXPECT_EQ(network.devices.size(), 1u);
  EXPECT_EQ(network.creates, 2);  // the second one found it there
}

TEST_F(DeviceTask, ANewerHintDuringTheWorkIsNotLost) {
  in_hub("dev-1", tags("AAAA"));
  network.after_write = [&] {
    if (network.removes > 0 || !hub.devices.contains("dev-1")) return;
    hub.devices.clear();
    hint(What::kDeleted, "dev-1", {{"EUI", "AAAA"}}, "e2");
  };
  hint(What::kCreated, "dev-1", tags("AAAA"), "e1");
  work();
  EXPECT_TRUE(network.devices.empty());
}

/// Order and repetition of events never matter: random histories of a few devices, their events delivered in any order,
/// late and repeatedly, with crashes and outages in between, end where the hub ends.
TEST_F(DeviceTask, AnyOrderAndAnyRepetitionEndInTheSameState) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Rng random(seed);
    const auto below = [&](size_t n) { return static_cast<size_t>(random.next() % n); };
    hub.devices.clear();
    network.devices.clear();
    network.failures.clear();
    link.name = fmt::format("link-{}", seed);  // a ledger of its own
    struct Event {
      What what;
      std::string id, name;
      json::object with;
    };
    std::vector<Event> pending;
    int made = 0;
    network.after_write = [&] {
      if (random.unit() < 0.15) throw Crash{};
    };
    const auto deliver = [&](size_t index, bool forget) {
      const Event event = pending[index];
      if (forget) pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(index));
      const auto started = hint(event.what, event.id, event.with, event.name);
      if (random.unit() < 0.3) (void)hints.take(started.id);
    };
    for (int step = 0; step < 30; ++step) {
      const std::string id = fmt::format("dev-{}", below(3));
      switch (below(6)) {
        case 0:
        case 1: {
          const bool there = hub.devices.contains(id);
          if (there) {  // deleted, with its last known tags in the event
            pending.push_back({What::kDeleted, id, fmt::format("{}/{}", seed, ++made), hub.devices[id].tags});
            hub.devices.erase(id);
            break;
          }
          // An identity is never two devices' at once, as in the world.
          json::object with = random.unit() < 0.7 ? tags(fmt::format("{}{:03}", id.back(), below(2))) : json::object{};
          hub.devices[id].tags = with;
          pending.push_back(
              {What::kCreated, id, fmt::format("{}/{}", seed, ++made), random.unit() < 0.5 ? with : json::object{}});
          break;
        }
        case 2:
          if (hub.devices.contains(id) && hub.devices[id].tags.empty())
            hub.devices[id].tags = tags(id.substr(4) + "999");
          break;
        case 3:
          if (!pending.empty()) deliver(below(pending.size()), random.unit() < 0.7);
          break;
        case 4:
          if (random.unit() < 0.3)
            network.failures.push_back({.kind = ErrorKind::kUnavailable, .what = "503", .code = "external.down"});
          work();
          break;
        default:
          clock.advance(std::chrono::seconds(below(400)));
          work();
      }
    }
    while (!pending.empty()) deliver(below(pending.size()), random.unit() < 0.8);
    for (auto& [id, device] : hub.devices)
      if (device.tags.empty()) device.tags = tags(id.substr(4) + "998");
    drain();
    std::map<std::string, std::string> wanted, have;
    for (const auto& [id, device] : hub.devices) wanted[id] = std::string(json::string_or(device.tags, "EUI"));
    for (const auto& [eui, device] : network.devices) have[device.id] = eui;
    ASSERT_EQ(network.devices.size(), have.size()) << "a device is outside twice";
    ASSERT_EQ(have, wanted);
  }
}

}  // namespace
}  // namespace twinstep::workflows
