#include "twinstep/plan/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "twinstep/plan/fake_mapper.h"
#include "twinstep/plan/snapshot_data.h"

namespace twinstep::plan {
namespace {

using testing::HasSubstr;

Rules rules() {
  Rules rules;
  rules.link = "lora";
  rules.external = "thingpark";
  rules.tags = {{{"name"}, false, false}, {{"key"}, true, false}};
  return rules;
}

Snapshot hub_of(std::string_view text, const SnapshotOptions& options = {}) {
  HubSnapshotBuilder builder(rules(), options);
  EXPECT_TRUE(builder.feed(text));
  return std::move(builder.finish().value());
}

std::vector<std::string> ids_of(const Snapshot& snapshot) {
  std::vector<std::string> ids;
  RecordMerge merge(snapshot.data().records, snapshot.data().tag_count);
  while (const Record* record = merge.next().value()) ids.emplace_back(record->id);
  return ids;
}

TEST(Snapshot, SortsMoreThanFitsInMemory) {
  SnapshotOptions options;
  options.sort_bytes = 1;  // the least there is: 64 KiB
  HubSnapshotBuilder builder(rules(), options);
  std::vector<std::string> ids;
  for (int i = 0; i < 6000; ++i) ids.push_back(fmt::format("a-common-long-prefix-{:05}", i));
  for (int i = 0; i < 300; ++i) ids.push_back(fmt::format("{:016X}", i * 7919));
  ids.push_back("a");
  ids.push_back("a-common");
  std::vector<std::string> listed = ids;
  std::shuffle(listed.begin(), listed.end(), std::mt19937(1));
  for (const std::string& id : listed) {
    ASSERT_TRUE(builder.feed(fmt::format(R"({{"id":"{}","tags":{{"name":"n {}"}}}})"
                                         "\n",
                                         id, id)));
  }
  const Snapshot snapshot = std::move(builder.finish().value());
  EXPECT_GT(snapshot.data().records.runs.size(), 4u);
  EXPECT_EQ(snapshot.devices(), ids.size());
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids_of(snapshot), ids);

