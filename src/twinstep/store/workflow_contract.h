#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>

#include "twinstep/store/answer_store.h"
#include "twinstep/store/backlog.h"
#include "twinstep/store/store_subject.h"
#include "twinstep/store/workflow_store.h"

/// The contract of WorkflowStore and Database. A test program includes this once and names the kinds of databases with
/// INSTANTIATE_TEST_SUITE_P.
namespace twinstep::store {

using namespace std::chrono_literals;

/// What every database must do, whatever keeps it.
class WorkflowContract : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    subject = GetParam().make();
    database = subject->open();
    store.emplace(*database);
  }
  void advance(std::chrono::nanoseconds span) { subject->advance(*database, span); }
  /// Where time cannot be held still, a little of it has passed.
  static void expect_about(std::optional<Millis> wait, Millis expected) {
    ASSERT_TRUE(wait);
    EXPECT_LE(*wait, expected);
    EXPECT_GT(*wait, expected - 15s);
  }

  NewWorkflow task(std::string key, std::string seen = {}) {
    NewWorkflow out;
    out.id = WorkflowId("w" + std::to_string(++made));
    out.kind = "device";
    out.lane = "external/tp";
    out.key = std::move(key);
    out.input = "{}";
    out.seen_id = std::move(seen);
    return out;
  }
  Started start(const NewWorkflow& workflow) { return store->start({workflow}, call).value().at(0); }
  std::vector<Claimed> claim(int max = 10, std::string_view owner = "me") {
    return store->claim("external/tp", owner, max, 30s, call).value();
  }
  Workflow find(const WorkflowId& id) { return store->find(id, call).value(); }
  State end(const Claimed& claimed, Finish finish = {}) {
    return store->finish(claimed.workflow, finish, call).value();
  }

  std::unique_ptr<Subject> subject;
  std::unique_ptr<Database> database;
  std::optional<WorkflowStore> store;
  Call call;
  int made = 0;
};

TEST_P(WorkflowContract, AStartedWorkflowIsClaimedOnceAndEndsOnce) {
  const auto started = start(task("device/a"));
  EXPECT_EQ(started.what, Started::kStarted);
  auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].workflow.id, started.id);
  EXPECT_TRUE(claim().empty());
  Finish done;
  done.status = "created outside";
  done.history = {{{}, "ExternalDeviceCreated", "a"}};
  done.ledger = LedgerEntry{"link", "a", DeviceId("A"), true, R"({"ref":"1"})"};
  EXPECT_EQ(end(claimed[0], done), State::kDone);
  const Workflow after = find(started.id);
  EXPECT_EQ(after.state, State::kDone);
  EXPECT_EQ(after.status, "created outside");
  EXPECT_TRUE(after.ended);
  ASSERT_EQ(store->history(started.id, call)->size(), 1u);
  EXPECT_EQ(store->history(started.id, call)->front().what, "ExternalDeviceCreated");
  const auto ledger = store->ledger("link", "a", call).value();
  ASSERT_TRUE(ledger);
  EXPECT_EQ(ledger->device.value, "A");
  EXPECT_EQ(ledger->tags, R"({"ref":"1"})");
  EXPECT_FALSE(store->ledger("link", "b", call).value());
  const auto again = store->finish(claimed[0].workflow, {}, call);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, "store.lease-lost");
}

TEST_P(WorkflowContract, TheLedgerTellsOfManyKeysWhichDevicesAreOutside) {
  std::vector<std::string> keys;
  for (int i = 0; i < 250; ++i) {
    keys.push_back(fmt::format("K{:03}", i));
    if (i % 2 == 1) continue;  // never made outside
    start(task("device/" + keys.back()));
    Finish done;
    done.ledger = LedgerEntry{"link", keys.back(), DeviceId(fmt::format("k-{:03}", i)), i % 4 == 0, "{}"};
    ASSERT_EQ(end(claim(1).at(0), done), State::kDone);
  }
  keys.push_back("K000");
  const auto outside = store->made_outside("link", keys, call).value();
  ASSERT_EQ(outside.size(), keys.size());
  for (size_t i = 0; i < 250; ++i) EXPECT_EQ(outside[i].value, i % 4 == 0 ? fmt::format("k-{:03}", i) : "") << i;
  EXPECT_EQ(outside.back().value, "k-000");
  EXPECT_EQ(store->ledger_count("link", call).value(), 63);
  EXPECT_EQ(store->ledger_count("other", call).value(), 0);
  EXPECT_EQ(store->made_outside("other", {"K000"}, call).value().at(0).value, "");
  EXPECT_TRUE(store->made_outside("link", {}, call)->empty());
}

