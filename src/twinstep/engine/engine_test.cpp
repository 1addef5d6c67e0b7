#include "twinstep/engine/engine.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <set>
#include <stdexcept>
#include <thread>

#include "twinstep/base/fake_clock.h"
#include "twinstep/obs/log_context.h"

namespace twinstep::engine {
namespace {

using namespace std::chrono_literals;
using store::State;

/// A database whose writes meet `before` first, which may hold them up.
class GatedDatabase final : public store::Database {
 public:
  explicit GatedDatabase(store::Database& inner) : inner_(inner) {}
  Status write(const Body& body, const Call& call) override {
    std::function<void(const Call&)> before;
    {
      std::scoped_lock lock(mutex_);
      before = before_;
    }
    if (before) before(call);
    if (passes_over) return {};
    return inner_.write(body, {call.deadline, {}});
  }
  Status read(const Body& body, const Call& call) override { return inner_.read(body, call); }
  void listen(Listener listener) override { inner_.listen(std::move(listener)); }
  bool shared() const override { return inner_.shared(); }
  Millis went_back() const override { return inner_.went_back(); }

  void meet(std::function<void(const Call&)> before) {
    std::scoped_lock lock(mutex_);
    before_ = std::move(before);
  }
  std::atomic<bool> passes_over = false;  ///< nothing is done

 private:
  std::mutex mutex_;  // guards before_
  std::function<void(const Call&)> before_;
  store::Database& inner_;
};

/// Lanes over a store in memory. Lanes wait in real time and are woken by hints, so that nothing here waits for a
/// clock.
class EngineTest : public testing::Test {
 protected:
  EngineTest() {
    database = store::open_database("sqlite::memory:", real_clock()).value();
    // The library makes it at its first use, behind a guard that ThreadSanitizer cannot see: here, before any thread.
    spdlog::default_logger();
  }

  Engine& with(Work work, int threads = 2) {
    EngineOptions options{.owner = "me", .lease = lease};
    options.on_recorded = [this](const store::Workflow& claim, const store::Finish& finish, State state) {
      std::scoped_lock lock(mutex);
      recorded.push_back(fmt::format("{} {} {}", claim.key, finish.status, store::to_string(state)));
    };
    options.on_rest = [this](const LaneRest& rest) {
      std::scoped_lock lock(mutex);
      recorded.push_back(rest.rests ? fmt::format("{} rests: {}{}", rest.lane, rest.reason, rest.alarm ? "!" : "")
                                    : rest.lane + " works");
    };
    engine.emplace(*database, std::move(options), real_clock(), rng);
    engine->add_lane({"lane", threads, std::move(work)});
    EXPECT_TRUE(engine->start(call));
    return *engine;
  }
  store::NewWorkflow task(std::string key) {
    store::NewWorkflow out;
    out.id = store::WorkflowId(rng.hex_id());
    out.kind = "device";
    out.lane = "lane";
    out.key = std::move(key);
    out.input = "{}";
    return out;
  }
  store::WorkflowId start(std::string key) {
    return engine->store().start({task(std::move(key))}, call).value().at(0).id;
  }
  /// Waits until the workflow is in the state; the test's time-out ends a wait in vain.
  void wait_for(const store::WorkflowId& id, State state) {
    std::unique_lock lock(mutex);
    while (engine->store().find(id, call).value().state != state) changed.wait_for(lock, 5ms);
  }

