#include "twinstep/workflows/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "twinstep/base/time_format.h"

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;
using store::State;

/// People's time and the time that passes, apart. Who sleeps wakes when a test lets enough time pass.
class JumpClock final : public Clock {
 public:
  SystemTime system_now() const override {
    std::scoped_lock lock(mutex_);
    return system_;
  }
  SteadyTime steady_now() const override {
    std::scoped_lock lock(mutex_);
    return steady_;
  }
  bool sleep_until(SteadyTime when, std::stop_token stop) override {
    std::unique_lock lock(mutex_);
    ++sleepers_;
    moved_.notify_all();
    const bool reached = moved_.wait(lock, stop, [&] { return steady_ >= when; });
    --sleepers_;
    return reached;
  }
  void pass(std::chrono::microseconds span) {
    std::scoped_lock lock(mutex_);
    steady_ += span;
    system_ += span;
    moved_.notify_all();
  }
  void jump(std::chrono::microseconds span) {
    std::scoped_lock lock(mutex_);
    system_ += span;
  }
  void set(const char* time) {
    std::scoped_lock lock(mutex_);
    system_ = parse_iso(time).value();
  }
  /// Until somebody sleeps: nothing more happens at this time.
  void wait_for_sleeper() {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return sleepers_ > 0; });
  }

 private:
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable_any moved_;
  SystemTime system_{parse_iso("2026-11-25T10:20:00Z").value()};
  SteadyTime steady_{1000h};
  int sleepers_ = 0;
};

/// A database that is away at times.
class AwayDatabase final : public store::Database {
 public:
  explicit AwayDatabase(store::Database& database) : database_(database) {}
  std::atomic<bool> away = false;
  std::atomic<int> asked = 0;
  Status write(const Body& body, const Call& call) override {
    ++asked;
    if (away) return fail(ErrorKind::kUnavailable, "store.away", "no connection");
    return database_.write(body, call);
  }
  Status read(const Body& body, const Call& call) override { return database_.read(body, call); }
  void listen(Listener listener) override { database_.listen(std::move(listener)); }
  bool shared() const override { return true; }
  Millis went_back() const override { return {}; }

 private:
  store::Database& database_;
};

class Scheduling : public testing::Test {
 protected:
  Scheduling() {
    config::Link link;
    link.name = "one";
    link.hub = "hub";
    link.schedule = "0 * * * *";
    links = {link};
    sqlite = store::open_database("sqlite::memory:", clock).value();
    database.emplace(*sqlite);
    store.emplace(*database);
  }
  Schedules schedules() { return Schedules(links, *store, clock, rng); }
  /// How many runs there are by now; they are ended at once.
  int ended_runs() {
    auto claimed = store->claim("run/hub", "me", 10, 30s, {}).value();
    for (const auto& one : claimed) EXPECT_TRUE(store->finish(one.workflow, {}, {}));
    return static_cast<int>(claimed.size());
  }
  int look(Schedules& schedules) {
    EXPECT_TRUE(schedules.look({}));
    return ended_runs();
  }

  JumpClock clock;
  Rng rng{1};
  std::vector<config::Link> links;
  std::unique_ptr<store::Database> sqlite;
  std::optional<AwayDatabase> database;
  std::optional<store::WorkflowStore> store;
};

TEST_F(Scheduling, FiresAtItsTimeAndNotBefore) {
  auto all = schedules();
  EXPECT_EQ(look(all), 0);
  clock.pass(39min + 50s);
  EXPECT_EQ(all.look({}).value(), 10s);
  EXPECT_EQ(ended_runs(), 0);
  clock.pass(10s);
  EXPECT_EQ(all.look({}).value(), Schedules::kSlice);
  EXPECT_EQ(ended_runs(), 1);
  EXPECT_EQ(look(all), 0);
}

TEST_F(Scheduling, TimesThatWereMissedFireOnceTogether) {
  {
    auto before = schedules();
    look(before);
  }
  clock.pass(7h);
  auto after = schedules();
  EXPECT_EQ(look(after), 1);
  EXPECT_EQ(look(after), 0);
  clock.pass(40min);
  EXPECT_EQ(look(after), 1);
}

TEST_F(Scheduling, AClockThatJumpsAnHourFiresNoTimeTwice) {
  for (const auto jump : {1h, -1h}) {
    auto all = schedules();
    int fired = 0;
    for (int minute = 0; minute < 360; ++minute) {
      if (minute == 150) clock.jump(jump);
      if (minute == 160) clock.jump(-jump);
      clock.pass(1min);
      fired += look(all);
    }
    EXPECT_LE(fired, 6);
    EXPECT_GE(fired, 5);
  }
}

