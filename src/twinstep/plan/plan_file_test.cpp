#include "twinstep/plan/plan_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "twinstep/base/time_format.h"

namespace twinstep::plan {
namespace {

namespace fs = std::filesystem;

class PlanFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "twinstep-plan-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = name + "/plan.json";
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string content() const {
    std::ifstream in(path_, std::ios::binary);
    std::stringstream all;
    all << in.rdbuf();
    return all.str();
  }
  void put(std::string_view text) const { std::ofstream(path_, std::ios::binary | std::ios::trunc) << text; }
  /// The code with which `text` is refused, "" when it is read.
  std::string refusal(std::string_view text) const {
    put(text);
    const auto plan = PlanReader::open(path_);
    return plan ? "" : plan.error().code;
  }

  fs::path folder_;
  std::string path_;
};

PlanHead a_head() {
  PlanHead head;
  head.id = PlanId("0123456789abcdef0123456789abcdef");
  head.link = "thingpark-main";
  head.hub = "contoso.azure-devices.net";
  head.external = "thingpark";
  head.created = *parse_iso("2026-11-23T10:00:00.125Z");
  head.expires = *parse_iso("2026-11-24T10:00:00.125Z");
  head.hub_fingerprint = std::string(32, 'a');
  head.external_fingerprint = std::string(32, 'b');
  head.counts.creates = 3;
  head.counts.owned = 40;
  head.why_withheld = {"page 3 \"answered\" 404"};
  head.verdict.permit.deletes = false;
  head.verdict.tripped = {{"deletes", 9, 4, "9 deletes of 40 owned devices, the limit is 4"}};
  head.problems = {{Problem::Kind::kConflict, "external", "dev-9", "line 17", "listed twice"},
                   {Problem::Kind::kBroken, "hub", "", "line 3", "no JSON object"}};
  return head;
}

Change a_change(int i) {
  Change change;
  change.op = static_cast<Op>(i % 5);
  change.id = DeviceId(fmt::format("dev-{:07}", i));
  change.reason = fmt::format("tags.name: \"A,{}\" \xE2\x86\x92 \"B\\\n\"", i);
  change.tags = "{}";
  if (change.op != Op::kCreate) change.etag = Etag(fmt::format("MTI{}", i));
  if (change.op == Op::kCreate || change.op == Op::kUpdate || change.op == Op::kAdopt)
    change.tags = fmt::format(R"({{"n":{},"name":"device \"{}\"","ratio":0.30000000000000004}})", i, i);
  if (change.op == Op::kUpdate) change.twin_etag = Etag("AAAAAAAAAAE="), change.enable = i % 2 == 0;
  if (change.op == Op::kDisable) change.status_reason = "twinstep: absent from thingpark";
  if (i % 7 == 0) change.secret_tags = {"lorawan/appKey"};
  return change;
}

void expect_equal(const Change& a, const Change& b) {
  EXPECT_EQ(a.op, b.op);
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.etag, b.etag);
  EXPECT_EQ(a.twin_etag, b.twin_etag);
  EXPECT_EQ(a.enable, b.enable);
  EXPECT_EQ(a.status_reason, b.status_reason);
  EXPECT_EQ(a.tags, b.tags);
  EXPECT_EQ(a.secret_tags, b.secret_tags);
  EXPECT_TRUE(b.secret_values.empty());
}

/// The text of a plan with `count` changes.
std::string plan_text(int count) {
  std::string out;
  PlanWriter writer(a_head(), [&](std::string_view bytes) { return out += bytes, Status{}; });
  for (int i = 0; i < count; ++i) EXPECT_TRUE(writer.write(a_change(i)));
  EXPECT_TRUE(writer.finish());
  return out;
}

