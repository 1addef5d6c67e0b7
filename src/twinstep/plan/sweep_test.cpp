#include "twinstep/plan/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "twinstep/plan/fake_mapper.h"

namespace twinstep::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A hub, an external list and a ledger, and what comes of sweeping them.
class SweepTest : public testing::Test {
 protected:
  SweepTest() {
    rules.link = "lora";
    rules.external = "thingpark";
    rules.tags = {{{"name"}, false, false}, {{"key"}, true, false}};
  }

  void hub_device(std::string_view id, std::string_view tags = {}, std::string_view more = {}) {
    hub += fmt::format(R"({{"id":"{}"{}{},"tags":{{{}}}}})"
                       "\n",
                       id, more.empty() ? "" : ",", more, tags);
  }
  void item(std::string_view id, std::string_view tags = {}) {
    items.push_back(fmt::format(R"({{"id":"{}","tags":{{{}}}}})", id, tags));
  }
  LedgerLook look() {
    return [this](const std::vector<std::string>& keys) -> Result<std::vector<DeviceId>> {
      most_at_once = std::max(most_at_once, keys.size());
      std::vector<DeviceId> out;
      for (const std::string& key : keys) out.emplace_back(ledger.contains(key) ? ledger[key] : "");
      return out;
    };
  }

  void run() {
    FakeMapper mapper(rules.tags);
    HubSnapshotBuilder hub_builder(rules, options);
    ExternalSnapshotBuilder external_builder(rules, mapper, options);
    ASSERT_TRUE(hub_builder.feed(hub));
    if (!hub_complete) hub_builder.incomplete("page 3 answered 404");
    uint64_t index = 0;
    for (const std::string& one : items) ASSERT_TRUE(external_builder.add(one, {1, ++index}));
    left.emplace(std::move(hub_builder.finish().value()));
    right.emplace(std::move(external_builder.finish({external_complete, "page 2 failed", index, 1, {}}).value()));
    found.emplace(std::move(sweep(*left, *right, rules, options, look(), {}).value()));
    counts = found->counts();
    differences = after("");
  }
  std::vector<Difference> after(std::string_view key) {
    std::vector<Difference> out;
    EXPECT_TRUE(found->differences(key,
                                   [&](const Difference& difference) -> Status {
                                     out.push_back(difference);
                                     return {};
                                   },
                                   {}));
    return out;
  }
  std::string problems() const {
    std::string out;
    for (const Problem& p : found->problems()) out += fmt::format("{} {} ({}): {}\n", p.side, p.id, p.place, p.text);
    return out;
  }

  Rules rules;
  SnapshotOptions options;
  std::string hub;
  std::vector<std::string> items;
  std::map<std::string, std::string> ledger;
  size_t most_at_once = 0;
  bool hub_complete = true, external_complete = true;
  std::optional<Snapshot> left, right;
  std::optional<Sweep> found;
  SweepCounts counts;
  std::vector<Difference> differences;
};

TEST_F(SweepTest, ADeviceOfTheHubThatIsNotOutsideIsMissingThereWhoeverOwnsIt) {
  hub_device("Dev-1", R"("twinstep":{"link":"another"})");
  hub_device("b", "", R"("status":"disabled")");
  run();
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].kind, Difference::Kind::kMissingOutside);
  EXPECT_EQ(differences[0].device.value, "Dev-1");
  EXPECT_EQ(differences[0].reason, "in the hub, not in thingpark");
  EXPECT_EQ(counts.missing_outside, 2u);
  EXPECT_EQ(counts.hub_devices, 2u);
}

TEST_F(SweepTest, SpellingsOfOneDevEuiAreOneDevice) {
  hub_device("00-11-22-33-44-55-66-aa");
  item("00112233445566AA");
  item("0011:2233:4455:66bb");
  run();
  EXPECT_EQ(counts.in_step, 1u);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].kind, Difference::Kind::kOrphan);
  EXPECT_EQ(differences[0].key, "00112233445566BB");
  EXPECT_EQ(differences[0].device.value, "0011:2233:4455:66bb");
  EXPECT_FALSE(differences[0].owned);
}

TEST_F(SweepTest, AnOrphanThatTwinstepMadeIsNamedAsTheHubSpelledIt) {
  hub_device("here");
  item("00112233445566BB");
  item("other");
  ledger["00112233445566BB"] = "00-11-22-33-44-55-66-bb";
  run();
  ASSERT_EQ(differences.size(), 3u);
  EXPECT_TRUE(differences[0].owned);
  EXPECT_EQ(differences[0].device.value, "00-11-22-33-44-55-66-bb");
  EXPECT_EQ(differences[0].reason, "in thingpark, not in the hub; made by twinstep");
  EXPECT_FALSE(differences[2].owned);
  EXPECT_EQ(differences[2].reason, "in thingpark, not in the hub; not made by twinstep");
  EXPECT_EQ(counts.orphans, 2u);
  EXPECT_EQ(counts.orphans_owned, 1u);
  EXPECT_THAT(found->why_withheld(), IsEmpty());
}

TEST_F(SweepTest, ValuesDifferOnlyWhereBothSidesHaveOneAndSecretsNever) {
  hub_device("a", R"("name":"A","key":"old")");
  hub_device("b", R"("name":"B")");
  hub_device("c", R"("name":"C")");
  item("a", R"("name":"A","key":"new")");
  item("b", R"("name":"X")");
  item("c");
  run();
  EXPECT_EQ(counts.in_step, 2u);
  EXPECT_EQ(counts.differing, 1u);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].kind, Difference::Kind::kDiffering);
  EXPECT_EQ(differences[0].reason, R"(tags.name: "B" in the hub, "X" outside)");
}