TEST_P(WorkflowContract, AClaimHandsWorkOnTogetherWithItsCursorOrNotAtAll) {
  const auto sweep = start(task("sweep/a"));
  const auto claimed = claim();
  const auto started =
      store->start_with_step(claimed.at(0).workflow, "cursor", "1", {task("device/a"), task("device/b")}, call);
  ASSERT_TRUE(started);
  EXPECT_EQ(started->size(), 2u);
  EXPECT_EQ(store->steps(sweep.id, call)->at("cursor"), "1");
  Workflow lost = claimed.at(0).workflow;
  --lost.epoch;
  const auto refused = store->start_with_step(lost, "cursor", "2", {task("device/c")}, call);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "store.lease-lost");
  EXPECT_EQ(store->steps(sweep.id, call)->at("cursor"), "1");
  EXPECT_EQ(claim().size(), 2u);
}

TEST_P(WorkflowContract, ProcessesThatShareTheStoreKnowHowManyTheyAre) {
  EXPECT_EQ(store->be_seen("one", 60s, call).value(), 1);
  const int both = database->shared() ? 2 : 1;
  EXPECT_EQ(store->be_seen("two", 60s, call).value(), both);
  EXPECT_EQ(store->be_seen("one", 60s, call).value(), both);
  ASSERT_TRUE(store->leave("two", call));
  EXPECT_EQ(store->be_seen("one", 60s, call).value(), 1);
}

TEST_P(WorkflowContract, AnEventThatIsKnownStartsNothing) {
  const auto first = start(task("device/a", "event-1"));
  end(claim().at(0));
  const auto second = start(task("device/a", "event-1"));
  EXPECT_EQ(second.what, Started::kKnown);
  EXPECT_EQ(second.id, first.id);
  EXPECT_TRUE(claim().empty());
  EXPECT_EQ(start(task("device/a", "event-2")).what, Started::kStarted);
}

TEST_P(WorkflowContract, AHintForAWaitingOneMakesItDueNow) {
  auto later = task("device/a");
  later.due_in = 5min;
  const auto first = start(later);
  EXPECT_TRUE(claim().empty());
  auto hint = task("device/a", "event-2");
  hint.merge = [](std::string_view active) { return "[" + std::string(active) + ",1]"; };
  const auto merged = start(hint);
  EXPECT_EQ(merged.what, Started::kMerged);
  EXPECT_EQ(merged.id, first.id);
  const auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].workflow.input, "[{},1]");
  EXPECT_EQ(claimed[0].workflow.generation, 1);
}

TEST_P(WorkflowContract, AHintForARunningOneMakesItRunAgainWithItsStepsForgotten) {
  const auto first = start(task("device/a"));
  const auto claimed = claim();
  ASSERT_TRUE(store->save_step(claimed.at(0).workflow, "read", "old", "", call));
  EXPECT_EQ(start(task("device/a")).what, Started::kMerged);
  Finish failed;
  failed.state = State::kFailed;
  failed.attempt = 7;
  EXPECT_EQ(end(claimed[0], failed), State::kWaiting);
  const auto again = claim();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].workflow.id, first.id);
  EXPECT_EQ(again[0].workflow.attempt, 0);
  EXPECT_TRUE(again[0].steps.empty());
  EXPECT_FALSE(again[0].workflow.ended);
  EXPECT_EQ(end(again[0]), State::kDone);
}

TEST_P(WorkflowContract, ASecondRunIsSkippedOrQueuedAsAsked) {
  const auto first = start(task("run/link"));
  auto skip = task("run/link");
  skip.on_busy = OnBusy::kSkip;
  EXPECT_EQ(start(skip).what, Started::kSkipped);
  EXPECT_EQ(start(skip).id, first.id);
  auto queue = task("run/link");
  queue.on_busy = OnBusy::kQueue;
  EXPECT_EQ(start(queue).what, Started::kQueued);
  auto third = task("run/link");
  third.on_busy = OnBusy::kQueue;
  EXPECT_EQ(start(third).what, Started::kSkipped) << "one waits its turn, no more";
  EXPECT_EQ(start(third).id, queue.id);
  auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  end(claimed[0]);
  claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].workflow.id, queue.id);
}