TEST_F(PlanFile, TenThousandChangesComeBackInOrderAsOftenAsAsked) {
  constexpr int kCount = 10'000;
  {
    auto sink = PlanFileSink::create(path_);
    ASSERT_TRUE(sink) << sink.error().what;
    PlanWriter writer(a_head(), [&](std::string_view bytes) { return sink->write(bytes); });
    for (int i = 0; i < kCount; ++i) ASSERT_TRUE(writer.write(a_change(i)));
    ASSERT_TRUE(writer.finish());
    ASSERT_TRUE(sink->close());
  }
  const auto plan = PlanReader::open(path_);
  ASSERT_TRUE(plan) << plan.error().what;
  for (int round = 0; round < 2; ++round) {
    int next = 0;
    const Status read = plan->changes([&](const Change& change) -> Status {
      expect_equal(a_change(next++), change);
      return HasFailure() ? Status(fail(ErrorKind::kCancelled, "test", "enough")) : Status{};
    });
    ASSERT_TRUE(read) << read.error().what;
    EXPECT_EQ(next, kCount);
  }
}

TEST_F(PlanFile, HeadComesBackWhole) {
  put(plan_text(0));
  const auto plan = PlanReader::open(path_);
  ASSERT_TRUE(plan) << plan.error().what;
  const PlanHead want = a_head();
  const PlanHead& head = plan->head();
  EXPECT_EQ(head.id, want.id);
  EXPECT_EQ(head.link, want.link);
  EXPECT_EQ(head.hub, want.hub);
  EXPECT_EQ(head.external, want.external);
  EXPECT_EQ(head.created, want.created);
  EXPECT_EQ(head.expires, want.expires);
  EXPECT_EQ(head.hub_fingerprint, want.hub_fingerprint);
  EXPECT_EQ(head.external_fingerprint, want.external_fingerprint);
  EXPECT_EQ(head.counts, want.counts);
  EXPECT_EQ(head.why_withheld, want.why_withheld);
  EXPECT_FALSE(head.verdict.permit.deletes);
  EXPECT_TRUE(head.verdict.permit.updates);
  ASSERT_EQ(head.verdict.tripped.size(), 1u);
  EXPECT_EQ(head.verdict.tripped[0].found, 9u);
  EXPECT_EQ(head.verdict.tripped[0].limit, 4u);
  EXPECT_EQ(head.verdict.tripped[0].text, want.verdict.tripped[0].text);
  ASSERT_EQ(head.problems.size(), 2u);
  EXPECT_EQ(head.problems[0].id, "dev-9");
  EXPECT_EQ(head.problems[1].kind, Problem::Kind::kBroken);
  EXPECT_TRUE(
      plan->changes([](const Change&) -> Status { return fail(ErrorKind::kInvalid, "test", "there is none"); }));
}

TEST_F(PlanFile, IsOneJsonDocumentWithALineForEachChangeAndTheDigestOfAllBeforeIt) {
  const std::string text = plan_text(12);
  const auto parsed = json::parse(text, "plan");
  ASSERT_TRUE(parsed) << parsed.error().what;
  const json::object& o = parsed->as_object();
  EXPECT_EQ(json::string_or(o, "schema"), kPlanSchema);
  ASSERT_NE(json::array_at(o, "changes"), nullptr);
  EXPECT_EQ(json::array_at(o, "changes")->size(), 12u);
  std::istringstream lines(text);
  int changes = 0;
  for (std::string line; std::getline(lines, line);) changes += line.starts_with("{\"op\":");
  EXPECT_EQ(changes, 12);
  const size_t last = text.rfind('\n', text.size() - 2) + 1;
  EXPECT_EQ(text.substr(last), "\"sha256\":\"" + hex_encode(sha256(text.substr(0, last))) + "\"}\n");
  put(text);
  const auto plan = PlanReader::open(path_);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->digest(), hex_encode(sha256(text.substr(0, last))));
}

