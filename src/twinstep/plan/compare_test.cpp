#include "twinstep/plan/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/plan/fake_mapper.h"

namespace twinstep::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// A hub and an external list as texts, and what comes of comparing them.
class CompareTest : public testing::Test {
 protected:
  CompareTest() {
    rules.link = "lora";
    rules.external = "thingpark";
    rules.deletes = config::Deletes::kDelete;
    rules.tags = {{{"name"}, false, false}, {{"lorawan", "profile"}, false, false}, {{"key"}, true, false}};
  }

  /// `more` are members of the export line; `tags` those of the tags object.
  void hub_device(std::string_view id, std::string_view tags = {}, std::string_view more = {}) {
    hub += fmt::format(R"({{"id":"{}","eTag":"E-{}","twinETag":"T-{}"{}{},"tags":{{{}}}}})"
                       "\n",
                       id, id, id, more.empty() ? "" : ",", more, tags);
  }
  void owned_device(std::string_view id, std::string_view tags = {}, std::string_view more = {}) {
    hub_device(id, fmt::format(R"("twinstep":{{"link":"lora"}}{}{})", tags.empty() ? "" : ",", tags), more);
  }
  void item(std::string_view id, std::string_view tags = {}) {
    items.push_back(fmt::format(R"({{"id":"{}","tags":{{{}}}}})", id, tags));
  }

  void run() {
    FakeMapper mapper(rules.tags);
    HubSnapshotBuilder hub_builder(rules, options);
    ExternalSnapshotBuilder external_builder(rules, mapper, options);
    ASSERT_TRUE(hub_builder.feed(hub));
    uint64_t index = 0;
    for (const std::string& one : items) ASSERT_TRUE(external_builder.add(one, {1, ++index}));
    left.emplace(std::move(hub_builder.finish().value()));
    right.emplace(std::move(external_builder.finish({proof_complete, "page 2 failed", index, 1, {}}).value()));
    comparison.emplace(std::move(compare(*left, *right, rules, options, {}).value()));
    counts = comparison->counts();
    changes.clear();
    ASSERT_TRUE(comparison->changes({},
                                    [this](const Change& change) -> Status {
                                      changes.push_back(change);
                                      return {};
                                    },
                                    {}));
    EXPECT_EQ(changes.size(), counts.changes());
  }

  std::string problem_texts() const {
    std::string out;
    for (const Problem& p : comparison->problems()) {
      out += fmt::format("{} {} {} ({}): {}\n", to_string_of(p.kind), p.side, p.id, p.place, p.text);
    }
    return out;
  }
  static std::string_view to_string_of(Problem::Kind kind) {
    return kind == Problem::Kind::kBroken ? "broken" : kind == Problem::Kind::kConflict ? "conflict" : "invalid";
  }

  Rules rules;
  SnapshotOptions options;
  std::string hub;
  std::vector<std::string> items;
  bool proof_complete = true;
  std::optional<Snapshot> left, right;
  std::optional<Comparison> comparison;
  Counts counts;
  std::vector<Change> changes;
};

TEST_F(CompareTest, ANewDeviceIsCreatedWithItsTagsAndTheMark) {
  item("new-1", R"("name":"A","lorawan":{"profile":5},"key":"k")");
  run();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].op, Op::kCreate);
  EXPECT_EQ(changes[0].id.value, "new-1");
  EXPECT_EQ(changes[0].tags, R"({"lorawan":{"profile":5},"name":"A","twinstep":{"link":"lora"}})");
  EXPECT_EQ(changes[0].reason, "in thingpark, not in the hub");
  EXPECT_TRUE(changes[0].secret_values.empty());
  EXPECT_TRUE(changes[0].etag.empty());
}

TEST_F(CompareTest, SecretsTravelApartAndAreNeverShown) {
  rules.copy_secrets = true;
  owned_device("d", R"("name":"A","key":"old-secret")");
  item("d", R"("name":"A","key":"new-secret")");
  run();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].op, Op::kUpdate);
  EXPECT_EQ(changes[0].reason, "tags.key: *** → ***");
  EXPECT_EQ(changes[0].tags, "{}");
  EXPECT_THAT(changes[0].secret_tags, ElementsAre("key"));
  EXPECT_EQ(changes[0].secret_values.reveal(), R"({"key":"new-secret"})");
}