TEST_P(WorkflowContract, AgainAtWaitsThatLongAndKeepsItsSteps) {
  start(task("device/a"));
  const auto claimed = claim();
  ASSERT_TRUE(store->save_step(claimed.at(0).workflow, "asked", "job-1", "job asked", call));
  Finish again;
  again.state = State::kWaiting;
  again.due_in = 1min;
  again.attempt = 1;
  again.waited = 1min;
  again.status = "waiting for tags";
  EXPECT_EQ(end(claimed[0], again), State::kWaiting);
  EXPECT_TRUE(claim().empty());
  expect_about(store->next_due("external/tp", call).value(), 60s);
  advance(45s);
  EXPECT_TRUE(claim().empty());
  advance(15s);
  const auto back = claim();
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].steps.at("asked"), "job-1");
  EXPECT_EQ(back[0].workflow.attempt, 1);
  EXPECT_EQ(back[0].workflow.waited, 1min);
  EXPECT_EQ(back[0].workflow.status, "waiting for tags");
}

TEST_P(WorkflowContract, TheLongestDueIsClaimedFirstAndNoMoreThanAsked) {
  for (int i = 0; i < 5; ++i) {
    start(task("device/" + std::to_string(i)));
    advance(1s);
  }
  const auto two = claim(2);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].workflow.key, "device/0");
  EXPECT_EQ(two[1].workflow.key, "device/1");
  EXPECT_EQ(claim().size(), 3u);
  EXPECT_FALSE(store->next_due("external/tp", call).value());
}

TEST_P(WorkflowContract, WhatCanNeverWorkIsRecordedAsFailed) {
  auto bad = task("device/bad", "event-bad");
  bad.state = State::kFailed;
  bad.status = "device id with a space";
  bad.error_code = "events.bad-device-id";
  EXPECT_EQ(start(bad).what, Started::kStarted);
  EXPECT_TRUE(claim().empty());
  WorkflowFilter failed;
  failed.state = State::kFailed;
  const auto listed = store->list(failed, call).value();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].error_code, "events.bad-device-id");
  EXPECT_EQ(start(task("device/bad")).what, Started::kStarted) << "a failed one does not hold its key";
}

TEST_P(WorkflowContract, OneBadStatementOfATransactionLeavesNothing) {
  auto first = task("device/a");
  auto same_id = task("device/b");
  const auto failed = database->write(
      [&](Transaction& transaction) -> Status {
        if (auto put = transaction.run("INSERT INTO meta (name, value) VALUES ('x', 'y')", {}); !put)
          return fail(put.error());
        return fail(ErrorKind::kInvalid, "test", "no");
      },
      call);
  EXPECT_FALSE(failed);
  ASSERT_TRUE(database->read(
      [&](Transaction& transaction) -> Status {
        EXPECT_TRUE(transaction.run("SELECT 1 FROM meta WHERE name = 'x'", {}).value().empty());
        return {};
      },
      call));
  EXPECT_THROW((void)database->write([](Transaction&) -> Status { throw std::runtime_error("bug"); }, call),
               std::runtime_error);
  EXPECT_EQ(start(task("device/a")).what, Started::kStarted) << "the database goes on";
}

TEST_P(WorkflowContract, WhatWasBegunUnderAnotherNameOfItsRemoteIsMovedToTheLaneThatIsWorkedOn) {
  NewWorkflow old = task("device/a/dev-1"), other = task("device/b/dev-1"), run = task("run/a"), queued = task("run/a"),
              longer = task("run/ab");
  for (NewWorkflow* one : {&old, &other, &run, &queued, &longer}) one->lane = "external/before";
  queued.on_busy = OnBusy::kQueue;
  for (const NewWorkflow* one : {&old, &other, &run, &queued, &longer}) start(*one);
  EXPECT_EQ(store->move_to_lane("device/a/", "external/tp", call).value(), 1);
  EXPECT_EQ(store->move_to_lane("run/a", "external/tp", call).value(), 2);
  EXPECT_EQ(store->move_to_lane("run/a", "external/tp", call).value(), 0);
  EXPECT_EQ(find(queued.id).lane, "external/tp");
  EXPECT_EQ(find(other.id).lane, "external/before");
  EXPECT_EQ(find(longer.id).lane, "external/before");
  EXPECT_EQ(claim().size(), 2u);
  NewWorkflow hint = task("device/b/dev-1");
  EXPECT_EQ(start(hint).what, Started::kMerged);
  EXPECT_EQ(claim().size(), 1u) << "a newer hint brings it along";
}

