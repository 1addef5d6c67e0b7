#include "twinstep/plan/diff.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "twinstep/json/canonical.h"

namespace twinstep::plan {
namespace {

namespace fs = std::filesystem;

/// Maps {"name":id,"profile":text,"key":text}.
class SmallMapper final : public providers::Mapper {
 public:
  Result<providers::MappedDevice> map(std::string_view item) override {
    id_.clear();
    TRY_ASSIGN(const json::value whole, json::parse(item, "item"));
    if (!whole.is_object()) return fail(ErrorKind::kCorrupt, "item", "no object");
    id_ = json::string_or(whole.as_object(), "name");
    if (id_.empty()) return fail(ErrorKind::kInvalid, "item", "/name is missing");
    size_t i = 0;
    for (const char* member : {"profile", "key"}) {
      const json::value* v = json::find(whole.as_object(), member);
      texts_[i] = v ? json::canonical(*v) : "";
      views_[i] = texts_[i];
      ++i;
    }
    return providers::MappedDevice{id_, views_};
  }
  std::string_view failed_id() const override { return id_; }
  bool selected() const override { return true; }

 private:
  std::string id_;
  std::array<std::string, 2> texts_;
  std::array<providers::MappedValue, 2> views_;
};

class Diff : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "twinstep-diff-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    rules_.link = "main";
    rules_.external = "thingpark";
    rules_.deletes = config::Deletes::kDelete;
    rules_.tags = {{{"profile"}, false, false}, {{"key"}, true, false}};
    options_.folder = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<DiffResult> run(std::string_view hub, std::string_view external, std::string items_key = {}, Call call = {}) {
    const auto put = [&](const char* name, std::string_view text) {
      const std::string path = (folder_ / name).string();
      std::ofstream(path, std::ios::binary) << text;
      return path;
    };
    const DiffInput input{put("hub", hub), put("external", external), std::move(items_key)};
    return diff_files(input, mapper_, rules_, options_, call);
  }
  static json::object written(const Result<DiffResult>& result, bool summary_only = false) {
    if (!result) {
      ADD_FAILURE() << result.error().what;
      return {};
    }
    std::string out;
    EXPECT_TRUE(write_diff(*result, summary_only, [&](std::string_view text) { return out += text, Status{}; }, {}));
    const auto parsed = json::parse(out, "diff");
    EXPECT_TRUE(parsed) << out;
    return parsed ? parsed->as_object() : json::object{};
  }
  static std::string changes_of(const json::object& o) {
    std::string out;
    const json::array* changes = json::array_at(o, "changes");
    if (!changes) return "none";
    for (const json::value& change : *changes) {
      out += fmt::format("{} {};", json::string_or(change.as_object(), "op"),
                         json::string_or(change.as_object(), "deviceId"));
      EXPECT_NE(json::string_or(change.as_object(), "reason"), "");
    }
    return out;
  }
  static int64_t count(const json::object& o, std::string_view name) {
    return json::int_or(*json::object_at(o, "summary"), name, -1);
  }