TEST_F(CompareTest, OnlyWhatDiffersIsWrittenAndTheReasonShowsBothValues) {
  owned_device("d", R"("name":"A","lorawan":{"profile":5.0},"other":1)");
  item("d", R"("name":"B","lorawan":{"profile":5})");
  run();
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].op, Op::kUpdate);
  EXPECT_EQ(changes[0].tags, R"({"name":"B"})");
  EXPECT_EQ(changes[0].reason, R"(tags.name: "A" → "B")");
  EXPECT_EQ(changes[0].etag.value, "E-d");
  EXPECT_EQ(changes[0].twin_etag.value, "T-d");
  EXPECT_EQ(counts.owned, 1u);
}

TEST_F(CompareTest, AThinListComparesWhatItHas) {
  owned_device("d", R"("name":"A","lorawan":{"profile":5})");
  item("d");
  run();
  EXPECT_EQ(counts.unchanged, 1u);
  EXPECT_EQ(counts.changes(), 0u);
}

TEST_F(CompareTest, LongValuesAreCutInReasons) {
  owned_device("d", fmt::format(R"("name":"{}")", std::string(100, 'x')));
  item("d", R"("name":"B")");
  run();
  EXPECT_EQ(changes.at(0).reason, "tags.name: \"" + std::string(63, 'x') + "… → \"B\"");
}

TEST_F(CompareTest, OwnershipDecidesWhatMayBeTouched) {
  hub_device("by-other", R"("twinstep":{"link":"other"})");
  hub_device("by-sample", R"("ref":"x")");
  hub_device("nobodys");
  owned_device("ours");
  item("unrelated");
  run();
  EXPECT_EQ(counts.deletes, 2u);
  EXPECT_EQ(counts.foreign, 2u);
  EXPECT_EQ(counts.owned, 2u);
  EXPECT_EQ(changes.at(0).id.value, "by-sample");
  EXPECT_EQ(changes.at(1).id.value, "ours");
  EXPECT_EQ(changes.at(1).etag.value, "E-ours");
  EXPECT_EQ(changes.at(1).reason, "in the hub, not in thingpark");
}

TEST_F(CompareTest, DevicesOfNoLinkAreAdoptedAndThoseOfOthersAreConflicts) {
  hub_device("by-other", R"("twinstep":{"link":"other"})");
  hub_device("nobodys", R"("name":"A","lorawan":{"profile":1})");
  hub_device("odd-mark", R"("twinstep":7,"ref":"r")");
  for (const char* id : {"by-other", "nobodys", "odd-mark"}) item(id, R"("name":"B","lorawan":{"profile":1})");
  run();
  EXPECT_EQ(counts.conflicts, 2u);
  EXPECT_EQ(counts.adopts, 1u);
  EXPECT_EQ(changes.at(0).tags, R"({"name":"B","twinstep":{"link":"lora"}})");
  EXPECT_THAT(changes.at(0).reason, HasSubstr(R"(tags.name: "A" → "B")"));
  EXPECT_THAT(problem_texts(), HasSubstr("the link other"));
}

TEST_F(CompareTest, WithTheWholeHubEveryDeviceIsOwned) {
  rules.scope = config::Scope::kWholeHub;
  hub_device("nobodys");
  hub_device("both", R"("name":"A")");
  item("both", R"("name":"A")");
  run();
  EXPECT_EQ(counts.deletes, 1u);
  EXPECT_EQ(counts.unchanged, 1u);
  EXPECT_EQ(counts.foreign + counts.adopts, 0u);
  EXPECT_EQ(counts.owned, 2u);
}

TEST_F(CompareTest, KindsThatAreNotNamedAreLeftAloneOnBothSides) {
  owned_device("edge", {}, R"("capabilities":{"iotEdge":true})");
  owned_device("cert", {}, R"("authentication":{"type":"selfSigned"})");
  hub += R"({"id":"mods","moduleId":"m"})"
         "\n";
  owned_device("mods");
  hub += R"({"id":"alone","moduleId":"m"})"
         "\n";
  for (const char* id : {"edge", "mods", "alone", "x"}) item(id, R"("name":"B")");
  run();
  EXPECT_EQ(counts.excluded, 4u);
  EXPECT_EQ(counts.excluded_edge, 1u);
  EXPECT_EQ(counts.excluded_certificates, 1u);
  EXPECT_EQ(counts.excluded_modules, 2u);
  EXPECT_EQ(counts.changes(), 1u);
  EXPECT_EQ(counts.owned, 0u);
  EXPECT_EQ(counts.hub_devices, 3u);

  rules.include_edge = rules.include_modules = rules.include_certificates = true;
  run();
  EXPECT_EQ(counts.excluded, 1u) << "modules without their device";
  EXPECT_EQ(counts.updates, 2u);
  EXPECT_EQ(counts.deletes, 1u);
}