TEST_P(WorkflowContract, CancelEndsAWaitingOneAndStopsARunningOneFromWaitingAgain) {
  const auto waiting = start(task("device/a"));
  ASSERT_TRUE(store->cancel(waiting.id, "by anna", call));
  EXPECT_EQ(find(waiting.id).state, State::kCancelled);
  EXPECT_EQ(find(waiting.id).status, "by anna");
  EXPECT_EQ(store->cancel(waiting.id, "again", call).error().code, "store.ended");
  EXPECT_EQ(store->cancel(WorkflowId("none"), "", call).error().code, "store.unknown");

  const auto running = start(task("device/b"));
  const auto claimed = claim();
  ASSERT_TRUE(store->cancel(running.id, "by anna", call));
  EXPECT_EQ(find(running.id).state, State::kRunning);
  Finish again;
  again.state = State::kWaiting;
  EXPECT_EQ(end(claimed.at(0), again), State::kCancelled);
  EXPECT_TRUE(find(running.id).ended);
}

TEST_P(WorkflowContract, RetryMakesAFailedOneDueUnlessANewerIsAtWork) {
  const auto started = start(task("device/a"));
  Finish failed;
  failed.state = State::kFailed;
  failed.error_code = "x";
  failed.attempt = 100;
  end(claim().at(0), failed);
  const auto newer = start(task("device/a"));
  EXPECT_EQ(store->retry(started.id, call).error().code, "store.busy-key");
  end(claim().at(0));
  EXPECT_EQ(store->retry(newer.id, call).error().code, "store.not-retryable");
  ASSERT_TRUE(store->retry(started.id, call));
  const auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].workflow.id, started.id);
  EXPECT_EQ(claimed[0].workflow.attempt, 0);
  EXPECT_EQ(claimed[0].workflow.error_code, "");
}

TEST_P(WorkflowContract, ABlockedOneKeepsItsKeyUntilApproved) {
  const auto run = start(task("run/link"));
  Finish blocked;
  blocked.state = State::kBlocked;
  blocked.due_in = 24h;
  EXPECT_EQ(end(claim().at(0), blocked), State::kBlocked);
  EXPECT_TRUE(claim().empty());
  auto skip = task("run/link");
  skip.on_busy = OnBusy::kSkip;
  EXPECT_EQ(start(skip).what, Started::kSkipped);
  ASSERT_TRUE(store->unblock(run.id, "approved", "plan-1", call));
  EXPECT_EQ(store->unblock(run.id, "approved", "plan-1", call).error().code, "store.not-blocked");
  EXPECT_EQ(claim().at(0).steps.at("approved"), "plan-1");
}

TEST_P(WorkflowContract, ABlockedOneThatNobodyApprovesExpiresAndTheNextOneStarts) {
  const auto run = start(task("run/link"));
  Finish blocked;
  blocked.state = State::kBlocked;
  blocked.due_in = 24h;
  blocked.error_code = "guard.deletes";
  end(claim().at(0), blocked);
  auto queue = task("run/link");
  queue.on_busy = OnBusy::kQueue;
  EXPECT_EQ(start(queue).what, Started::kQueued);
  advance(24h - 1min);
  EXPECT_TRUE(store->expire_blocked(call).value().empty());
  advance(1min);
  EXPECT_EQ(store->unblock(run.id, "approved", "plan-1", call).error().code, "store.expired");
  const auto expired = store->expire_blocked(call).value();
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired.at(0).id, run.id);
  EXPECT_EQ(expired.at(0).key, "run/link");
  EXPECT_EQ(expired.at(0).state, State::kCancelled);
  EXPECT_TRUE(store->expire_blocked(call).value().empty());
  const Workflow after = find(run.id);
  EXPECT_EQ(after.state, State::kCancelled);
  EXPECT_EQ(after.status, "not approved in time");
  EXPECT_EQ(after.error_code, "guard.deletes");
  EXPECT_TRUE(after.ended);
  EXPECT_EQ(store->history(run.id, call)->back().what, "expired");
  EXPECT_EQ(claim().at(0).workflow.id, queue.id);
}

