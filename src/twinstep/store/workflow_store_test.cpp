#include "twinstep/store/workflow_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "twinstep/base/fake_clock.h"
#include "twinstep/store/sqlite.h"
#include "twinstep/store/workflow_contract.h"

namespace twinstep::store {
namespace {

INSTANTIATE_TEST_SUITE_P(Sqlite, WorkflowContract,
                         ::testing::Values(Kind{"memory", SqliteSubject::in_memory},
                                           Kind{"file", SqliteSubject::in_file}),
                         [](const auto& which) { return std::string(which.param.name); });

class SqliteFile : public ::testing::Test {
 protected:
  SqliteFile() : path(std::filesystem::temp_directory_path() / ("twinstep-file-" + std::to_string(::getpid()))) {
    open();
  }
  ~SqliteFile() override {
    database.reset();
    for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path.string() + end);
  }
  void open() {
    database.reset();
    database = open_database("sqlite:" + path.string(), clock).value();
    store.emplace(*database);
  }
  WorkflowId start(Millis due_in) {
    NewWorkflow one;
    one.id = WorkflowId("w");
    one.kind = "device";
    one.lane = "lane";
    one.key = "device/a";
    one.due_in = due_in;
    return store->start({one}, {}).value().at(0).id;
  }

  FakeClock clock;
  std::filesystem::path path;
  std::unique_ptr<Database> database;
  std::optional<WorkflowStore> store;
};

TEST_F(SqliteFile, WhatADeadProcessWasWorkingOnIsDueAtOnce) {
  start(0ms);
  ASSERT_EQ(store->claim("lane", "dead", 1, 1h, {})->size(), 1u);
  open();
  EXPECT_EQ(store->begin({}).value(), 1);
  const auto claimed = store->claim("lane", "alive", 1, 1h, {}).value();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].workflow.epoch, 2);
}

TEST_F(SqliteFile, AKeptAnswerOutlivesTheProcess) {
  ASSERT_TRUE(AnswerStore(*database).admit("key", "r", "one", 60s, {}));
  ASSERT_TRUE(AnswerStore(*database).keep("key", "one", {201, "{}", "body"}, {}));
  open();
  const auto again = AnswerStore(*database).admit("key", "r", "two", 60s, {});
  ASSERT_TRUE(again);
  EXPECT_EQ(again->what, Admission::kAnswered);
  EXPECT_EQ(again->answer.body, "body");
}

/// A clock whose people's time can be set apart from the time that passes.
class SetClock final : public Clock {
 public:
  SystemTime system_now() const override {
    return system + std::chrono::duration_cast<std::chrono::microseconds>(steady - SteadyTime{});
  }
  SteadyTime steady_now() const override { return steady; }
  bool sleep_until(SteadyTime, std::stop_token) override { return true; }
  SystemTime system{1'700'000'000s};
  SteadyTime steady{1h};
};

TEST(SqliteTime, AJumpOfTheClockMovesNothingThatWaits) {
  for (const auto jump : {std::chrono::hours{1}, std::chrono::hours{-1}}) {
    SetClock clock;
    auto database = open_database("sqlite::memory:", clock).value();
    WorkflowStore store(*database);
    NewWorkflow one;
    one.id = WorkflowId("w");
    one.lane = "lane";
    one.key = "k";
    one.due_in = 10min;
    ASSERT_TRUE(store.start({one}, {}));
    clock.system += jump;
    EXPECT_TRUE(store.claim("lane", "me", 1, 1h, {})->empty());
    EXPECT_EQ(store.next_due("lane", {}).value(), Millis{600'000});
    clock.steady += 10min;
    EXPECT_EQ(store.claim("lane", "me", 1, 1h, {})->size(), 1u);
  }
}

TEST(SqliteTime, AClockSetBackBeforeAStartDoesNotHoldUpWhatWaits) {
  const std::string path = std::filesystem::temp_directory_path() / ("twinstep-back-" + std::to_string(::getpid()));
  SetClock clock;
  {
    auto database = open_database("sqlite:" + path, clock).value();
    NewWorkflow one;
    one.id = WorkflowId("w");
    one.lane = "lane";
    one.key = "k";
    one.due_in = 10min;
    ASSERT_TRUE(WorkflowStore(*database).start({one}, {}));
  }
  clock.system -= 3h;
  auto database = open_database("sqlite:" + path, clock).value();
  WorkflowStore store(*database);
  ASSERT_TRUE(store.begin({}));
  EXPECT_LE(store.next_due("lane", {}).value().value(), Millis{600'000});
  for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path + end);
}

TEST_F(SqliteFile, WhoWaitsForAReaderGivesUpWhenStoppedAndTheNextOneReads) {
  const auto nothing = [](Transaction&) -> Status { return {}; };
  std::stop_source stop;
  Status second;
  ASSERT_TRUE(database->read(
      [&](Transaction&) -> Status {
        std::jthread other([&] { second = database->read(nothing, {SteadyTime::max(), stop.get_token()}); });
        stop.request_stop();
        return {};
      },
      {}));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, "store.cancelled");
  EXPECT_THROW((void)database->read([](Transaction&) -> Status { throw std::runtime_error("bug"); }, {}),
               std::runtime_error);
  EXPECT_TRUE(database->read(nothing, {}));
}

TEST_F(SqliteFile, ADamagedFileSaysSo) {
  database.reset();
  std::filesystem::resize_file(path, 4096);
  {
    FILE* file = std::fopen(path.c_str(), "r+b");
    for (int i = 0; i < 4096; ++i) std::fputc('x', file);
    std::fclose(file);
  }
  for (const char* end : {"-wal", "-shm"}) std::filesystem::remove(path.string() + end);
  const auto opened = open_database("sqlite:" + path.string(), clock);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "store.corrupt");
}

/// Every commit to a file that nobody would find again is refused, and what is put back is used on.
TEST_F(SqliteFile, AFileThatIsMovedWhileInUseTakesNothing) {
  for (const std::string& one : {path.string(), path.string() + "-wal"}) {
    const std::string away = one + ".away";
    std::filesystem::rename(one, away);
    const auto refused = database->change("INSERT INTO meta (name, value) VALUES ('lost', '')", {}, {});
    ASSERT_FALSE(refused) << one;
    EXPECT_EQ(refused.error().code, "store.moved");
    EXPECT_TRUE(refused.error().transient());
    std::filesystem::rename(away, one);
    EXPECT_TRUE(database->change("INSERT INTO meta (name, value) VALUES ('kept', '')", {}, {}));
    EXPECT_EQ(database->ask("SELECT name FROM meta WHERE name IN ('kept', 'lost')", {}, {})->size(), 1u);
    ASSERT_TRUE(database->change("DELETE FROM meta WHERE name = 'kept'", {}, {}));
  }
}

TEST_F(SqliteFile, AFileThatIsOverwrittenWhileInUseTakesNothing) {
  for (const char* end : {"", "-wal"}) {
    const std::string one = path.string() + end;
    FILE* file = std::fopen(one.c_str(), "r+b");
    ASSERT_NE(file, nullptr);
    for (int i = 0; i < 4096; ++i) std::fputc('x', file);
    std::fclose(file);
    const auto refused = database->change("INSERT INTO meta (name, value) VALUES ('lost', '')", {}, {});
    ASSERT_FALSE(refused) << one;
    EXPECT_EQ(refused.error().code, "store.corrupt");
    database.reset();
    for (const char* part : {"", "-wal", "-shm"}) std::filesystem::remove(path.string() + part);
    open();
  }
}

}  // namespace
}  // namespace twinstep::store