TEST_F(CompareTest, DisablingLeavesWhatIsDisabledAsItIs) {
  rules.deletes = config::Deletes::kDisable;
  owned_device("a");
  owned_device("b", {}, R"("status":"disabled","statusReason":"twinstep: absent from thingpark")");
  owned_device("c", {}, R"("status":"disabled","statusReason":"by hand")");
  item("x");
  run();
  EXPECT_EQ(counts.disables, 1u);
  EXPECT_EQ(counts.already_disabled, 2u);
  EXPECT_EQ(counts.unchanged, 2u);
  EXPECT_EQ(changes.at(0).op, Op::kDisable);
  EXPECT_EQ(changes.at(0).status_reason, "twinstep: absent from thingpark");
}

TEST_F(CompareTest, ADeviceThatIsBackIsEnabledUnlessAPersonDisabledIt) {
  owned_device("b", R"("name":"A")", R"("status":"disabled","statusReason":"twinstep: absent from thingpark")");
  owned_device("c", R"("name":"A")", R"("status":"disabled","statusReason":"by hand")");
  item("b", R"("name":"A")");
  item("c", R"("name":"A")");
  run();
  EXPECT_EQ(counts.updates, 1u);
  EXPECT_EQ(counts.enables, 1u);
  EXPECT_EQ(counts.unchanged, 1u);
  EXPECT_TRUE(changes.at(0).enable);
  EXPECT_EQ(changes.at(0).id.value, "b");
  EXPECT_EQ(changes.at(0).tags, "{}");
  EXPECT_THAT(changes.at(0).reason, HasSubstr("enabled"));
}

TEST_F(CompareTest, NeverDeletingKeepsAndCounts) {
  rules.deletes = config::Deletes::kNever;
  owned_device("a");
  item("x");
  run();
  EXPECT_EQ(counts.kept, 1u);
  EXPECT_EQ(counts.deletes, 0u);
}

TEST_F(CompareTest, IdsMatchWhateverTheirSpellingAndTheHubsSpellingStays) {
  owned_device("00-04-a3-0b-00-1c-05-30", R"("name":"A")");
  item("0004A30B001C0530", R"("name":"B")");
  item("0004a30b001c0531");
  rules.id_spelling = config::IdSpelling::kUpper;
  run();
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].op, Op::kUpdate);
  EXPECT_EQ(changes[0].id.value, "00-04-a3-0b-00-1c-05-30");
  EXPECT_EQ(changes[1].id.value, "0004A30B001C0531");
}

TEST_F(CompareTest, TwoDevicesOfOneIdBlockThatIdOnly) {
  owned_device("0004A30B001C0530");
  owned_device("0004a30b001c0530");
  owned_device("twice", R"("name":"A")");
  item("0004a30b001c0530");
  item("twice", R"("name":"B")");
  item("twice", R"("name":"C")");
  item("fine");
  run();
  EXPECT_EQ(counts.conflicts, 2u);
  EXPECT_EQ(counts.creates, 1u);
  EXPECT_EQ(counts.changes(), 1u);
  EXPECT_THAT(comparison->why_withheld(), IsEmpty());
  EXPECT_THAT(problem_texts(), HasSubstr("conflict external twice (page 1, item 2)"));
  EXPECT_THAT(problem_texts(), HasSubstr("page 1, item 2 and page 1, item 3"));
}

TEST_F(CompareTest, TheSameItemTwiceIsARepeatedPageAndWithholdsDeletes) {
  owned_device("gone");
  item("twice", R"("name":"B")");
  item("twice", R"("name":"B")");
  item("fine");
  run();
  EXPECT_EQ(counts.conflicts, 1u);
  EXPECT_EQ(counts.withheld, 1u);
  EXPECT_EQ(counts.deletes, 0u);
  EXPECT_EQ(counts.creates, 1u);
  EXPECT_THAT(comparison->why_withheld(), ElementsAre(HasSubstr("same item twice")));
}

TEST_F(CompareTest, ABrokenItemWithAnIdLeavesThatDeviceAloneAndDeletesGoOn) {
  owned_device("gone");
  owned_device("half");
  owned_device("bad");
  hub += R"({"id":"broken-line","tags":)"
         "\n";
  items.push_back(R"({"id":"half",)");
  items.push_back(R"({"id":"bad","bad":1})");
  item("broken-line");
  run();
  EXPECT_EQ(counts.invalid, 3u);
  EXPECT_EQ(counts.deletes, 1u);
  EXPECT_EQ(changes.at(0).id.value, "gone");
  EXPECT_THAT(problem_texts(), HasSubstr("invalid external bad (page 1, item 2): bad value at /bad"));
  EXPECT_THAT(problem_texts(), HasSubstr("broken hub broken-line (line 4)"));
}