TEST_P(WorkflowContract, APausedLaneRestsUntilItsTimeOrUntilResumed) {
  start(task("device/a"));
  ASSERT_TRUE(store->pause("external/tp", 1min, "401", call));
  ASSERT_TRUE(store->pause("external/tp", 2min, "401", call));
  EXPECT_TRUE(claim().empty());
  ASSERT_EQ(store->pauses(call)->size(), 1u);
  EXPECT_EQ(store->pauses(call)->front().tries, 2);
  EXPECT_TRUE(store->pauses(call)->front().holds);
  expect_about(store->next_due("external/tp", call).value(), 120s);
  advance(2min);
  EXPECT_FALSE(store->pauses(call)->front().holds) << "by the store's clock";
  auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  Finish again;
  again.state = State::kWaiting;
  end(claimed[0], again);
  ASSERT_TRUE(store->pause("external/tp", 1h, "401", call));
  EXPECT_TRUE(claim().empty());
  ASSERT_TRUE(store->resume("external/tp", call));
  EXPECT_EQ(claim().size(), 1u);
}

TEST_P(WorkflowContract, AScheduleFiresOnceHoweverManyAsk) {
  const SystemTime due = subject->clock().system_now() + 1h, next = due + 1h;
  EXPECT_FALSE(store->next_firing("link", call).value());
  const auto plan = [&](const char* cron, SystemTime at, SystemTime latest) {
    return store->plan_schedule("link", cron, at, latest, call).value();
  };
  EXPECT_EQ(plan("0 * * * *", due, due), due);
  EXPECT_EQ(store->next_firing("link", call).value(), due);
  EXPECT_EQ(plan("0 * * * *", due + 7h, SystemTime::max()), due) << "the one in force stays";
  const auto first = store->fire_schedule("link", due, next, task("run/link"), call).value();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->what, Started::kStarted);
  EXPECT_FALSE(store->fire_schedule("link", due, next, task("run/link"), call).value());
  EXPECT_EQ(plan("0 * * * *", due, due + 1h), next);
  EXPECT_EQ(plan("5 * * * *", due + 5min, due + 9h), due + 5min) << "a new expression";
  EXPECT_EQ(plan("5 * * * *", due - 1h, due), due - 1h) << "set by a clock that was far ahead";
  ASSERT_TRUE(store->keep_schedules({"another"}, call));
  EXPECT_EQ(plan("5 * * * *", due + 8h, due + 9h), due + 8h) << "it was forgotten";
}

TEST_P(WorkflowContract, ListsNewestFirstByFilterAndPage) {
  for (int i = 0; i < 25; ++i) {
    auto one = task("device/l/" + std::to_string(i));
    if (i % 5 == 0) one.kind = "run";
    start(one);
    advance(1ms);
  }
  WorkflowFilter filter;
  filter.kind = "device";
  filter.limit = 8;
  std::set<std::string> seen;
  for (;;) {
    const auto page = store->list(filter, call).value();
    for (const Workflow& workflow : page) EXPECT_TRUE(seen.insert(workflow.id.value).second);
    if (page.size() < 8) break;
    filter.before = page.back().id;
  }
  EXPECT_EQ(seen.size(), 20u);
  WorkflowFilter prefix;
  prefix.key_prefix = "device/l/1";
  EXPECT_EQ(store->list(prefix, call)->size(), 11u);
  EXPECT_EQ(store->count("run", call)->at(State::kWaiting), 5);
}

TEST_P(WorkflowContract, CountsAndListsTakeTheSameFilter) {
  start(task("device/l/a"));
  start(task("device/l/ab"));
  auto bad = task("device/m/a");
  bad.state = State::kFailed;
  bad.error_code = "events.bad";
  start(bad);
  WorkflowFilter exact;
  exact.key = "device/l/a";
  EXPECT_EQ(store->list(exact, call)->size(), 1u);
  WorkflowFilter code;
  code.error_code = "events.bad";
  EXPECT_EQ(store->count(code, call).value(), (std::map<State, int64_t>{{State::kFailed, 1}}));
  EXPECT_EQ(store->count(WorkflowFilter{}, call).value(),
            (std::map<State, int64_t>{{State::kFailed, 1}, {State::kWaiting, 2}}));
}