TEST_F(PlanFile, AByteEditedAnywhereIsRefused) {
  const std::string good = plan_text(4);
  ASSERT_EQ(refusal(good), "");
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    const std::string code = refusal(bad);
    // The first bytes say what it is at all.
    const bool opening = i < 30;
    ASSERT_TRUE(code == "plan.edited" || (opening && (code == "plan.not-a-plan" || code == "plan.schema")))
        << "byte " << i << ": " << code;
  }
}

TEST_F(PlanFile, CutOffAnywhereIsRefused) {
  const std::string good = plan_text(4);
  EXPECT_EQ(refusal(""), "plan.not-a-plan");
  for (size_t size = 1; size < good.size(); ++size) ASSERT_EQ(refusal(good.substr(0, size)), "plan.cut-off") << size;
}

TEST_F(PlanFile, AddedTextOrALostLineIsAnEdit) {
  const std::string good = plan_text(4);
  EXPECT_EQ(refusal(good + "\n"), "plan.edited");
  EXPECT_EQ(refusal(good + good), "plan.edited");
  const size_t line = good.find("{\"op\":");
  std::string less = good;
  less.erase(line, good.find('\n', line) + 1 - line);
  EXPECT_EQ(refusal(less), "plan.edited");
  std::string formatted = good;
  formatted.replace(0, 1, "{\n  ");
  EXPECT_EQ(refusal(formatted), "plan.edited");
}

