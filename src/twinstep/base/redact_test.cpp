#include "twinstep/base/redact.h"

#include <gtest/gtest.h>

namespace twinstep {
namespace {

TEST(WithoutKeys, LeavesOrdinaryTextsAlone) {
  for (const char* text : {"", "/api/v1/runs/%7Bid%7D", "there is no link 'tsx_1'", "barcode=5", "zipcode=1", "100%",
                           "decode", "a code of 5", "%", "%zz"})
    EXPECT_EQ(without_keys(text), text);
}

TEST(WithoutKeys, HidesWhatFollowsCodeAndWhatLooksLikeAKey) {
  EXPECT_EQ(without_keys("/a?code=hunter2&b=1"), "/a?code=***&b=1");
  EXPECT_EQ(without_keys("/a?b=1&CoDe=hunter2"), "/a?b=1&CoDe=***");
  EXPECT_EQ(without_keys("query parameter 'code=hunter2' is not known"), "query parameter 'code=***' is not known");
  EXPECT_EQ(without_keys("there is nothing at /tsk_0123_Ab-c/x"), "there is nothing at /tsk_***/x");
  EXPECT_EQ(without_keys("tsi_o_1_2 and tsk_3"), "tsi_*** and tsk_***");
}

TEST(WithoutKeys, LooksBehindPercentEncodingHoweverDeep) {
  for (const char* text : {"/a%3Fcode%3Dhunter2", "/a?%63ode=hunter2", "/a%253Fcode%253Dhunter2", "/a/%74sk_hunter2",
                           "/a/%25252574sk_hunter2", "/a?code%3Dhunter2"}) {
    EXPECT_EQ(without_keys(text).find("hunter2"), std::string::npos) << text;
    EXPECT_TRUE(without_keys(text).starts_with("/a")) << text;
  }
}

TEST(WithoutKeys, AnEscapeThatDecodingPutsTogetherHidesNothing) {
  for (const char* text : {"/a/%2%35%37%34sk_hunter2", "/a?%2563%256fde%253Dhunter2", "/a%%33%46code=hunter2"})
    EXPECT_EQ(without_keys(text).find("hunter2"), std::string::npos) << text;
  EXPECT_EQ(without_keys("/a/%2525zz%25"), "/a/%2525zz%25");
}

TEST(WithoutKeys, EscapesWithinEscapesTakeNoLongerThanOtherTexts) {
  std::string nested = "/%";
  for (int i = 0; i < 1'000'000; ++i) nested += "25";  // a round for each level would take hours
  EXPECT_EQ(without_keys(nested + "41"), nested + "41");
  EXPECT_EQ(without_keys(nested + "74sk_hunter2"), "/***");
}

TEST(ForLog, NothingEndsTheValueOrTheLine) {
  EXPECT_EQ(for_log("a\"b\\c\nd\xc3\xa9"), "a?b?c?d??");
  EXPECT_EQ(for_log(std::string(1000, 'x')).size(), 300u);
  EXPECT_EQ(for_log("x?code=\"hunter2\"").find("hunter"), std::string::npos);
}

}  // namespace
}  // namespace twinstep