TEST_P(WorkflowContract, ManyAreTriedAgainPageByPageAndTheBusyOnesSkipped) {
  for (int i = 0; i < 5; ++i) {
    auto bad = task("device/l/" + std::to_string(i));
    bad.state = State::kFailed;
    start(bad);
    advance(1ms);
  }
  start(task("device/l/3"));  // a newer one is at work
  WorkflowFilter filter;
  filter.key_prefix = "device/l/";
  filter.limit = 3;
  const Bulk first = store->retry_all(filter, call).value();
  EXPECT_EQ(first.changed, 2);
  EXPECT_EQ(first.skipped, 1);
  ASSERT_FALSE(first.last.empty());
  filter.before = first.last;
  const Bulk second = store->retry_all(filter, call).value();
  EXPECT_EQ(second.changed, 2);
  EXPECT_EQ(second.skipped, 0);
  EXPECT_TRUE(second.last.empty());
  EXPECT_EQ(claim().size(), 5u);
}

TEST_P(WorkflowContract, ManyAreCancelledAndWhatHasEndedIsLeftAlone) {
  const auto done = start(task("device/l/a"));
  end(claim().at(0));
  const auto waiting = start(task("device/l/b"));
  start(task("device/m/c"));
  WorkflowFilter filter;
  filter.key_prefix = "device/l/";
  const Bulk all = store->cancel_all(filter, "by anna", call).value();
  EXPECT_EQ(all.changed, 1);
  EXPECT_EQ(all.skipped, 0);
  EXPECT_EQ(find(waiting.id).state, State::kCancelled);
  EXPECT_EQ(find(waiting.id).status, "by anna");
  EXPECT_EQ(find(done.id).state, State::kDone);
  EXPECT_EQ(claim().size(), 1u) << "the other link's";
}

TEST_P(WorkflowContract, OnlyWhatHasEndedCanBeRemoved) {
  const auto started = start(task("device/a"));
  EXPECT_EQ(store->remove(started.id, call).error().code, "store.active");
  EXPECT_EQ(store->remove(WorkflowId("none"), call).error().code, "store.unknown");
  auto claimed = claim();
  ASSERT_TRUE(store->save_step(claimed.at(0).workflow, "read", "x", "read", call));
  end(claimed[0]);
  ASSERT_TRUE(store->remove(started.id, call));
  EXPECT_FALSE(store->find(started.id, call));
  EXPECT_TRUE(store->history(started.id, call)->empty());
  EXPECT_TRUE(store->steps(started.id, call)->empty());
}

TEST_P(WorkflowContract, ANoteIsKeptInTheHistory) {
  const auto started = start(task("device/a"));
  ASSERT_TRUE(store->note(started.id, "event", "Hello", call));
  ASSERT_TRUE(store->note(started.id, "event", "again", call));
  const auto history = store->history(started.id, call).value();
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[1].detail, "again");
  EXPECT_EQ(store->note(WorkflowId("none"), "event", "", call).error().code, "store.unknown");
}

TEST_P(WorkflowContract, OldHistoryGoesAndWhatWaitsStays) {
  const auto old = start(task("device/a", "event-a"));
  Finish done;
  done.history = {{{}, "x", "y"}};
  done.ledger = LedgerEntry{"link", "a", DeviceId("a"), false, "{}"};
  end(claim().at(0), done);
  const auto waiting = start(task("device/b"));
  advance(24h);
  EXPECT_EQ(store->purge(48h, 1000, call).value(), 0);
  advance(48h);
  EXPECT_EQ(store->purge(48h, 1000, call).value(), 3);
  EXPECT_FALSE(store->find(old.id, call));
  EXPECT_TRUE(store->history(old.id, call)->empty());
  EXPECT_TRUE(store->find(waiting.id, call));
  EXPECT_FALSE(store->ledger("link", "a", call).value());
  EXPECT_EQ(start(task("device/a", "event-a")).what, Started::kStarted);
}

