#include "twinstep/store/start_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "twinstep/base/fake_clock.h"

namespace twinstep::store {
namespace {

using namespace std::chrono_literals;

/// A database whose writes wait at a gate, and are counted.
class Gated final : public Database {
 public:
  explicit Gated(Database& inner) : inner_(inner) {}
  Status write(const Body& body, const Call& call) override {
    ++writes;
    writes.notify_all();
    open.wait(false);
    if (away) return fail(ErrorKind::kUnavailable, "store.away", "the store is away");
    return inner_.write(body, call);
  }
  Status read(const Body& body, const Call& call) override { return inner_.read(body, call); }
  void listen(Listener listener) override { inner_.listen(std::move(listener)); }
  bool shared() const override { return inner_.shared(); }
  Millis went_back() const override { return inner_.went_back(); }

  std::atomic<int> writes{0};
  std::atomic<bool> open{false};
  std::atomic<bool> away{false};

 private:
  Database& inner_;
};

class StartQueueTest : public ::testing::Test {
 protected:
  using Answer = std::vector<Started>;

  static NewWorkflow task(const std::string& id, const std::string& key, const std::string& seen = {}) {
    NewWorkflow out;
    out.id = WorkflowId(id);
    out.kind = "device";
    out.lane = "lane";
    out.key = key;
    out.input = "{}";
    out.seen_id = seen;
    return out;
  }
  /// Everything that leads stands at the gate, and `callers` wait.
  void crowd_at_the_gate(size_t callers, const std::function<std::vector<NewWorkflow>(size_t)>& bring) {
    answers.resize(callers + 2);
    for (size_t i = 0; i < callers + 2; ++i) {
      threads.emplace_back([this, i, wants = bring(i)] {
        try {
          answers[i] = queue.start(wants, {});
        } catch (const std::exception& bug) {
          answers[i] = fail(ErrorKind::kCorrupt, "bug", bug.what());
        }
      });
      for (int now = gated.writes; now < 2 && i < 2 && now <= static_cast<int>(i); now = gated.writes)
        gated.writes.wait(now);
    }
    while (queue.waiting() < callers) std::this_thread::yield();
  }
  void open_the_gate() {
    gated.open = true;
    gated.open.notify_all();
    threads.clear();
  }

  FakeClock clock;
  std::unique_ptr<Database> database = open_database("sqlite::memory:", clock).value();
  Gated gated{*database};
  WorkflowStore store{gated};
  StartQueue queue{store};
  std::vector<Result<Answer>> answers;
  std::vector<std::jthread> threads;
};

TEST_F(StartQueueTest, CallersThatWaitTogetherShareATransactionAndEachGetsItsOwnAnswer) {
  crowd_at_the_gate(20, [](size_t i) {
    return std::vector{task("a" + std::to_string(i), "device/a" + std::to_string(i)),
                       task("b" + std::to_string(i), "device/b" + std::to_string(i))};
  });
  open_the_gate();
  for (size_t i = 0; i < answers.size(); ++i) {
    ASSERT_TRUE(answers[i]) << answers[i].error().what;
    ASSERT_EQ(answers[i]->size(), 2u);
    EXPECT_EQ((*answers[i])[0].id.value, "a" + std::to_string(i));
    EXPECT_EQ((*answers[i])[1].id.value, "b" + std::to_string(i));
  }
  EXPECT_EQ(store.count("device", {}).value()[State::kWaiting], 44);
  EXPECT_LE(gated.writes, 4);
}

TEST_F(StartQueueTest, AnEventThatComesByManyCallersStartsOneTask) {
  crowd_at_the_gate(10, [](size_t i) { return std::vector{task("w" + std::to_string(i), "device/a", "event")}; });
  open_the_gate();
  int started = 0;
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer);
    started += answer->front().what == Started::kStarted;
    EXPECT_EQ(answer->front().id, answers[0]->front().id);
  }
  EXPECT_EQ(started, 1);
}

TEST_F(StartQueueTest, WhatOneCallerBringsDoesNotHarmTheOthers) {
  WorkflowStore before_the_gate(*database);
  ASSERT_TRUE(before_the_gate.start({task("first", "device/5")}, {}));
  crowd_at_the_gate(10, [](size_t i) {
    NewWorkflow one = task("w" + std::to_string(i), "device/" + std::to_string(i));
    if (i == 5) one.merge = [](std::string_view) -> std::string { throw std::logic_error("a bug"); };
    return std::vector{one};
  });
  open_the_gate();
  for (size_t i = 0; i < answers.size(); ++i) ASSERT_EQ(answers[i].has_value(), i != 5) << i;
  EXPECT_EQ(answers[5].error().what, "a bug");
  EXPECT_EQ(store.count("device", {}).value()[State::kWaiting], 12);
}

TEST_F(StartQueueTest, WhenTheStoreIsAwayEverybodyHearsItAndTheNextOneIsServed) {
  crowd_at_the_gate(10,
                    [](size_t i) { return std::vector{task("w" + std::to_string(i), "device/" + std::to_string(i))}; });
  gated.away = true;
  open_the_gate();
  for (const auto& answer : answers) {
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, "store.away");
  }
  gated.away = false;
  EXPECT_TRUE(queue.start({task("w", "device/w")}, {}));
}

TEST_F(StartQueueTest, WaitingIsGivenUpAtTheDeadlineAndWhenAskedToStop) {
  crowd_at_the_gate(0,
                    [](size_t i) { return std::vector{task("w" + std::to_string(i), "device/" + std::to_string(i))}; });
  const auto late = queue.start({task("late", "device/late")}, {std::chrono::steady_clock::now(), {}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, "store.busy");
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = queue.start({task("stopped", "device/stopped")}, {SteadyTime::max(), stop.get_token()});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, "store.cancelled");
  open_the_gate();
  EXPECT_EQ(store.count("device", {}).value()[State::kWaiting], 2);
}

TEST_F(StartQueueTest, ManyWhoComeAndGoLeaveNobodyWaiting) {
  gated.open = true;
  std::atomic<int> made = 0;
  {
    std::vector<std::jthread> crowd;
    for (int thread = 0; thread < 8; ++thread)
      crowd.emplace_back([&, thread] {
        for (int i = 0; i < 100; ++i) {
          const std::string id = std::to_string(thread) + "-" + std::to_string(i);
          if (queue.start({task(id, "device/" + id)}, {std::chrono::steady_clock::now() + 30s, {}})) ++made;
        }
      });
  }
  EXPECT_EQ(made, 800);
  EXPECT_EQ(queue.waiting(), 0u);
}

}  // namespace
}  // namespace twinstep::store