  fs::path folder_;
  SmallMapper mapper_;
  Rules rules_;
  SnapshotOptions options_;
};

std::string hub_device(std::string_view id, std::string_view profile, std::string_view mark = "main") {
  return fmt::format(R"({{"id":"{}","eTag":"MQ==","status":"enabled","authentication":{{"type":"sas"}},)"
                     R"("twinETag":"AAA=","tags":{{"profile":"{}"{}}}}})",
                     id, profile, mark.empty() ? "" : fmt::format(R"(,"twinstep":{{"link":"{}"}})", mark));
}

TEST_F(Diff, NamesWhatToCreateUpdateDeleteAndAdopt) {
  const std::string hub = hub_device("same", "A") + "\n" + hub_device("changed", "A") + "\n" + hub_device("gone", "A") +
                          "\n" + hub_device("mine", "A", "") + "\n" + hub_device("other", "A", "") + "\n";
  const std::string external = R"([{"name":"same","profile":"A"},{"name":"changed","profile":"B"},)"
                               R"({"name":"new","profile":"A"},{"name":"mine","profile":"A"}])";
  const auto result = run(hub, external);
  const json::object o = written(result);
  EXPECT_EQ(changes_of(o), "update changed;delete gone;adopt mine;create new;");
  for (const char* one : {"create", "update", "delete", "adopt", "unchanged", "foreign"})
    EXPECT_EQ(count(o, one), 1) << one;
  for (const char* none : {"excluded", "conflict", "invalid"}) EXPECT_EQ(count(o, none), 0) << none;
  EXPECT_EQ(json::find(o, "withheld"), nullptr);
  EXPECT_EQ(json::find(o, "problems"), nullptr);
}

TEST_F(Diff, TakesTheHubAsAnArrayAndTheListUnderAKeyOrInPages) {
  const std::string hub = "[" + hub_device("a", "A") + ",\n " + hub_device("b", "A") + "]";
  const auto under = run(hub, R"({"total":2,"devices":[{"name":"a","profile":"A"},{"name":"c"}]})", "/devices");
  EXPECT_EQ(changes_of(written(under)), "delete b;create c;");
  const auto pages = run(hub, "[{\"name\":\"a\",\"profile\":\"A\"}]\n[{\"name\":\"c\"}]");
  EXPECT_EQ(changes_of(written(pages)), "delete b;create c;");
  const auto lines = run(hub, "{\"name\":\"a\",\"profile\":\"A\"}\r\n{\"name\":\"c\"}");
  EXPECT_EQ(changes_of(written(lines)), "delete b;create c;");
}

TEST_F(Diff, WithholdsDeletesWhenTheListIsCutOff) {
  const json::object o = written(run(hub_device("a", "A"), R"([{"name":"b"},{"name":"c"},)"));
  EXPECT_EQ(changes_of(o), "create b;create c;");
  EXPECT_EQ(count(o, "delete"), 0);
  EXPECT_EQ(count(o, "withheld"), 1);
  ASSERT_NE(json::array_at(o, "withheld"), nullptr);
  EXPECT_FALSE(json::array_at(o, "withheld")->empty());
}

TEST_F(Diff, NamesBrokenLinesOfTheHubAndWithholdsDeletes) {
  const json::object o = written(run(hub_device("a", "A") + "\n{\"status\":\n", "[{\"name\":\"b\"}]"));
  EXPECT_EQ(changes_of(o), "create b;");
  EXPECT_EQ(count(o, "invalid"), 1) << "also without an id";
  ASSERT_NE(json::array_at(o, "problems"), nullptr);
  const json::object& problem = json::array_at(o, "problems")->at(0).as_object();
  EXPECT_EQ(json::string_or(problem, "kind"), "broken");
  EXPECT_EQ(json::string_or(problem, "side"), "hub");
  EXPECT_EQ(json::string_or(problem, "place"), "line 2");
}

TEST_F(Diff, ChangesNothingWhenTheListIsEmpty) {
  const json::object o = written(run(hub_device("a", "A"), "[]"));
  EXPECT_EQ(changes_of(o), "");
  EXPECT_EQ(count(o, "delete"), 0);
}

TEST_F(Diff, SummaryAloneHasNoChanges) {
  const json::object o = written(run(hub_device("a", "A"), "[{\"name\":\"b\"}]"), true);
  EXPECT_EQ(json::find(o, "changes"), nullptr);
  EXPECT_EQ(count(o, "create"), 1);
}

TEST_F(Diff, NeverShowsSecretValues) {
  rules_.copy_secrets = true;
  const auto result =
      run(hub_device("a", "A"), R"([{"name":"a","profile":"A","key":"HUSH"},{"name":"b","key":"HUSH"}])");
  ASSERT_TRUE(result) << result.error().what;
  std::string out;
  ASSERT_TRUE(write_diff(*result, false, [&](std::string_view text) { return out += text, Status{}; }, {}));
  EXPECT_NE(out.find("\"update\""), std::string::npos);
  EXPECT_EQ(out.find("HUSH"), std::string::npos);
}

TEST_F(Diff, ResultMayBeMoved) {
  auto result = run(hub_device("a", "A"), "[{\"name\":\"b\"}]");
  ASSERT_TRUE(result);
  const Result<DiffResult> moved(std::move(*result));
  EXPECT_EQ(changes_of(written(moved)), "delete a;create b;");
}

TEST_F(Diff, WritesManyChangesInPieces) {
  std::string external;
  for (int i = 0; i < 20'000; ++i) external += fmt::format("{{\"name\":\"dev-{}\"}}\n", i);
  const auto result = run(hub_device("a", "A"), external);
  ASSERT_TRUE(result) << result.error().what;
  size_t longest = 0;
  ASSERT_TRUE(write_diff(
      *result, false, [&](std::string_view text) { return longest = std::max(longest, text.size()), Status{}; }, {}));
  EXPECT_LT(longest, 70'000u);
  EXPECT_EQ(json::array_at(written(result), "changes")->size(), 20'001u);
}

TEST_F(Diff, NamesTheFileThatIsMissing) {
  const std::string there = (folder_ / "there").string();
  std::ofstream(there) << "[]";
  const std::string absent = (folder_ / "absent").string();
  for (const auto& [hub, external] : {std::pair{absent, there}, std::pair{there, absent}}) {
    const auto result = diff_files({hub, external, {}}, mapper_, rules_, options_, {});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::kNotFound);
    EXPECT_EQ(result.error().code, "diff.open");
    EXPECT_NE(result.error().what.find(absent), std::string::npos);
  }
}

TEST_F(Diff, StopsWhenAsked) {
  std::stop_source stop;
  stop.request_stop();
  const auto result = run(hub_device("a", "A"), "[]", {}, Call{SteadyTime::max(), stop.get_token()});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kCancelled);
}

TEST_F(Diff, SnapshotsForCountsAloneGiveTheSameCountsAndNoChanges) {
  const std::string hub = R"({"id":"a","tags":{"profile":"1","ref":"1"}})"
                          "\n"
                          R"({"id":"b","tags":{"ref":"2"}})";
  const std::string external = R"([{"name":"a","profile":"2"},{"name":"c"}])";
  const json::object whole = written(run(hub, external), true);
  options_.counts_only = true;
  const auto counted = run(hub, external);
  EXPECT_EQ(json::write(written(counted, true)), json::write(whole));
  EXPECT_EQ(count(whole, "update"), 1);
  const Status changes = counted->comparison.changes({}, [](const Change&) { return Status{}; }, {});
  ASSERT_FALSE(changes);
  EXPECT_EQ(changes.error().code, "plan.counts-only");
}

}  // namespace
}  // namespace twinstep::plan