TEST_P(WorkflowContract, WhatWasDoneAlreadyIsRecordedWithItsHistoryAndHoldsUpNoOtherWork) {
  const auto waiting = start(task("device/a"));
  NewWorkflow done = task("device/a");
  done.state = State::kDone;
  done.history = {{{}, "IoTHubDeviceCreated", "by x"}, {{}, "more", ""}};
  EXPECT_EQ(start(done).what, Started::kStarted);
  const auto history = store->history(done.id, call).value();
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[0].what, "IoTHubDeviceCreated");
  EXPECT_EQ(history[0].detail, "by x");
  EXPECT_TRUE(find(done.id).ended);
  EXPECT_EQ(find(waiting.id).generation, 0);
  EXPECT_EQ(claim().size(), 1u);
}

TEST_P(WorkflowContract, AKeptAnswerIsGivenAgainForADayAndToTheSameRequestOnly) {
  AnswerStore answers(*database);
  const auto admit = [&](std::string_view request, std::string_view owner) {
    return answers.admit("key", request, owner, 60s, call).value();
  };
  EXPECT_EQ(admit("r", "one").what, Admission::kOurs);
  EXPECT_EQ(admit("r", "two").what, Admission::kAtWork);
  EXPECT_EQ(admit("other", "two").what, Admission::kOther);
  ASSERT_TRUE(answers.keep("key", "one", {201, R"({"A":"b"})", "body"}, call));
  const Admission again = admit("r", "two");
  EXPECT_EQ(again.what, Admission::kAnswered);
  EXPECT_EQ(again.answer.status, 201);
  EXPECT_EQ(again.answer.head, R"({"A":"b"})");
  EXPECT_EQ(again.answer.body, "body");
  EXPECT_EQ(admit("other", "two").what, Admission::kOther);
  advance(23h);
  EXPECT_EQ(admit("r", "two").what, Admission::kAnswered);
  advance(2h);
  EXPECT_EQ(admit("other", "three").what, Admission::kOurs);
}

TEST_P(WorkflowContract, AnAttemptThatGaveNoAnswerInTimeIsTakenOverAndCannotAnswerAnyMore) {
  AnswerStore answers(*database);
  const auto admit = [&](std::string_view request, std::string_view owner) {
    return answers.admit("key", request, owner, 60s, call).value().what;
  };
  EXPECT_EQ(admit("r", "dead"), Admission::kOurs);
  advance(90s);
  EXPECT_EQ(admit("other", "x"), Admission::kOther);
  EXPECT_EQ(admit("r", "alive"), Admission::kOurs);
  ASSERT_TRUE(answers.keep("key", "dead", {500, "{}", "late"}, call));
  ASSERT_TRUE(answers.forget("key", "dead", call));
  EXPECT_EQ(admit("r", "third"), Admission::kAtWork);
  ASSERT_TRUE(answers.forget("key", "alive", call));
  EXPECT_EQ(admit("other", "third"), Admission::kOurs) << "given back, it may be used for anything";
  ASSERT_TRUE(answers.keep("key", "third", {200, "{}", ""}, call));
  advance(25h);
  EXPECT_EQ(store->purge(48h, 1000, call).value(), 1);
}

TEST_P(WorkflowContract, ManyAtOnceStartJoinAndClaimEachWorkflowOnce) {
  constexpr int kThreads = 8, kEach = 50;
  std::atomic<int> started{0}, joined{0}, ended{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          NewWorkflow one;
          one.id = WorkflowId(std::to_string(t) + "-" + std::to_string(i));
          one.kind = "device";
          one.lane = "external/tp";
          one.key = "device/" + std::to_string(i % 10);
          one.input = "{}";
          const auto what = store->start({one}, call).value().at(0).what;
          (what == Started::kStarted ? started : joined)++;
          const auto mine = store->claim("external/tp", "t" + std::to_string(t), 3, 30s, call).value();
          for (const Claimed& claimed : mine)
            if (store->finish(claimed.workflow, {}, call).value() == State::kDone) ended++;
        }
      });
  }
  for (const Claimed& claimed : claim(1000))
    if (end(claimed) == State::kDone) ended++;
  for (const Claimed& claimed : claim(1000)) {
    (void)claimed;
    ADD_FAILURE() << "nothing may be left";
  }
  EXPECT_EQ(started + joined, kThreads * kEach);
  EXPECT_EQ(started, ended) << "each that was started ended exactly once";
}