TEST_F(CompareTest, ABrokenItemWithoutAnIdWithholdsDeletesOnEitherSide) {
  owned_device("gone");
  items.push_back("17");
  item("new");
  run();
  EXPECT_EQ(counts.withheld, 1u);
  EXPECT_EQ(counts.creates, 1u);
  EXPECT_EQ(counts.invalid, 1u);
  items.erase(items.begin());
  hub += "odd\n";
  run();
  EXPECT_EQ(counts.invalid, 1u);
  EXPECT_EQ(counts.withheld, 1u);
  EXPECT_EQ(counts.deletes, 0u);
}

TEST_F(CompareTest, AnIncompleteListWithholdsDeletes) {
  owned_device("gone");
  owned_device("d", R"("name":"A")");
  item("d", R"("name":"B")");
  proof_complete = false;
  run();
  EXPECT_EQ(counts.withheld, 1u);
  EXPECT_EQ(counts.updates, 1u);
  EXPECT_THAT(comparison->why_withheld(), ElementsAre(HasSubstr("page 2 failed")));
}

TEST_F(CompareTest, AnEmptyExternalListChangesNothing) {
  owned_device("a");
  owned_device("b");
  run();
  EXPECT_TRUE(comparison->external_empty());
  EXPECT_EQ(counts.changes(), 0u);
  EXPECT_EQ(counts.withheld, 2u);
}

TEST_F(CompareTest, WhatAHubWouldRefuseIsInvalidAndTheRestGoesOn) {
  rules.tags[1].required = true;
  const std::string profile = R"("lorawan":{"profile":1})";
  item("bad id", profile);
  item(std::string(129, 'x'), profile);
  item("no-profile");
  item("long-text", profile + R"(,"name":")" + std::string(4097, 'x') + "\"");
  item("wide-number", profile + R"(,"name":4503599627370496)");
  item("bad-name", profile + R"(,"name":{"a.b":1})");
  item("null-in-array", profile + R"(,"name":[1,null])");
  item("deep", profile + R"(,"name":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}}}}})");
  item("much", profile + R"(,"name":[")" + std::string(4096, 'x') + "\",\"" + std::string(4096, 'x') + "\"]");
  item("good", profile + R"(,"name":{"n":[-4503599627370496,1.5,true],"t":")" + std::string(4096, 'x') + "\"}");
  owned_device("no-profile");
  run();
  EXPECT_EQ(counts.invalid, 9u) << problem_texts();
  EXPECT_EQ(counts.creates, 1u);
  EXPECT_EQ(changes.at(0).id.value, "good");
  EXPECT_THAT(problem_texts(), HasSubstr("tags.lorawan.profile is required"));
  EXPECT_THAT(problem_texts(), Not(HasSubstr("xxxx: ")));
}

TEST_F(CompareTest, WhatIsNotPermittedIsLeftOut) {
  owned_device("gone");
  owned_device("d", R"("name":"A")");
  hub_device("free");
  for (const char* id : {"d", "free", "new"}) item(id, R"("name":"B")");
  run();
  const auto ops = [this](const Permit& permit) {
    std::vector<Op> seen;
    EXPECT_TRUE(comparison->changes(permit,
                                    [&](const Change& change) -> Status {
                                      seen.push_back(change.op);
                                      return {};
                                    },
                                    {}));
    return seen;
  };
  EXPECT_THAT(ops({true, true}), ElementsAre(Op::kUpdate, Op::kAdopt, Op::kDelete, Op::kCreate));
  EXPECT_THAT(ops({false, true}), ElementsAre(Op::kUpdate, Op::kAdopt, Op::kCreate));
  EXPECT_THAT(ops({false, false}), ElementsAre(Op::kAdopt, Op::kCreate));
}

TEST_F(CompareTest, TheHubsTagsAreKeptOnWish) {
  options.keep_hub_tags = true;
  owned_device("d", R"("name":"A","other":[1])");
  item("d", R"("name":"B")");
  run();
  EXPECT_EQ(changes.at(0).hub_tags.reveal(), R"({"twinstep":{"link":"lora"},"name":"A","other":[1]})");
}

TEST_F(CompareTest, AStopIsHeard) {
  owned_device("d");
  item("d");
  run();
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = compare(*left, *right, rules, options, {SteadyTime::max(), stop.get_token()});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::kCancelled);
}

}  // namespace
}  // namespace twinstep::plan
