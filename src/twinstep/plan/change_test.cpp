#include "twinstep/plan/change.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "twinstep/json/canonical.h"
#include "twinstep/plan/exact_json.h"

namespace twinstep::plan {
namespace {

std::string text_of(const Result<json::object>& o) { return o ? json::canonical(json::value(*o)) : o.error().code; }

Change change_with(Op op, std::string tags, std::string secrets = {}, std::string hub_tags = {}) {
  Change change;
  change.op = op;
  change.id = DeviceId("dev-1");
  change.tags = std::move(tags);
  change.secret_values = Secret(std::move(secrets));
  change.hub_tags = Secret(std::move(hub_tags));
  return change;
}

TEST(Change, NamesOfOperationsReadBack) {
  for (const Op op : {Op::kCreate, Op::kUpdate, Op::kDelete, Op::kDisable, Op::kAdopt})
    EXPECT_EQ(op_from(to_string(op)), op);
  EXPECT_FALSE(op_from("enable"));
  EXPECT_FALSE(op_from(""));
}

TEST(Change, WritesPlainAndSecretTagsTogetherObjectByObject) {
  const Change change = change_with(Op::kUpdate, R"({"lorawan":{"eui":"A"},"x":1})", R"({"lorawan":{"appKey":"k"}})");
  EXPECT_EQ(text_of(tags_to_write(change)), R"({"lorawan":{"appKey":"k","eui":"A"},"x":1})");
  EXPECT_EQ(text_of(tags_to_write(change_with(Op::kDelete, ""))), "{}");
}

TEST(Change, RefusesTagsThatAreNoObject) {
  for (const char* bad : {"[1]", "{", "7", "{\"a\":1}{", "null"}) {
    const auto tags = tags_to_write(change_with(Op::kCreate, bad));
    ASSERT_FALSE(tags) << bad;
    EXPECT_EQ(tags.error().kind, ErrorKind::kCorrupt);
  }
  const auto secret = tags_to_write(change_with(Op::kCreate, "{}", "hunter2"));
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().what.find("hunter2"), std::string::npos);
}

TEST(Change, KeepsOtherTagsWhenTheWholeSectionIsReplaced) {
  const Change change = change_with(Op::kUpdate, R"({"a":{"b":2,"gone":null},"new":{"x":null,"y":1}})", "",
                                    R"({"a":{"b":1,"c":3,"gone":1},"site":"north"})");
  EXPECT_EQ(text_of(all_tags_after(change)), R"({"a":{"b":2,"c":3},"new":{"y":1},"site":"north"})");
}

TEST(Change, KnowsAllTagsOfANewDeviceButNotOfAnotherWhoseTagsWereNotKept) {
  EXPECT_EQ(text_of(all_tags_after(change_with(Op::kCreate, R"({"a":1,"b":null})"))), R"({"a":1})");
  EXPECT_EQ(text_of(all_tags_after(change_with(Op::kUpdate, R"({"a":1})"))), "plan.tags-not-kept");
}

TEST(Change, ReadsNumbersExactly) {
  // Each of these is off by one unit in the last place in a reader that multiplies by powers of ten.
  const std::string text = R"({"a":0.30000000000000004,"b":5e-324,"c":1.7976931348623157e+308,"d":9007199254740993})";
  EXPECT_EQ(text_of(tags_to_write(change_with(Op::kCreate, text))), text);
  for (int i = 1; i < 2000; ++i) {
    const double number = 1.0 / i + i * 1e-13;
    std::string want = "{\"n\":";
    json::append_canonical_number(number, want);
    want += '}';
    ASSERT_EQ(text_of(tags_to_write(change_with(Op::kCreate, want))), want);
  }
}

TEST(Change, ReadsWholeNumbersBeyond64BitsAsDoubles) {
  for (const char* number : {"20000000000000000000", "100000000000000000000", "-10000000000000000000"}) {
    std::string want = "{\"n\":";
    json::append_canonical_number(std::strtod(number, nullptr), want);
    want += '}';
    EXPECT_EQ(text_of(parse_object_exactly(fmt::format(R"({{"n":{}}})", number), "x")), want);
  }
}

TEST(Change, RefusesNestingWithoutEnd) {
  std::string deep;
  for (int i = 0; i < 70; ++i) deep += "{\"a\":";
  deep += "1" + std::string(70, '}');
  EXPECT_FALSE(parse_object_exactly(deep, "x"));
}

TEST(Change, ReplacesBytesThatAreNoText) {
  EXPECT_EQ(as_utf8("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(as_utf8("a\xFF"
                    "b\xC3"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
}

TEST(Counts, ReadBackAsTheyWere) {
  Counts counts;
  counts.creates = 1, counts.updates = 2, counts.deletes = 3, counts.disables = 4, counts.adopts = 5,
  counts.enables = 6;
  counts.unchanged = 7, counts.already_disabled = 8, counts.foreign = 9, counts.excluded = 10,
  counts.excluded_edge = 11;
  counts.excluded_modules = 12, counts.excluded_certificates = 13, counts.conflicts = 14, counts.invalid = 15;
  counts.kept = 16, counts.withheld = 17, counts.withheld_changes = 18, counts.hub_devices = 19;
  counts.external_devices = 20, counts.owned = 18446744073709551615u;
  const std::string text = json::write(to_json(counts));
  EXPECT_TRUE(text.starts_with(R"({"create":1,"update":2,"delete":3,"adopt":5,"unchanged":7,"foreign":9,"excluded":10,)"
                               R"("conflict":14,"invalid":15,)"));
  const auto o = json::parse(text, "counts");
  ASSERT_TRUE(o);
  const auto back = counts_from(o->as_object());
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, counts);
}

TEST(Counts, RefusesMissingAndNegativeNumbers) {
  json::object o = to_json(Counts{});
  EXPECT_TRUE(counts_from(o));
  o["owned"] = -1;
  EXPECT_FALSE(counts_from(o));
  o.erase("owned");
  EXPECT_TRUE(counts_from(o));
  o.erase("create");
  EXPECT_FALSE(counts_from(o));
}

}  // namespace
}  // namespace twinstep::plan
