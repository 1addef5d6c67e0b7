#include "twinstep/workflows/keyed_locks.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

namespace twinstep::workflows {
namespace {

using namespace std::chrono_literals;

TEST(KeyedLocks, ManyWhoTakeTheSameKeysInAnyOrderNeverHoldOneTogetherAndAllGetTheirTurn) {
  KeyedLocks locks;
  int a = 0, b = 0;  // guarded by the keys alone
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 200; ++i) {
          const auto held =
              locks.take(t % 2 ? std::vector<std::string>{"a", "b"} : std::vector<std::string>{"b", "a"}, {});
          ++a;
          ++b;
        }
      });
  }
  EXPECT_EQ(a, 1600);
  EXPECT_EQ(b, 1600);
}

TEST(KeyedLocks, OtherKeysWaitForNobodyAndAWaitEndsAtItsDeadline) {
  KeyedLocks locks;
  const auto held = locks.take({"a"}, {});
  EXPECT_TRUE(locks.take({"b"}, {}));
  const auto late = locks.take({"b", "a"}, {std::chrono::steady_clock::now() + 1ms, {}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, "facade.busy");
  EXPECT_TRUE(locks.take({"b"}, {})) << "none of the keys was kept";
}

}  // namespace
}  // namespace twinstep::workflows