TEST_P(WorkflowContract, CancellingAQueuedOneMakesItsPlaceFree) {
  start(task("run/link"));
  auto second = task("run/link"), third = task("run/link");
  second.on_busy = third.on_busy = OnBusy::kQueue;
  start(second);
  ASSERT_TRUE(store->cancel(second.id, "by anna", call));
  EXPECT_EQ(start(third).what, Started::kQueued);
  auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  end(claimed[0]);
  claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].workflow.id, third.id);
}

TEST_P(WorkflowContract, TextComesBackAsItWas) {
  auto one = task("device/\xC3\xA9");
  one.input = std::string(100'000, 'x') + "\xF0\x9F\x98\x80 ' \" \\ \n $1 {}";
  const auto started = start(one);
  EXPECT_EQ(find(started.id).input, one.input);
  EXPECT_EQ(find(started.id).key, one.key);
}

TEST_P(WorkflowContract, TextThatIsNoTextIsKeptAsFarAsItGoes) {
  auto one = task("device/a", std::string("event\0\xFF", 7));
  one.status = "cut \xC3";
  const auto started = start(one);
  EXPECT_TRUE(find(started.id).status.starts_with("cut "));
  EXPECT_EQ(start(one).what, Started::kKnown);
}

TEST_P(WorkflowContract, KeysAreOrderedByTheirBytes) {
  for (const char* key : {"device/l/a", "device/l/B", "device/l/_", "device/L/a", "device/l-a"}) start(task(key));
  WorkflowFilter prefix;
  prefix.key_prefix = "device/l/";
  EXPECT_EQ(store->list(prefix, call)->size(), 3u);
}

TEST_P(WorkflowContract, AWorkflowKeepsTheTraceOfWhoAskedForItAndTakesThatOfANewerHint) {
  const std::string first = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const std::string second = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";
  WorkflowId id;
  {
    const obs::TraceScope asking(*obs::parse_traceparent(first));
    id = start(task("device/a")).id;
  }
  EXPECT_EQ(find(id).trace, first);
  EXPECT_EQ(start(task("device/a")).what, Started::kMerged);
  EXPECT_EQ(find(id).trace, first) << "a hint without a trace forgets none";
  {
    const obs::TraceScope asking(*obs::parse_traceparent(second));
    start(task("device/a"));
  }
  const auto claimed = claim();
  ASSERT_EQ(claimed.size(), 1u);
  EXPECT_EQ(claimed[0].workflow.trace, second);
}

TEST_P(WorkflowContract, LanesAreCountedByStateAndTellHowLongTheirFirstHasBeenDue) {
  const auto count = [&] {
    std::map<std::pair<std::string, State>, LaneCount> out;
    const auto counted = count_lanes(*database, call).value();
    for (const LaneCount& one : counted) out[{one.lane, one.state}] = one;
    return out;
  };
  EXPECT_TRUE(count().empty());
  for (const char* key : {"device/a", "device/b", "device/c"}) start(task(key));
  NewWorkflow later = task("device/later");
  later.due_in = 1h;
  later.lane = "run/hub";
  start(later);
  NewWorkflow bad = task("device/bad");
  bad.state = State::kFailed;
  start(bad);
  ASSERT_EQ(claim(1).size(), 1u);
  advance(40s);
  auto counts = count();
  EXPECT_EQ((counts[{"external/tp", State::kWaiting}].count), 2);
  EXPECT_GE((counts[{"external/tp", State::kWaiting}].overdue), 40s);
  EXPECT_LT((counts[{"external/tp", State::kWaiting}].overdue), 60s);
  EXPECT_EQ((counts[{"external/tp", State::kRunning}].count), 1);
  EXPECT_EQ((counts[{"external/tp", State::kFailed}].count), 1);
  EXPECT_EQ((counts[{"run/hub", State::kWaiting}].count), 1);
  EXPECT_EQ((counts[{"run/hub", State::kWaiting}].overdue), 0ms) << "not due yet";
  EXPECT_EQ(counts.size(), 4u);
}

}  // namespace twinstep::store