TEST_F(SweepTest, WhatTheLinkDoesNotIncludeIsNeitherMissingNorAnOrphan) {
  hub_device("edge", "", R"("capabilities":{"iotEdge":true})");
  hub_device("cert", "", R"("authentication":{"type":"selfSigned"})");
  hub_device("parent");
  hub += R"({"id":"parent","moduleId":"m"})"
         "\n"
         R"({"id":"unseen","moduleId":"m"})"
         "\n";
  item("edge");
  item("unseen");
  ledger["unseen"] = "unseen";
  run();
  EXPECT_THAT(differences, IsEmpty());
  EXPECT_EQ(counts.excluded, 4u);
  rules.include_edge = rules.include_certificates = rules.include_modules = true;
  run();
  EXPECT_EQ(counts.in_step, 1u);
  EXPECT_EQ(counts.missing_outside, 2u);
}

TEST_F(SweepTest, TwoDevicesOfOneIdBlockThatIdOnly) {
  hub_device("00112233445566AA");
  hub_device("00112233445566aa");
  hub_device("z");
  item("00-11-22-33-44-55-66-BB");
  item("00112233445566bb");
  ledger["00112233445566BB"] = "x";
  run();
  EXPECT_EQ(counts.conflicts, 2u);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].device.value, "z");
  EXPECT_THAT(problems(), HasSubstr("2 devices of the hub have this id"));
  EXPECT_THAT(problems(), HasSubstr("2 devices of thingpark have this id"));
  EXPECT_THAT(found->why_withheld(), IsEmpty());
}

TEST_F(SweepTest, WhatCannotBeReadBlocksItsIdAndWithoutAnIdEveryDelete) {
  hub_device("z");
  hub += R"({"id":"torn","tags":[)"
         "\n";
  item("torn");
  items.push_back(R"({"id":"bad","tags":[)");
  run();
  EXPECT_EQ(counts.invalid, 2u);
  EXPECT_THAT(found->why_withheld(), IsEmpty());
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].device.value, "z");

  hub += R"({"tags":{}})"
         "\n";
  run();
  EXPECT_EQ(counts.invalid, 3u);
  EXPECT_THAT(found->why_withheld(), ElementsAre(HasSubstr("an item of the list of the hub could not be read")));
}

TEST_F(SweepTest, AListThatIsNotProvenWithholdsDeletesAndSoDoesAnEmptyHub) {
  item("x");
  hub_complete = external_complete = false;
  run();
  EXPECT_TRUE(found->hub_empty());
  EXPECT_THAT(found->why_withheld(),
              ElementsAre("the list of the hub is not complete: page 3 answered 404",
                          "the list of thingpark is not complete: page 2 failed", "the list of the hub is empty"));
}

TEST_F(SweepTest, AnItemThatIsListedTwiceWithholdsDeletes) {
  hub_device("z");
  hub_device("z");
  run();
  EXPECT_THAT(found->why_withheld(), ElementsAre(HasSubstr("holds the same item twice")));
}

TEST_F(SweepTest, AnOrphanThatNoHubCouldHoldIsAProblemAndNoTask) {
  hub_device("z");
  item("z");
  item("not legal");
  run();
  EXPECT_EQ(counts.orphans, 1u);
  EXPECT_THAT(differences, IsEmpty());
  EXPECT_THAT(problems(), HasSubstr("IoT Hub does not accept this id"));
}

TEST_F(SweepTest, DifferencesGoOnAfterAnyKeyAndTheLedgerIsAskedInPieces) {
  for (int i = 0; i < 2500; ++i) {
    item(fmt::format("orphan-{:04}", i));
    if (i % 3 == 0) ledger[fmt::format("orphan-{:04}", i)] = fmt::format("Orphan-{:04}", i);
    if (i % 2 == 0) hub_device(fmt::format("orphan-{:04}-b", i));
  }
  run();
  EXPECT_LE(most_at_once, 1000u);
  EXPECT_EQ(counts.orphans, 2500u);
  EXPECT_EQ(counts.orphans_owned, ledger.size());
  ASSERT_EQ(differences.size(), 3750u);
  EXPECT_TRUE(std::is_sorted(differences.begin(), differences.end(),
                             [](const Difference& a, const Difference& b) { return a.key < b.key; }));
  for (const Difference& one : differences)
    EXPECT_EQ(one.owned, one.kind == Difference::Kind::kOrphan && ledger.contains(one.key)) << one.key;
  const auto rest = after(differences[3000].key);
  ASSERT_EQ(rest.size(), 749u);
  EXPECT_EQ(rest.front().key, differences[3001].key);
}

TEST_F(SweepTest, AnErrorOfTheLedgerIsTheSweepsErrorAndAStopEndsIt) {
  hub_device("z");
  item("x");
  run();
  const auto failed = sweep(*left, *right, rules, options,
                            [](const auto&) -> Result<std::vector<DeviceId>> {
                              return fail(ErrorKind::kUnavailable, "store.away", "the database is away");
                            },
                            {});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, "store.away");
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = sweep(*left, *right, rules, options, look(), {SteadyTime::max(), stop.get_token()});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::kCancelled);
}

TEST(KeySetTest, ForgetsTheOrderAndTakesKeysOutAgain) {
  KeySet a, b;
  for (const char* key : {"x", "y", "z"}) a.add(key);
  for (const char* key : {"z", "w", "x", "y"}) b.add(key);
  EXPECT_NE(a.digest(), b.digest());
  b.remove("w");
  EXPECT_EQ(a.digest(), b.digest());
  EXPECT_EQ(b.size(), 3u);
  for (const char* key : {"y", "x", "z"}) b.remove(key);
  EXPECT_EQ(b.digest(), KeySet().digest());
}

}  // namespace
}  // namespace twinstep::plan