TEST_F(PlanFile, WhatIsNoPlanOrOfAnotherVersionIsSaidSo) {
  EXPECT_EQ(refusal("hello"), "plan.not-a-plan");
  EXPECT_EQ(refusal("[]"), "plan.not-a-plan");
  EXPECT_EQ(refusal("{\"schema\":\"other/1\"}"), "plan.not-a-plan");
  EXPECT_EQ(refusal(std::string(100'000, '\0')), "plan.not-a-plan");
  EXPECT_EQ(refusal("{\"schema\":\"twinstep.plan/2\",\n\"id\":\"x\"}"), "plan.schema");
  EXPECT_EQ(refusal("{ \"schema\" : \"twinstep.plan/10\" }"), "plan.schema");
  const auto folder = PlanReader::open(folder_.string());
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code, "plan.not-a-plan");
  const auto absent = PlanReader::open(path_ + ".absent");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(absent.error().code, "plan.not-found");
}

TEST_F(PlanFile, AForgedDigestOverNonsenseIsNoPlan) {
  const auto signed_text = [](const std::string& text) {
    return text + "\"sha256\":\"" + hex_encode(sha256(text)) + "\"}\n";
  };
  EXPECT_EQ(refusal(signed_text("{\"schema\":\"twinstep.plan/1\",\n\"changes\":[\n],\n")), "plan.not-a-plan");
  EXPECT_EQ(refusal(signed_text("{\"schema\":\"twinstep.plan/1\",\n")), "plan.not-a-plan");
  const std::string good = plan_text(2);
  const std::string body = good.substr(0, good.rfind("\"sha256\""));
  for (const auto& [from, to] : {std::pair{"{\"op\":\"create\"", "{\"op\":\"explode\""}, std::pair{"\n],\n", "\n"}}) {
    std::string bad = body;
    bad.replace(bad.find(from), std::string_view(from).size(), to);
    put(signed_text(bad));
    const auto plan = PlanReader::open(path_);
    ASSERT_TRUE(plan) << plan.error().what;
    const Status read = plan->changes([](const Change&) { return Status{}; });
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, "plan.not-a-plan");
  }
}

TEST_F(PlanFile, APlanThatChangesAfterItWasOpenedIsNotUsed) {
  const std::string good = plan_text(3);
  put(good);
  const auto plan = PlanReader::open(path_);
  ASSERT_TRUE(plan);
  put(good + good);
  const Status read = plan->changes([](const Change&) -> Status { return fail(ErrorKind::kInvalid, "used", "used"); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, "plan.edited");
}

TEST_F(PlanFile, NeverHoldsASecretValue) {
  Change change = a_change(0);
  change.secret_tags = {"lorawan/appKey", "pin"};
  change.secret_values = Secret(R"({"lorawan":{"appKey":"HUSH"},"pin":"HUSH"})");
  change.hub_tags = Secret(R"({"lorawan":{"appKey":"HUSH"}})");
  change.tags = R"({"lorawan":{"appKey":"HUSH","eui":"A"},"pin":"HUSH"})";
  std::string out;
  PlanWriter writer(a_head(), [&](std::string_view bytes) { return out += bytes, Status{}; });
  ASSERT_TRUE(writer.write(change));
  ASSERT_TRUE(writer.finish());
  EXPECT_EQ(out.find("HUSH"), std::string::npos);
  EXPECT_NE(out.find(R"("tags":{"lorawan":{"eui":"A"}},"secretTags":["lorawan/appKey","pin"])"), std::string::npos);
}

TEST_F(PlanFile, IsReadableByItsOwnerOnlyAndHasItsNameWhenItIsWhole) {
  {
    auto sink = PlanFileSink::create(path_);
    ASSERT_TRUE(sink);
    ASSERT_TRUE(sink->write("half"));
    EXPECT_FALSE(fs::exists(path_));
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  auto sink = PlanFileSink::create(path_);
  ASSERT_TRUE(sink);
  ASSERT_TRUE(sink->write("whole"));
  ASSERT_TRUE(sink->close());
  EXPECT_EQ(content(), "whole");
  struct stat about {};
  ASSERT_EQ(::stat(path_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
}

TEST_F(PlanFile, ReplacesAnOldPlanAlsoThroughALinkButNothingThatIsNoFile) {
  put("old");
  const std::string link = (folder_ / "link.json").string();
  fs::create_symlink(path_, link);
  auto sink = PlanFileSink::create(link);
  ASSERT_TRUE(sink);
  ASSERT_TRUE(sink->write("new"));
  ASSERT_TRUE(sink->close());
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(content(), "new");
  const auto folder = PlanFileSink::create(folder_.string());
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code, "plan.not-a-file");
  const auto nowhere = PlanFileSink::create((folder_ / "absent" / "plan.json").string());
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().kind, ErrorKind::kInvalid);
}

TEST_F(PlanFile, TellsAFullDisk) {
  int left = 3;
  PlanWriter writer(a_head(), [&](std::string_view) -> Status {
    if (left-- > 0) return {};
    return fail(ErrorKind::kUnavailable, "plan.disk-full", "full");
  });
  Status last;
  for (int i = 0; i < 5 && last; ++i) last = writer.write(a_change(i));
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code, "plan.disk-full");
  EXPECT_EQ(writer.write(a_change(9)).error().code, "plan.disk-full");
  EXPECT_EQ(writer.finish().error().code, "plan.disk-full");
}

TEST_F(PlanFile, RefusesAChangeWhoseTagsAreBroken) {
  std::string out;
  PlanWriter writer(a_head(), [&](std::string_view bytes) { return out += bytes, Status{}; });
  Change change = a_change(0);
  change.tags = "{\"a\":";
  ASSERT_FALSE(writer.write(change));
  EXPECT_FALSE(writer.finish());
}

TEST_F(PlanFile, KeepsBytesThatAreNoTextOutOfTheJson) {
  std::string out;
  PlanWriter writer(a_head(), [&](std::string_view bytes) { return out += bytes, Status{}; });
  Change change = a_change(0);
  change.reason = "cut in the middle: \xC3";
  ASSERT_TRUE(writer.write(change));
  ASSERT_TRUE(writer.finish());
  put(out);
  const auto plan = PlanReader::open(path_);
  ASSERT_TRUE(plan);
  std::string reason;
  ASSERT_TRUE(plan->changes([&](const Change& one) { return reason = one.reason, Status{}; }));
  EXPECT_EQ(reason, "cut in the middle: \xEF\xBF\xBD");
}

}  // namespace
}  // namespace twinstep::plan
