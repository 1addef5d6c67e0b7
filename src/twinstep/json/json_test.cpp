#include "twinstep/json/json.h"

#include <gtest/gtest.h>

namespace twinstep::json {
namespace {

TEST(JsonPointer, FollowsEscapesIndexesAndSaysNothingThere) {
  const value root = parse(R"({"a/b":[{"~k":7}],"":1})", "test").value();
  EXPECT_EQ(at(root, ""), &root);
  ASSERT_NE(at(root, "/a~1b/0/~0k"), nullptr);
  EXPECT_EQ(at(root, "/a~1b/0/~0k")->as_int64(), 7);
  EXPECT_EQ(at(root, "/")->as_int64(), 1);
  for (const char* nowhere : {"/x", "/a~1b/1", "/a~1b/01x", "/a~1b/0/~0k/deeper", "a"})
    EXPECT_EQ(at(root, nowhere), nullptr);
}

TEST(JsonParse, NamesTheSourceAndTheOffset) {
  const auto bad = parse(R"({"a":)", "the token answer");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(bad.error().what.find("the token answer"), std::string::npos);
  EXPECT_FALSE(parse(std::string(100, '['), "deep"));
}

TEST(JsonParse, RefusesNumbersThatCannotBeWrittenAgain) {
  for (const char* text : {"1e400", "[0.3, -3e99999]", R"({"a":{"b":[1E+309]}})"})
    EXPECT_FALSE(parse(text, "it")) << text;
  for (const char* text : {"1e308", "[1e-400]", R"({"a":123456789012345678901234567890})"})
    EXPECT_TRUE(parse(text, "it")) << text;
}

TEST(JsonFields, TolerateWrongTypesWhereOptionalAndNameThemWhereNeeded) {
  const value root = parse(R"({"s":"x","n":3,"o":{},"Mixed":1})", "test").value();
  const object& o = root.as_object();
  EXPECT_EQ(string_or(o, "n", "d"), "d");
  EXPECT_EQ(int_or(o, "n", 0), 3);
  EXPECT_NE(find_ignoring_case(o, "mIXED"), nullptr);
  EXPECT_EQ(need_string(o, "s").value(), "x");
  EXPECT_NE(need_string(o, "q").error().what.find("'q' is missing"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::json
