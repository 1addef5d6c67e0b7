#include "twinstep/plan/plan_text.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "twinstep/base/time_format.h"
#include "twinstep/plan/plan_csv.h"

namespace twinstep::plan {
namespace {

Change a_change(Op op, std::string id, std::string reason, std::string tags = "{}") {
  Change change;
  change.op = op;
  change.id = DeviceId(std::move(id));
  change.reason = std::move(reason);
  change.tags = std::move(tags);
  return change;
}

size_t lines_of(std::string_view text) { return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')); }
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

TEST(PlanText, AChangeIsOneLineWithSignKindIdAndReason) {
  EXPECT_EQ(change_text(a_change(Op::kCreate, "dev-1", "in thingpark, not in the hub")),
            "  + create   dev-1   in thingpark, not in the hub\n");
  EXPECT_EQ(change_text(a_change(Op::kDisable, "dev-2", "gone")), "  ! disable  dev-2   gone\n");
}

TEST(PlanText, TextOfRemotesCannotSteerTheTerminal) {
  EXPECT_EQ(change_text(a_change(Op::kUpdate, "d\x1B[2J",
                                 "a\nb\x7F\xC2\x9B"
                                 "c \xC3\xBC")),
            "  ~ update   d?[2J   a?b??c \xC3\xBC\n");
}

TEST(PlanText, ShowsTheFirstTwentyOfEachKindAndCountsTheRest) {
  ChangeGroups groups;
  for (int i = 0; i < 1'500; ++i) groups.add(a_change(Op::kCreate, fmt::format("c{}", i), "new"));
  for (int i = 0; i < 20; ++i) groups.add(a_change(Op::kDelete, fmt::format("d{}", i), "gone"));
  const std::string text = groups.text();
  EXPECT_TRUE(text.starts_with("Create 1,500\n  + create   c0   new\n"));
  EXPECT_TRUE(has(text, "c19 "));
  EXPECT_FALSE(has(text, "c20 "));
  EXPECT_TRUE(has(text, "    and 1,480 more\n\nDelete 20\n"));
  EXPECT_TRUE(text.ends_with("  - delete   d19   gone\n"));
  EXPECT_EQ(lines_of(text), 1u + 20 + 1 + 1 + 1 + 20);
}

TEST(PlanText, ShowsAllWhenAsked) {
  ChangeGroups groups(0);
  for (int i = 0; i < 100; ++i) groups.add(a_change(Op::kAdopt, fmt::format("a{}", i), "same id"));
  EXPECT_EQ(lines_of(groups.text()), 101u);
  EXPECT_FALSE(has(groups.text(), "more"));
  EXPECT_EQ(ChangeGroups().text(), "");
}

TEST(PlanText, SummaryNamesCountsGuardAndProblems) {
  PlanHead head;
  head.id = PlanId("0123456789abcdef0123456789abcdef");
  head.link = "main";
  head.hub = "contoso.azure-devices.net";
  head.external = "thingpark";
  head.created = *parse_iso("2026-11-23T10:00:00Z");
  head.expires = *parse_iso("2026-11-24T10:00:00Z");
  head.counts.external_devices = 12'345;
  head.counts.updates = 3;
  head.counts.enables = 1;
  head.counts.excluded = 5;
  head.counts.excluded_edge = 2;
  head.counts.excluded_modules = 3;
  head.verdict.permit.deletes = false;
  head.verdict.tripped = {{"shrink", 70, 80, "the external list has 70 devices, 100 at the last good run"}};
  head.why_withheld = {"page 3 answered 404"};
  head.problems = {{Problem::Kind::kConflict, "external", "dev-9", "line 17", "listed twice"}};
  const std::string text = summary_text(head);
  EXPECT_TRUE(text.starts_with("Plan 0123456789abcdef0123456789abcdef\n"));
  EXPECT_TRUE(has(text, "main: thingpark -> contoso.azure-devices.net\n"));
  EXPECT_TRUE(has(text, "made    2026-11-23T10:00:00Z, good until 2026-11-24T10:00:00Z\n"));
  EXPECT_TRUE(has(text, "12,345 devices in thingpark"));
  EXPECT_TRUE(has(text, "  ~ update               3   1 to be enabled again\n"));
  EXPECT_TRUE(has(text, "5   2 Edge, 3 with modules\n"));
  EXPECT_FALSE(has(text, "create"));
  EXPECT_TRUE(has(text, "Guard: blocked\n  shrink: the external list has 70 devices"));
  EXPECT_TRUE(has(text, "nothing is deleted or disabled"));
  EXPECT_FALSE(has(text, "nothing is updated"));
  EXPECT_TRUE(has(text, "Deletes are withheld\n  page 3 answered 404\n"));
  EXPECT_TRUE(has(text, "  conflict  external, line 17, dev-9: listed twice\n"));
  EXPECT_TRUE(text.ends_with("\n"));
}

TEST(PlanText, SummaryOfAnEqualPairSaysThatThereIsNothingToDo) {
  PlanHead head;
  head.counts.unchanged = 7;
  const std::string text = summary_text(head);
  EXPECT_TRUE(has(text, "Nothing to change.\n"));
  EXPECT_TRUE(has(text, "Guard: ok\n"));
  EXPECT_FALSE(has(text, "Problems"));
}

TEST(PlanCsv, QuotesWhatNeedsIt) {
  EXPECT_EQ(csv_field(""), "");
  EXPECT_EQ(csv_field("plain text"), "plain text");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"hi\""), "\"say \"\"hi\"\"\"");
  EXPECT_EQ(csv_field("two\r\nlines"), "\"two\r\nlines\"");
}

TEST(PlanCsv, KeepsFormulasFromRunning) {
  EXPECT_EQ(csv_field("=1+1"), "'=1+1");
  EXPECT_EQ(csv_field("+49"), "'+49");
  EXPECT_EQ(csv_field("-1"), "'-1");
  EXPECT_EQ(csv_field("@sum"), "'@sum");
  EXPECT_EQ(csv_field("\tx"), "'\tx");
  EXPECT_EQ(csv_field("\rx"), "\"'\rx\"");
  EXPECT_EQ(csv_field("=cmd,\"x\""), "\"'=cmd,\"\"x\"\"\"");
  EXPECT_EQ(csv_field("a=b"), "a=b");
}

TEST(PlanCsv, AChangeIsOneRecordWithoutSecrets) {
  Change change =
      a_change(Op::kUpdate, "dev,1", "tags.pin: *** \xE2\x86\x92 ***", R"({"name":"x","pin":"HUSH","r":0.1})");
  change.secret_tags = {"pin"};
  change.secret_values = Secret(R"({"pin":"HUSH"})");
  EXPECT_EQ(csv_header(), "op,deviceId,reason,tags\r\n");
  EXPECT_EQ(csv_line(change),
            "update,\"dev,1\",tags.pin: *** \xE2\x86\x92 ***,\"{\"\"name\"\":\"\"x\"\",\"\"r\"\":0.1}\"\r\n");
}

}  // namespace
}  // namespace twinstep::plan