  Rng rng{1};
  Call call;
  Millis lease{60'000};
  std::mutex mutex;  // guards what the works of a test share
  std::condition_variable changed;
  std::vector<std::string> recorded;  // what the engine told
  std::unique_ptr<store::Database> database;
  std::optional<Engine> engine;  // goes first: its threads use all of the above
};

TEST_F(EngineTest, AClaimIsASpanOfTheTraceThatItWasStartedInAndItsLinesNameIt) {
  struct Kept final : obs::SpanSink {
    void ended(obs::SpanData&& span) override {
      std::scoped_lock lock(mutex);
      spans.push_back(std::move(span));
    }
    std::mutex mutex;
    std::vector<obs::SpanData> spans;
  } kept;
  obs::Tracer tracer(real_clock(), rng);
  tracer.export_to(&kept, 1);
  std::string context, worked;
  EngineOptions options{.owner = "me"};
  options.tracer = &tracer;
  options.on_worked = [&](const store::Workflow& claim, const store::Finish& finish, std::chrono::nanoseconds took) {
    worked = fmt::format("{} {} {}", claim.key, store::to_string(finish.state), took >= 0ns);
  };
  engine.emplace(*database, std::move(options), real_clock(), rng);
  engine->add_lane({"lane", 1, [&](Attempt& attempt) {
                      context = obs::log_context();
                      return attempt.failed("no", "task.no");
                    }});
  store::WorkflowId id;
  {
    const obs::TraceScope asking(*obs::parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    store::NewWorkflow one = task("device/link-1/dev-1");
    ASSERT_TRUE(engine->store().start({one}, call));
    id = one.id;
  }
  ASSERT_TRUE(engine->start(call));
  wait_for(id, State::kFailed);
  engine->stop();
  EXPECT_EQ(context, " trace=4bf92f3577b34da6a3ce929d0e0e4736 task=" + id.value + " link=link-1 device=dev-1");
  EXPECT_EQ(worked, "device/link-1/dev-1 failed true");
  ASSERT_EQ(kept.spans.size(), 1u);
  EXPECT_EQ(obs::span_id_text(kept.spans[0].parent), "00f067aa0ba902b7");
  EXPECT_TRUE(kept.spans[0].failed);
}

TEST_F(EngineTest, ABlockedOneThatNobodyApprovesInTimeIsToldAsCancelledOnce) {
  lease = 30ms;  // house is kept three times in it
  with([&](Attempt& attempt) { return attempt.blocked("would delete 40 %", "guard.deletes", Millis{0}); });
  const auto id = start("run/a");
  {
    std::unique_lock lock(mutex);
    while (recorded.size() < 2) changed.wait_for(lock, 5ms);
  }
  with([](Attempt& attempt) { return attempt.done(""); });  // another process, later
  engine->stop();
  EXPECT_EQ(recorded,
            (std::vector<std::string>{"run/a would delete 40 % blocked", "run/a not approved in time cancelled"}));
  EXPECT_EQ(engine->store().find(id, call)->state, State::kCancelled);
}

TEST_F(EngineTest, AStartedWorkflowIsWorkedOnAtOnceAndOnce) {
  std::atomic<int> worked = 0;
  with([&](Attempt& attempt) {
    ++worked;
    attempt.note("ExternalDeviceCreated", "x");
    return attempt.done("fine");
  });
  const auto id = start("device/a");
  wait_for(id, State::kDone);
  engine->stop();
  EXPECT_EQ(worked, 1);
  EXPECT_EQ(engine->store().find(id, call)->status, "fine");
  EXPECT_EQ(engine->store().history(id, call)->size(), 1u);
  EXPECT_EQ(recorded, std::vector<std::string>{"device/a fine done"});
}

TEST_F(EngineTest, ManyWorkflowsAreWorkedOnAtTheSameTimeButOneOfAKeyAtATime) {
  std::set<std::string> at_work;
  int most = 0, done = 0;
  bool twice = false;
  with(
      [&](Attempt& attempt) {
        {
          std::unique_lock lock(mutex);
          twice = twice || !at_work.insert(attempt.workflow().key).second;
          most = std::max(most, static_cast<int>(at_work.size()));
          // The first four wait for each other: proof that they run together.
          changed.notify_all();
          changed.wait_for(lock, 5s, [&] { return most >= 4; });
          at_work.erase(attempt.workflow().key);
          ++done;
        }
        return attempt.done("");
      },
      4);
  std::vector<store::WorkflowId> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(start(fmt::format("device/{}", i % 20)));
  for (const auto& id : ids) wait_for(id, State::kDone);
  EXPECT_EQ(most, 4);
  EXPECT_FALSE(twice);
}

TEST_F(EngineTest, AnExceptionIsABugAndNotTheEndOfTheLane) {
  with([&](Attempt& attempt) -> store::Finish {
    if (attempt.workflow().key == "device/bad") throw std::runtime_error("oops");
    return attempt.done("");
  });
  const auto bad = start("device/bad");
  const auto good = start("device/good");
  wait_for(good, State::kDone);
  wait_for(bad, State::kWaiting);
  while (engine->store().find(bad, call)->error_code != "internal") std::this_thread::yield();
  EXPECT_NE(engine->store().find(bad, call)->status.find("oops"), std::string::npos);
}

TEST_F(EngineTest, StoppingAsksTheWorkToStopAndGivesItBack) {
  std::atomic<bool> begun = false;
  with([&](Attempt& attempt) {
    begun = true;
    begun.notify_all();
    std::mutex own;
    std::unique_lock lock(own);
    std::condition_variable_any never;
    never.wait(lock, attempt.call().stop, [] { return false; });
    return attempt.again(Millis{0}, "stopped");
  });
  const auto id = start("device/a");
  begun.wait(false);
  engine->stop();
  EXPECT_EQ(engine->store().find(id, call)->state, State::kWaiting);
}

TEST_F(EngineTest, WhatIsClaimedWhileTheEngineStopsIsAskedToStopToo) {
  GatedDatabase gated(*database);
  std::atomic<bool> slow_begun = false, slow_stopped = false;
  std::atomic<int> late_stopped = -1;
  const auto wait_for_stop = [](Attempt& attempt) {
    std::mutex own;
    std::unique_lock lock(own);
    std::condition_variable_any never;
    never.wait_for(lock, attempt.call().stop, 5s, [] { return false; });
    return attempt.call().stop.stop_requested();
  };
  engine.emplace(gated, EngineOptions{.owner = "me"}, real_clock(), rng);
  engine->add_lane({"slow", 1, [&](Attempt& attempt) {
                      slow_begun = true;
                      slow_begun.notify_all();
                      slow_stopped = wait_for_stop(attempt);
                      slow_stopped.notify_all();
                      return attempt.again(Millis{0}, "stopped");
                    }});
  engine->add_lane({"lane", 1, [&](Attempt& attempt) {
                      late_stopped = wait_for_stop(attempt) ? 1 : 0;
                      return attempt.again(Millis{0}, "stopped");
                    }});
  ASSERT_TRUE(engine->start(call));
  store::WorkflowStore others(*database);
  auto slow = task("device/slow");
  slow.lane = "slow";
  ASSERT_TRUE(others.start({slow}, call));
  slow_begun.wait(false);
  // From now on a claim is answered only when everything that was held has been asked to stop.
  std::atomic<bool> claiming = false;
  gated.meet([&](const Call& claim) {
    if (!claim.stop.stop_possible()) return;
    claiming = true;
    claiming.notify_all();
    slow_stopped.wait(false);
  });
  const auto id = others.start({task("device/late")}, call).value().at(0).id;
  claiming.wait(false);
  engine.reset();
  EXPECT_EQ(late_stopped, 1);
  EXPECT_EQ(others.find(id, call)->state, State::kWaiting);
}

TEST_F(EngineTest, WhatIsDueButHeldByAnotherReplicaIsNotLookedForWithoutAPause) {
  // As with a row that another replica has locked: a claim passes it over, and it still is the next one that is due.
  GatedDatabase gated(*database);
  store::WorkflowStore others(*database);
  const auto id = others.start({task("device/a")}, call).value().at(0).id;
  std::mutex own;
  std::condition_variable seen;
  std::vector<SteadyTime> looks;
  gated.passes_over = true;
  gated.meet([&](const Call& claim) {
    if (!claim.stop.stop_possible()) return;
    std::scoped_lock lock(own);
    looks.push_back(std::chrono::steady_clock::now());
    seen.notify_all();
  });
  engine.emplace(gated, EngineOptions{.owner = "me"}, real_clock(), rng);
  engine->add_lane({"lane", 1, [](Attempt& attempt) { return attempt.done(""); }});
  ASSERT_TRUE(engine->start(call));
  {
    std::unique_lock lock(own);
    seen.wait(lock, [&] { return looks.size() >= 4; });
    EXPECT_GE(looks[3] - looks[0], 3 * 50ms);
  }
  gated.passes_over = false;
  wait_for(id, State::kDone);
  engine.reset();
}

TEST_F(EngineTest, WhatAPersonCancelsStopsWhileItIsAtWork) {
  std::atomic<bool> begun = false;
  with([&](Attempt& attempt) {
    begun = true;
    begun.notify_all();
    std::mutex own;
    std::unique_lock lock(own);
    std::condition_variable_any never;
    never.wait(lock, attempt.call().stop, [] { return false; });
    return attempt.again(Millis{0}, "stopped");
  });
  const auto id = start("run/a");
  begun.wait(false);
  ASSERT_TRUE(engine->store().cancel(id, "no more", call));
  wait_for(id, State::kCancelled);
}

TEST_F(EngineTest, ARestingLaneTriesOneAndGoesOnWhenThatOneSucceeds) {
  std::atomic<bool> refused = true;
  std::atomic<int> tries = 0;
  with(
      [&](Attempt& attempt) {
        ++tries;
        tries.notify_all();
        if (!refused) return attempt.done("");
        attempt.rest_lane(Millis{60'000}, "401", true);
        return attempt.again(Millis{0}, "waits for credentials");
      },
      1);
  const auto first = start("device/a");
  for (int seen = 0; seen < 1; seen = tries) tries.wait(seen);
  while (engine->store().pauses(call)->empty()) std::this_thread::yield();
  const auto pauses = engine->store().pauses(call).value();
  EXPECT_EQ(pauses[0].lane, "lane");
  EXPECT_EQ(pauses[0].reason, "401");
  const auto second = start("device/b");
  wait_for(second, State::kWaiting);
  EXPECT_EQ(tries, 1);
  refused = false;
  ASSERT_TRUE(engine->store().resume("lane", call));  // as time, or a person, would
  wait_for(first, State::kDone);
  wait_for(second, State::kDone);
  EXPECT_TRUE(engine->store().pauses(call)->empty());
  engine->stop();
  const auto of_the_lane = [](const std::string& one) { return one.starts_with("lane"); };
  std::vector<std::string> told;
  std::copy_if(recorded.begin(), recorded.end(), std::back_inserter(told), of_the_lane);
  EXPECT_EQ(told, (std::vector<std::string>{"lane rests: 401!", "lane works"}));
}

TEST_F(EngineTest, WhoIsRefusedHearsWhetherOthersGotThroughSince) {
  std::vector<std::string> heard;
  with(
      [&](Attempt& attempt) {
        const std::string& key = attempt.workflow().key;
        heard.push_back(fmt::format("{} {}", key, attempt.others_got_through()));
        if (key == "device/good" || heard.size() == 5) return attempt.done("");
        attempt.rest_lane(Millis{60'000}, "403", true);
        return attempt.again(Millis{0}, "waits");
      },
      1);
  const auto waits = [&](int tries) {
    for (;; std::this_thread::yield()) {
      const auto pauses = engine->store().pauses(call).value();
      if (!pauses.empty() && pauses[0].tries == tries) return;
    }
  };
  const auto bad = start("device/bad");
  waits(1);
  ASSERT_TRUE(engine->store().resume("lane", call));  // as time would
  waits(1);
  ASSERT_TRUE(engine->store().cancel(bad, "out of the way", call));
  ASSERT_TRUE(engine->store().resume("lane", call));
  wait_for(start("device/good"), State::kDone);
  ASSERT_TRUE(engine->store().retry(bad, call));
  waits(1);
  ASSERT_TRUE(engine->store().resume("lane", call));
  wait_for(bad, State::kDone);
  engine->stop();
  EXPECT_EQ(heard, (std::vector<std::string>{"device/bad false", "device/bad false", "device/good false",
                                             "device/bad true", "device/bad false"}));
}

TEST_F(EngineTest, ALaneThatRestsForPatienceStillRaisesTheAlarmWhenItIsRefusedNext) {
  std::atomic<int> tries = 0;
  with(
      [&](Attempt& attempt) {
        const int which = ++tries;
        if (which > 3) return attempt.done("");
        attempt.rest_lane(Millis{60'000}, which == 1 ? "429" : "401", which > 1);
        return attempt.again(Millis{0}, "waits");
      },
      1);
  const auto id = start("device/a");
  for (int rest = 1; rest <= 3; ++rest) {
    const auto rests = [&] {
      const auto pauses = engine->store().pauses(call).value();
      return !pauses.empty() && pauses[0].tries == 1 && tries == rest;
    };
    while (!rests()) std::this_thread::yield();
    ASSERT_TRUE(engine->store().resume("lane", call));  // as time would
  }
  wait_for(id, State::kDone);
  engine->stop();
  std::vector<std::string> told;
  for (const std::string& one : recorded)
    if (one.starts_with("lane")) told.push_back(one);
  EXPECT_EQ(told, (std::vector<std::string>{"lane rests: 429", "lane rests: 401!", "lane works"}));
}

TEST_F(EngineTest, WhatADeadProcessLeftIsTakenOver) {
  {
    store::WorkflowStore other(*database);
    ASSERT_TRUE(other.start({task("device/a")}, call));
    ASSERT_EQ(other.claim("lane", "dead", 1, 60s, call)->size(), 1u);
  }
  std::atomic<int> worked = 0;
  with([&](Attempt& attempt) {
    ++worked;
    worked.notify_all();
    return attempt.done("");
  });
  worked.wait(0);
  EXPECT_EQ(worked, 1);
}

TEST_F(EngineTest, SavedStepsAreThereForTheNextClaim) {
  std::atomic<int> claims = 0;
  with([&](Attempt& attempt) {
    if (++claims == 1) {
      EXPECT_EQ(attempt.saved("cursor"), nullptr);
      EXPECT_TRUE(attempt.save("cursor", "17"));
      EXPECT_TRUE(attempt.save("cursor", "18"));
      return attempt.again(Millis{0}, "more to do");
    }
    EXPECT_NE(attempt.saved("cursor"), nullptr);
    EXPECT_EQ(*attempt.saved("cursor"), "18");
    return attempt.done("");
  });
  wait_for(start("run/a"), State::kDone);
}

TEST(Attempt, ThePolicyDoublesUpToItsCapAndEndsByCountOrSum) {
  FakeClock clock;
  Rng rng(3);
  auto database = store::open_database("sqlite::memory:", clock).value();
  store::WorkflowStore store(*database);
  const config::RetrySettings policy{10s, 40s, 100, 200s};
  const Error error{.kind = ErrorKind::kUnavailable, .what = "down", .code = "x"};
  store::Claimed claimed;
  std::vector<double> waits;
  for (;;) {
    Attempt attempt(store, claimed, {}, rng);
    const auto again = attempt.retry(policy, error, "down");
    if (!again) break;
    EXPECT_EQ(again->attempt, claimed.workflow.attempt + 1);
    claimed.workflow.attempt = again->attempt;
    claimed.workflow.waited = again->waited;
    waits.push_back(static_cast<double>(again->due_in.count()) / 1000);
  }
  ASSERT_GE(waits.size(), 6u);
  EXPECT_NEAR(waits[0], 10, 1);
  EXPECT_NEAR(waits[1], 20, 2);
  EXPECT_NEAR(waits[2], 40, 4);
  EXPECT_NEAR(waits[5], 40, 4);
  EXPECT_LE(claimed.workflow.waited, policy.total);
  Attempt attempt(store, claimed, {}, rng);
  EXPECT_TRUE(attempt.retry(policy, error, "another policy", true));
  Error told = error;
  told.retry_after = Millis{77'000};
  EXPECT_EQ(attempt.retry(policy, told, "told", true)->due_in, 77s);
  told.retry_after = 100'000h;
  const config::RetrySettings patient{10s, 40s, 100, 24h};
  EXPECT_EQ(attempt.retry(patient, told, "a senseless time is not waited for", true)->due_in, kLongestTold);
}

}  // namespace
}  // namespace twinstep::engine
