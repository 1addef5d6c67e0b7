#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "twinstep/store/run_store.h"
#include "twinstep/store/store_subject.h"

/// The contract of RunStore. A test program includes this once and names the kinds of databases with
/// INSTANTIATE_TEST_SUITE_P.
namespace twinstep::store {

using namespace std::chrono_literals;

/// What every database must do, whatever keeps it.
class RunContract : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    subject = GetParam().make();
    database = subject->open();
    workflows.emplace(*database);
    store.emplace(*database);
    add_run("r1");
    add_run("r2");
  }
  void advance(std::chrono::nanoseconds span) { subject->advance(*database, span); }

  void add_run(const std::string& id) {
    NewWorkflow one;
    one.id = WorkflowId(id);
    one.kind = "run";
    one.lane = "run/hub";
    one.key = "run/" + id;
    ASSERT_TRUE(workflows->start({one}, call));
  }
  Status put(const std::string& run, const std::vector<std::string>& pieces) {
    return store->put_plan(
        WorkflowId(run),
        [&](const RunStore::TextSink& sink) -> Status {
          for (const std::string& piece : pieces) TRY(sink(piece));
          return {};
        },
        call);
  }
  Result<std::string> plan(const std::string& run) {
    std::string out;
    largest = 0;
    auto read = store->read_plan(
        WorkflowId(run),
        [&](std::string_view piece) -> Status {
          out += piece;
          largest = std::max(largest, piece.size());
          return {};
        },
        call);
    if (!read) return fail(std::move(read).error());
    return out;
  }
  int64_t rows(const std::string& table) {
    return database->ask("SELECT count(*) FROM " + table, {}, call)->number(0, 0);
  }

  std::unique_ptr<Subject> subject;
  std::unique_ptr<Database> database;
  std::optional<WorkflowStore> workflows;
  std::optional<RunStore> store;
  Call call;
  size_t largest = 0;
};

TEST_P(RunContract, APlanComesBackAsItWasWrittenHoweverLong) {
  std::vector<std::string> pieces;
  std::string whole;
  for (int i = 0; i < 40'000; ++i) {
    pieces.push_back("{\"deviceId\":\"grün-" + std::to_string(i) + "\"},\n");  // two-byte letters fall on every border
    whole += pieces.back();
  }
  ASSERT_TRUE(put("r1", pieces));
  EXPECT_EQ(plan("r1").value(), whole);
  EXPECT_LE(largest, 256u * 1024) << "a large plan is never in memory at once";
  EXPECT_GT(rows("run_plan_piece"), 3);
  EXPECT_EQ(plan("r2").error().code, "store.no-plan");
}

TEST_P(RunContract, ANewPlanReplacesTheOldOneOnlyWhenAllOfItIsKept) {
  ASSERT_TRUE(put("r1", {"old"}));
  const auto cut_off = store->put_plan(
      WorkflowId("r1"),
      [&](const RunStore::TextSink& sink) -> Status {
        TRY(sink(std::string(600'000, 'x')));
        return fail(ErrorKind::kCancelled, "test", "stopped");
      },
      call);
  EXPECT_FALSE(cut_off);
  EXPECT_EQ(plan("r1").value(), "old");
  ASSERT_TRUE(put("r1", {"n", "e", "w"}));
  EXPECT_EQ(plan("r1").value(), "new");
  EXPECT_EQ(rows("run_plan_piece"), 1) << "nothing of the others stays";
  ASSERT_TRUE(put("r1", {}));
  EXPECT_EQ(plan("r1").value(), "");
}

TEST_P(RunContract, EachDeviceHasItsLastOutcome) {
  ASSERT_TRUE(store->record(WorkflowId("r1"),
                            {{DeviceId("b"), "create", "failed", "429"}, {DeviceId("a"), "delete", "done", ""}}, call));
  ASSERT_TRUE(store->record(WorkflowId("r1"), {{DeviceId("b"), "create", "done", ""}}, call));
  ASSERT_TRUE(store->record(WorkflowId("r1"), {{DeviceId("c"), "create", "failed", "bad tag"}}, call));
  const auto all = store->outcomes(WorkflowId("r1"), "", DeviceId(), 10, call).value();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].device.value, "a");
  EXPECT_EQ(all[1].outcome, "done");
  const auto failed = store->outcomes(WorkflowId("r1"), "failed", DeviceId(), 10, call).value();
  ASSERT_EQ(failed.size(), 1u);
  EXPECT_EQ(failed[0].reason, "bad tag");
  const auto page = store->outcomes(WorkflowId("r1"), "", DeviceId("a"), 1, call).value();
  ASSERT_EQ(page.size(), 1u);
  EXPECT_EQ(page[0].device.value, "b");
  uint64_t created = 0, counted = 0;
  const auto counts = store->counts(WorkflowId("r1"), call).value();
  for (const RunStore::Count& count : counts) {
    counted += count.devices;
    if (count.op == "create" && count.outcome == "done") created += count.devices;
  }
  EXPECT_EQ(counted, 3u);
  EXPECT_EQ(created, 1u);
}

TEST_P(RunContract, ADeviceIsFoundInItsRunsInWhateverSpelling) {
  ASSERT_TRUE(store->record(WorkflowId("r1"), {{DeviceId("0011223344556677"), "create", "done", ""}}, call));
  advance(1s);
  ASSERT_TRUE(store->record(WorkflowId("r2"), {{DeviceId("00-11-22-33-44-55-66-77"), "delete", "failed", "x"}}, call));
  const auto mentions = store->mentions(DeviceId("00:11:22:33:44:55:66:77"), 10, call).value();
  ASSERT_EQ(mentions.size(), 2u);
  EXPECT_EQ(mentions[0].run.value, "r2");
  EXPECT_EQ(mentions[0].outcome.op, "delete");
  EXPECT_GT(mentions[0].at, mentions[1].at);
  EXPECT_EQ(store->mentions(DeviceId("0011223344556677"), 1, call)->size(), 1u);
  EXPECT_TRUE(store->mentions(DeviceId("another"), 1, call)->empty());
}

TEST_P(RunContract, WhatARunKeepsGoesWithIt) {
  ASSERT_TRUE(put("r1", {"plan"}));
  ASSERT_TRUE(store->record(WorkflowId("r1"), {{DeviceId("a"), "create", "done", ""}}, call));
  const auto claimed = workflows->claim("run/hub", "me", 1, 30s, call).value();
  ASSERT_TRUE(workflows->finish(claimed.at(0).workflow, {}, call));
  advance(48h);
  EXPECT_EQ(workflows->purge(24h, 10, call).value(), 1);
  for (const char* table : {"run_plan", "run_plan_piece", "run_outcome"}) EXPECT_EQ(rows(table), 0) << table;
}

}  // namespace twinstep::store