TEST_F(Scheduling, AClockThatWasFarAheadDoesNotSilenceTheSchedule) {
  auto all = schedules();
  look(all);
  clock.jump(24h * 400);
  EXPECT_EQ(look(all), 1);
  clock.jump(-24h * 400);
  EXPECT_EQ(look(all), 0);
  clock.pass(40min);
  EXPECT_EQ(look(all), 1);
  clock.jump(24h * 400);
  EXPECT_EQ(look(all), 1);
  clock.jump(-24h * 400);
  auto restarted = schedules();
  EXPECT_EQ(look(restarted), 0);
  clock.pass(1h);
  EXPECT_EQ(look(restarted), 1);
}

TEST_F(Scheduling, AReplicaWhoseClockIsAheadMakesNoStorm) {
  auto right = schedules();
  look(right);
  int fired = 0;
  JumpClock ahead;
  ahead.jump(5h);
  Schedules wrong(links, *store, ahead, rng);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(wrong.look({}));
    fired += ended_runs() + look(right);
  }
  EXPECT_EQ(fired, 1);
}

TEST_F(Scheduling, DaylightSavingNeitherSkipsNorRepeatsARun) {
  links[0].schedule = "30 2 * * *";
  links[0].zone = "Europe/Berlin";
  for (const char* day : {"2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"}) {
    clock.set(day);
    auto all = schedules();
    look(all);  // what was missed on the way to this day
    int fired = 0;
    for (int i = 0; i < 24 * 6; ++i) {
      clock.pass(10min);
      fired += look(all);
    }
    EXPECT_EQ(fired, 1) << day;
  }
}

TEST_F(Scheduling, OfManyReplicasOneFires) {
  constexpr int kReplicas = 4;
  std::vector<Schedules> replicas;
  for (int i = 0; i < kReplicas; ++i) replicas.push_back(schedules());
  for (auto& replica : replicas) look(replica);
  clock.pass(1h);
  {
    std::vector<std::jthread> threads;
    for (auto& replica : replicas)
      threads.emplace_back([&replica] {
        for (int i = 0; i < 20; ++i) EXPECT_TRUE(replica.look({}));
      });
  }
  EXPECT_EQ(ended_runs(), 1);
}

TEST_F(Scheduling, AScheduleThatWasTakenAwayFiresNoMoreNorAfterItsReturn) {
  auto before = schedules();
  look(before);
  const auto with = links;
  links[0].schedule.clear();
  auto without = schedules();
  clock.pass(24h);
  EXPECT_EQ(look(without), 0);
  links = with;
  auto again = schedules();
  EXPECT_EQ(look(again), 0) << "nothing was missed";
  clock.pass(1h);
  EXPECT_EQ(look(again), 1);
}

TEST_F(Scheduling, AnotherExpressionOrZoneIsPlannedAnew) {
  auto before = schedules();
  look(before);
  links[0].schedule = "0 30 11 * * *";
  links[0].zone = "Europe/Berlin";
  auto after = schedules();
  EXPECT_EQ(look(after), 0);
  clock.pass(10min);
  EXPECT_EQ(look(after), 1) << "11:30 in Berlin";
}

TEST_F(Scheduling, AnActiveRunIsNotJoinedByAnother) {
  auto all = schedules();
  look(all);
  for (int i = 0; i < 3; ++i) {
    clock.pass(1h);
    ASSERT_TRUE(all.look({}));
  }
  EXPECT_EQ(ended_runs(), 1) << "the others were skipped";
  links[0].overlap = config::Overlap::kQueue;
  auto queueing = schedules();
  for (int i = 0; i < 3; ++i) {
    clock.pass(1h);
    ASSERT_TRUE(queueing.look({}));
  }
  EXPECT_EQ(ended_runs(), 1);
  EXPECT_EQ(ended_runs(), 1) << "one waited its turn, no more";
  EXPECT_EQ(ended_runs(), 0);
}

TEST_F(Scheduling, TheThreadWaitsForItsTimeAndForTheStore) {
  Scheduler scheduler(*store, clock, rng);
  scheduler.start(links);
  clock.wait_for_sleeper();
  clock.jump(40min);  // noticed at the end of a slice, although nothing was due for so long
  database->away = true;
  const int asked = database->asked;
  clock.pass(30s);
  while (database->asked == asked) std::this_thread::yield();
  clock.wait_for_sleeper();
  EXPECT_EQ(store->count("run", {})->size(), 0u);

  std::mutex mutex;
  std::condition_variable heard;
  bool started = false;
  database->listen([&](std::string_view) {
    std::scoped_lock lock(mutex);
    started = true;
    heard.notify_all();
  });
  database->away = false;
  clock.pass(2s);
  {
    std::unique_lock lock(mutex);
    heard.wait(lock, [&] { return started; });
  }
  scheduler.stop();
  database->listen({});
  EXPECT_EQ(store->count("run", {})->at(State::kWaiting), 1);
  scheduler.start({});
  scheduler.stop();
}

}  // namespace
}  // namespace twinstep::workflows