  DetailReader details(snapshot.data());
  RecordMerge merge(snapshot.data().records, 2);
  while (const Record* record = merge.next().value()) {
    const Detail* detail = details.read(record->detail_offset, record->detail_size).value();
    EXPECT_EQ(detail->id, record->id);
    EXPECT_EQ(detail->values[0], fmt::format("\"n {}\"", record->id));
  }
}

TEST(Snapshot, PassesOverTheServicesWarningAndNothingElse) {
  const Snapshot snapshot =
      hub_of("The keys were left out, as asked.\r\n{\"id\":\"a\"}\r\n\r\nodd\r\n{\"id\":\"b\"}\r\n");
  EXPECT_EQ(snapshot.devices(), 2u);
  EXPECT_TRUE(snapshot.proof().complete);
  EXPECT_EQ(snapshot.proof().broken, 1u);
  EXPECT_EQ(snapshot.proof().broken_without_id, 1u);
  ASSERT_EQ(snapshot.proof().named.size(), 1u);
  EXPECT_EQ(snapshot.proof().named[0].place, "line 4");
  EXPECT_EQ(hub_of("<?xml version=\"1.0\"?><Error/>").proof().broken_without_id, 1u);
}

TEST(Snapshot, NamesTwentyBrokenItemsAndCountsAll) {
  std::string text = "{\"id\":\"a\"}\n";
  for (int i = 0; i < 30; ++i) text += fmt::format("{{\"id\":\"b{}\",\n", i);
  const Snapshot snapshot = hub_of(text);
  EXPECT_EQ(snapshot.proof().broken, 30u);
  EXPECT_EQ(snapshot.proof().broken_without_id, 0u);
  EXPECT_EQ(snapshot.proof().named.size(), 20u);
  EXPECT_EQ(snapshot.proof().named[0].id, "b0");
  EXPECT_EQ(snapshot.devices(), 1u);
}

TEST(Snapshot, TwoItemsOnOneBrokenLineShowNoId) {
  const Snapshot snapshot = hub_of("{\"id\":\"a\",\"eTag\":\"x{\"id\":\"b\"}\n");
  EXPECT_EQ(snapshot.proof().broken_without_id, 1u) << "b would be missed without a word";
}

TEST(Snapshot, AnUnclosedArrayIsIncomplete) {
  EXPECT_TRUE(hub_of(R"([{"deviceId":"a"},{"deviceId":"b"}])").proof().complete);
  const Snapshot cut = hub_of(R"([{"deviceId":"a"},{"deviceId":"b"})");
  EXPECT_FALSE(cut.proof().complete);
  EXPECT_EQ(cut.devices(), 2u);
}

TEST(Snapshot, PagesAreReadOneByOne) {
  HubSnapshotBuilder builder(rules(), {});
  ASSERT_TRUE(builder.add_page(R"([{"deviceId":"a"},{"deviceId":"b"}])", 1));
  ASSERT_TRUE(builder.add_page("[]", 2));
  ASSERT_TRUE(builder.add_page(R"([5,{"deviceId":"c"}])", 3));
  builder.incomplete("page 4 did not come");
  const Snapshot snapshot = std::move(builder.finish().value());
  EXPECT_EQ(snapshot.devices(), 3u);
  EXPECT_EQ(snapshot.proof().why_incomplete, "page 4 did not come");
  EXPECT_EQ(snapshot.proof().named.at(0).place, "page 3, item 1");
}

TEST(Snapshot, TheFingerprintMindsContentButNeitherOrderNorEtags) {
  const std::string a = R"({"id":"a","eTag":"1","tags":{"name":"x"}})"
                        "\n";
  const std::string b = R"({"id":"b","eTag":"1","tags":{"name":"y"}})"
                        "\n";
  const std::string mark = R"({"id":"b","eTag":"1","tags":{"name":"y","twinstep":{"link":"lora"}}})"
                           "\n";
  const std::string fingerprint = hub_of(a + b).fingerprint();
  EXPECT_EQ(fingerprint.size(), 32u);
  EXPECT_EQ(hub_of(b + a).fingerprint(), fingerprint);
  EXPECT_EQ(hub_of(a + R"({"id":"b","eTag":"2","twinETag":"z","tags":{"other":1,"name":"y"}})").fingerprint(),
            fingerprint);
  for (const std::string& other : {a, a + mark, a + R"({"id":"b","tags":{"name":"z"}})",
                                   a + R"({"id":"b","status":"disabled","tags":{"name":"y"}})",
                                   a + R"({"id":"b","capabilities":{"iotEdge":true},"tags":{"name":"y"}})",
                                   a + b + R"({"id":"b","moduleId":"m"})", a + R"({"id":"B","tags":{"name":"y"}})"}) {
    EXPECT_NE(hub_of(other).fingerprint(), fingerprint) << other;
  }
}

TEST(Snapshot, SecretsAreNotKeptUnlessTheyAreCopied) {
  const std::string item = R"({"id":"a","tags":{"name":"n","key":"very-secret"}})";
  for (const bool copied : {false, true}) {
    Rules of_link = rules();
    of_link.copy_secrets = copied;
    FakeMapper mapper(of_link.tags);
    ExternalSnapshotBuilder builder(of_link, mapper, {});
    ASSERT_TRUE(builder.add(item, {0, 1}));
    const Snapshot snapshot = std::move(builder.finish({true, "", 1, 1, {}}).value());
    std::string bytes(snapshot.data().details.size(), '\0');
    ASSERT_TRUE(snapshot.data().details.read(0, bytes.data(), bytes.size()));
    EXPECT_EQ(bytes.find("very-secret") != std::string::npos, copied);
  }
}

TEST(Snapshot, ExternalItemsAreCountedByWhatBecomesOfThem) {
  const Rules of_link = rules();
  FakeMapper mapper(of_link.tags);
  ExternalSnapshotBuilder builder(of_link, mapper, {});
  ASSERT_TRUE(builder.add(R"({"id":"a"})", {1, 1}));
  ASSERT_TRUE(builder.add(R"({"id":"b","skip":1})", {1, 2}));
  ASSERT_TRUE(builder.add(R"({"id":"c","bad":1})", {1, 3}));
  ASSERT_TRUE(builder.add(R"({"noid":1})", {1, 4}));
  ASSERT_TRUE(builder.add(R"({"id":"d",)", {1, 5}));
  ASSERT_TRUE(builder.broken("17", {1, 6}, "not an object"));
  const Snapshot snapshot = std::move(builder.finish({false, "page 2 failed", 6, 1, {}}).value());
  EXPECT_EQ(snapshot.devices(), 2u);
  EXPECT_EQ(snapshot.skipped(), 1u);
  EXPECT_EQ(snapshot.proof().broken, 3u);
  EXPECT_EQ(snapshot.proof().broken_without_id, 2u);
  EXPECT_FALSE(snapshot.proof().complete);
  EXPECT_EQ(snapshot.proof().why_incomplete, "page 2 failed");
}

TEST(Snapshot, AFolderThatIsNotThereIsAnErrorThatNamesIt) {
  SnapshotOptions options;
  options.folder = "/nonexistent-folder";
  HubSnapshotBuilder builder(rules(), options);
  ASSERT_TRUE(builder.feed("{\"id\":\"a\"}\n"));
  const auto snapshot = builder.finish();
  ASSERT_FALSE(snapshot);
  EXPECT_EQ(snapshot.error().code, "plan.io");
  EXPECT_THAT(snapshot.error().what, HasSubstr("/nonexistent-folder"));
}

}  // namespace
}  // namespace twinstep::plan
