#pragma once

#include <gtest/gtest.h>

#include "twinstep/store/notice_store.h"
#include "twinstep/store/store_subject.h"

/// The contract of NoticeStore. A test program includes this once and names the kinds of databases with
/// INSTANTIATE_TEST_SUITE_P.
namespace twinstep::store {

class NoticeContract : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    subject = GetParam().make();
    database = subject->open();
    notices.emplace(*database);
  }
  void advance(std::chrono::nanoseconds span) { subject->advance(*database, span); }
  std::vector<NoticeDue> due() { return notices->claim(10, kLease, {}).value(); }
  /// "key@channel" with "!" when it is over.
  std::vector<std::string> names(const std::vector<NoticeDue>& list) {
    std::vector<std::string> out;
    for (const NoticeDue& one : list) out.push_back(one.key + "@" + one.channel + (one.resolved ? "!" : ""));
    return out;
  }
  using Names = std::vector<std::string>;

  static constexpr Millis kLease{60'000};
  static constexpr Millis kDay{24ll * 3'600'000};
  std::unique_ptr<Subject> subject;
  std::unique_ptr<Database> database;
  std::optional<NoticeStore> notices;
};

TEST_P(NoticeContract, AConditionIsSaidOnceToEachChannelHoweverOftenItIsSeen) {
  ASSERT_TRUE(notices->raise("alarm/x", {"a", "b"}, "{}", {}));
  ASSERT_TRUE(notices->raise("alarm/x", {"a", "b"}, "{}", {}));
  auto first = due();
  EXPECT_EQ(names(first), (Names{"alarm/x@a", "alarm/x@b"}));
  EXPECT_EQ(names(due()), Names{}) << "another replica finds nothing while the first one sends";
  for (const auto& one : first) ASSERT_TRUE(notices->said(one, kDay, {}));
  ASSERT_TRUE(notices->raise("alarm/x", {"a", "b"}, "{}", {}));
  advance(std::chrono::hours{23});
  EXPECT_EQ(names(due()), Names{});
  advance(std::chrono::hours{2});
  EXPECT_EQ(names(due()), (Names{"alarm/x@a", "alarm/x@b"})) << "a reminder";
}

TEST_P(NoticeContract, WhoDiesWhileSendingLeavesItToAnother) {
  ASSERT_TRUE(notices->raise("alarm/x", {"a"}, "{}", {}));
  EXPECT_EQ(due().size(), 1u);
  advance(kLease + std::chrono::seconds{1});
  const auto second = due();
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].tries, 2);
}

TEST_P(NoticeContract, WhatFailsIsTriedAgainAfterItsWait) {
  ASSERT_TRUE(notices->raise("alarm/x", {"a"}, "{}", {}));
  ASSERT_TRUE(notices->again(due().at(0), Millis{5'000}, {}));
  EXPECT_EQ(names(due()), Names{});
  advance(std::chrono::seconds{6});
  EXPECT_EQ(names(due()), Names{"alarm/x@a"});
}

TEST_P(NoticeContract, TheEndIsSaidWhereTheBeginningWasAndThenItIsForgotten) {
  ASSERT_TRUE(notices->raise("alarm/x", {"a"}, "{}", {}));
  ASSERT_TRUE(notices->said(due().at(0), kDay, {}));
  ASSERT_TRUE(notices->raise("alarm/x", {"late"}, "{}", {}));
  ASSERT_TRUE(notices->resolve("alarm/x", R"({"over":1})", {}));
  const auto over = due();
  ASSERT_EQ(names(over), Names{"alarm/x@a!"}) << "nobody was told in the other one";
  EXPECT_EQ(over[0].body, R"({"over":1})");
  ASSERT_TRUE(notices->said(over[0], kDay, {}));
  advance(std::chrono::hours{48});
  EXPECT_EQ(names(due()), Names{});
  EXPECT_TRUE(notices->open({}).value().empty());
}

TEST_P(NoticeContract, AConditionThatEndsWhileItIsBeingSaidIsSaidToBeOver) {
  ASSERT_TRUE(notices->raise("alarm/x", {"a"}, "{}", {}));
  const auto sending = due().at(0);
  ASSERT_TRUE(notices->resolve("alarm/x", "{}", {}));
  ASSERT_TRUE(notices->said(sending, kDay, {}));
  EXPECT_EQ(names(due()), Names{"alarm/x@a!"});
}

TEST_P(NoticeContract, OneThatComesBackBeforeItsEndWasSaidIsSaidAnewAndEndsAgain) {
  ASSERT_TRUE(notices->raise("alarm/x", {"a"}, "{}", {}));
  ASSERT_TRUE(notices->said(due().at(0), kDay, {}));
  ASSERT_TRUE(notices->resolve("alarm/x", "{}", {}));
  ASSERT_TRUE(notices->raise("alarm/x", {"a"}, "{}", {}));
  ASSERT_TRUE(notices->resolve("alarm/x", "{}", {}));
  EXPECT_EQ(names(due()), Names{"alarm/x@a!"});
}

TEST_P(NoticeContract, OpenConditionsAreListedWithTheirAge) {
  ASSERT_TRUE(notices->raise("alarm/x", {"a", "b"}, "{}", {}));
  advance(std::chrono::seconds{90});
  ASSERT_TRUE(notices->raise("blocked/r", {"a"}, "{}", {}));
  const auto open = notices->open({}).value();
  ASSERT_EQ(open.size(), 2u);
  EXPECT_EQ(open[0].key, "alarm/x");
  EXPECT_GE(open[0].age, Millis{90'000});
  EXPECT_LT(open[1].age, Millis{60'000});
}

TEST_P(NoticeContract, TheBacklogIsWhatIsDueAndNotBegun) {
  WorkflowStore workflows(*database);
  std::vector<NewWorkflow> tasks;
  for (int i = 0; i < 5; ++i) {
    NewWorkflow one;
    one.id = WorkflowId("t" + std::to_string(i));
    one.kind = i == 4 ? "run" : "device";
    one.lane = i == 4 ? "run/hub" : i == 3 ? "external/b" : "external/a";
    one.key = "k" + std::to_string(i);
    one.due_in = i == 2 ? Millis{3'600'000} : Millis{0};
    tasks.push_back(one);
  }
  ASSERT_TRUE(workflows.start(tasks, {}));
  advance(std::chrono::seconds{30});
  const Backlog found = notices->backlog("external/a", {}).value();
  EXPECT_EQ(found.tasks, 2);
  EXPECT_GE(found.oldest, Millis{30'000});
  EXPECT_EQ(notices->backlog("external/b", {}).value().tasks, 1);
  EXPECT_EQ(notices->backlog("external/none", {}).value().tasks, 0);
  EXPECT_TRUE(notices->blocked(10, {}).value().empty());
}

}  // namespace twinstep::store
