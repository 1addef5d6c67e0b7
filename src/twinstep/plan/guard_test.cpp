#include "twinstep/plan/guard.h"

#include <gtest/gtest.h>

namespace twinstep::plan {
namespace {

Counts counts_of(uint64_t owned, uint64_t deletes, uint64_t updates = 0) {
  Counts counts;
  counts.owned = owned;
  counts.deletes = deletes;
  counts.updates = updates;
  counts.external_devices = owned;
  return counts;
}

TEST(Guard, AllowsExactlyTheShareOfOwnedDevicesAndNotOneMore) {
  EXPECT_TRUE(check_limits(counts_of(30, 3), {}, {}).ok());
  const Verdict verdict = check_limits(counts_of(30, 4), {}, {});
  ASSERT_EQ(verdict.tripped.size(), 1u);
  EXPECT_EQ(verdict.tripped[0].rule, "deletes");
  EXPECT_EQ(verdict.tripped[0].found, 4u);
  EXPECT_EQ(verdict.tripped[0].limit, 3u);
  EXPECT_FALSE(verdict.permit.deletes);
  EXPECT_TRUE(verdict.permit.updates);
}

TEST(Guard, AppliesPercentagesFromTenOwnedDevicesUpOnly) {
  EXPECT_TRUE(check_limits(counts_of(9, 9, 9), {}, {}).ok());
  EXPECT_FALSE(check_limits(counts_of(10, 2), {}, {}).ok());
}

TEST(Guard, CountsDisablesAsDeletesAndAdoptsNotAsUpdates) {
  Counts counts = counts_of(20, 1);
  counts.disables = 2;
  counts.adopts = 20;
  const Verdict verdict = check_limits(counts, {}, {});
  ASSERT_EQ(verdict.tripped.size(), 1u);
  EXPECT_EQ(verdict.tripped[0].found, 3u);
  EXPECT_TRUE(verdict.permit.updates);
}

TEST(Guard, AppliesAnAbsoluteNumberToSmallRegistriesToo) {
  config::Limits limits;
  limits.updates = {{}, 2};
  EXPECT_TRUE(check_limits(counts_of(5, 0, 2), limits, {}).ok());
  EXPECT_FALSE(check_limits(counts_of(5, 0, 3), limits, {}).permit.updates);
}

TEST(Guard, StopsDeletesWhenTheMasterListShrankTooMuch) {
  const LastRun last{100, 100, {}};
  Counts counts = counts_of(100, 1);
  counts.external_devices = 80;
  EXPECT_TRUE(check_limits(counts, {}, last).ok());
  counts.external_devices = 79;
  const Verdict verdict = check_limits(counts, {}, last);
  ASSERT_EQ(verdict.tripped.size(), 1u);
  EXPECT_EQ(verdict.tripped[0].rule, "shrink");
  EXPECT_EQ(verdict.tripped[0].limit, 80u);
  EXPECT_FALSE(verdict.permit.deletes);
}

TEST(Guard, PermitsNothingOnAnEmptyListAndNoDeletesOnAnUnprovenOne) {
  const Verdict empty = check_limits(Counts{}, {}, {}, {}, true);
  EXPECT_FALSE(empty.permit.deletes);
  EXPECT_FALSE(empty.permit.updates);
  const Verdict unproven = check_limits(counts_of(20, 0, 1), {}, {}, {"page 3 answered 404"});
  ASSERT_FALSE(unproven.ok());
  EXPECT_NE(unproven.tripped[0].text.find("page 3 answered 404"), std::string::npos);
  EXPECT_FALSE(unproven.permit.deletes);
  EXPECT_TRUE(unproven.permit.updates);
}

TEST(Guard, TakesTheStricterOfShareAndNumber) {
  config::Limits limits;
  limits.deletes = {50.0, 3};
  EXPECT_EQ(check_limits(counts_of(100, 4), limits, {}).tripped.at(0).limit, 3u);
  limits.deletes = {2.0, 30};
  EXPECT_EQ(check_limits(counts_of(100, 4), limits, {}).tripped.at(0).limit, 2u);
  limits.deletes = {{}, {}};
  EXPECT_TRUE(check_limits(counts_of(100, 100), limits, {}).ok());
}

TEST(Guard, AllowsNoDeleteAtAllWithALimitOfZero) {
  config::Limits limits;
  limits.deletes = {{}, 0};
  EXPECT_TRUE(check_limits(counts_of(5, 0), limits, {}).ok());
  EXPECT_FALSE(check_limits(counts_of(5, 1), limits, {}).permit.deletes);
}

TEST(Guard, LetsTheMasterListGrowAndNamesEveryLimitThatIsExceeded) {
  Counts grown = counts_of(100, 0);
  grown.external_devices = 1000;
  EXPECT_TRUE(check_limits(grown, {}, LastRun{100, 100, {}}).ok());
  Counts bad = counts_of(100, 60, 40);
  bad.external_devices = 40;
  const Verdict verdict = check_limits(bad, {}, LastRun{100, 100, {}});
  ASSERT_EQ(verdict.tripped.size(), 3u);
  EXPECT_EQ(verdict.tripped[0].rule, "deletes");
  EXPECT_EQ(verdict.tripped[1].rule, "updates");
  EXPECT_EQ(verdict.tripped[2].rule, "shrink");
  EXPECT_FALSE(verdict.permit.updates);
}

TEST(SweepGuard, MeasuresOrphansByWhatTwinstepMadeOutside) {
  EXPECT_TRUE(check_sweep_limits({3, 30, 100}, {}, {}, {}).permit.deletes);
  const Verdict verdict = check_sweep_limits({4, 30, 100}, {}, {}, {});
  ASSERT_EQ(verdict.tripped.size(), 1u);
  EXPECT_EQ(verdict.tripped[0].rule, "deletes");
  EXPECT_EQ(verdict.tripped[0].found, 4u);
  EXPECT_EQ(verdict.tripped[0].limit, 3u);
  EXPECT_FALSE(verdict.permit.deletes);
  EXPECT_TRUE(check_sweep_limits({9, 9, 100}, {}, {}, {}).ok()) << "percentages count from ten devices up";
}

TEST(SweepGuard, LetsTheHubShrinkOnlySoFarWhenOrphansWouldGo) {
  const LastRun last{100, 100, {}};
  EXPECT_TRUE(check_sweep_limits({1, 100, 80}, {}, last, {}).ok());
  const Verdict verdict = check_sweep_limits({1, 100, 79}, {}, last, {});
  ASSERT_EQ(verdict.tripped.size(), 1u);
  EXPECT_EQ(verdict.tripped[0].rule, "shrink");
  EXPECT_FALSE(verdict.permit.deletes);
  EXPECT_NE(verdict.tripped[0].text.find("the hub's list has 79 devices"), std::string::npos);
  EXPECT_TRUE(check_sweep_limits({0, 100, 79}, {}, last, {}).ok()) << "nothing would be deleted";
}

TEST(SweepGuard, WithholdsDeletesWithoutProofAndNamesAnEmptyHub) {
  const Verdict unproven = check_sweep_limits({1, 100, 100}, {}, {}, {"page 3 answered 404"});
  ASSERT_EQ(unproven.tripped.size(), 1u);
  EXPECT_EQ(unproven.tripped[0].rule, "withheld");
  EXPECT_NE(unproven.tripped[0].text.find("page 3 answered 404"), std::string::npos);
  EXPECT_FALSE(unproven.permit.deletes);
  const Verdict empty = check_sweep_limits({0, 100, 0}, {}, {}, {});
  ASSERT_EQ(empty.tripped.size(), 1u);
  EXPECT_EQ(empty.tripped[0].rule, "empty");
  EXPECT_FALSE(empty.permit.deletes);
}

}  // namespace
}  // namespace twinstep::plan
