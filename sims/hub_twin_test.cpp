// Twins and queries of the simulated hub.
#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

class TwinTest : public HubTest {
 protected:
  TwinTest() { hub.seed_device("d", true, false, ""); }
  int tags(const std::string& text) {
    hub.seed_device("d", true, false, "");  // every document on an empty twin
    return ask("PATCH", "/twins/d", R"({"tags":)" + text + "}").status;
  }
  int desired(const std::string& text) {
    hub.seed_device("d", true, false, "");
    return ask("PATCH", "/twins/d", R"({"properties":{"desired":)" + text + "}}").status;
  }
  static std::string text(size_t length, char c = 'x') { return "\"" + std::string(length, c) + "\""; }
};

TEST_F(TwinTest, TagsHoldEightKilobytesBySizeRule) {
  // 1+4096, 1+4000, 1+4 for a boolean, 1+8 for a number, 1+79.
  const std::string full = fmt::format(R"("a":{},"b":{},"c":true,"d":7)", text(4096), text(4000));
  EXPECT_EQ(tags(fmt::format(R"({{{},"e":{}}})", full, text(79))), 200);
  EXPECT_EQ(tags(fmt::format(R"({{{},"e":{}}})", full, text(80))), 400);
  EXPECT_EQ(tags(fmt::format(R"({{{},"e":"{}\u0001\u0085"}})", full, std::string(79, 'x'))), 200)
      << "control characters do not count";
}

TEST_F(TwinTest, DesiredHoldsThirtyTwoKilobytesWithoutItsMetadata) {
  std::string seven;
  for (char k = 'a'; k <= 'g'; ++k) seven += fmt::format(R"("{}":{},)", k, text(4095));  // 7 * 4096
  EXPECT_EQ(desired("{" + seven + R"("h":)" + text(4095) + R"(,"$version":9,"$metadata":{"a":{}}})"), 200);
  EXPECT_EQ(desired("{" + seven + R"("h":)" + text(4096) + "}"), 400);
}

TEST_F(TwinTest, KeysHaveUpToAThousandAndTwentyFourBytes) {
  EXPECT_EQ(tags("{" + text(1024, 'k') + ":1}"), 200);
  EXPECT_EQ(tags("{" + text(1025, 'k') + ":1}"), 400);
  std::string umlauts;
  for (int i = 0; i < 513; ++i) umlauts += "ä";
  EXPECT_EQ(tags("{\"" + umlauts + "\":1}"), 400) << "bytes count, not characters";
}

TEST_F(TwinTest, KeysMayBeEmptyOrUnicodeButNotHoldReservedCharacters) {
  for (const char* good : {R"({"":1})", R"({"ключ":1})", R"({"a-b_c/d":1})", R"({"a":{"\u00e4":1}})"})
    EXPECT_EQ(tags(good), 200) << good;
  for (const char* bad :
       {R"({"a.b":1})", R"({"$a":1})", R"({"a b":1})", R"({"a#":1})", R"({"a\u0000":1})", R"({"a\u001f":1})",
        R"({"a\u007f":1})", R"({"a\u0085":1})", R"({"x":{"a.b":1}})", R"({"x":[{"a.b":1}]})"})
    EXPECT_EQ(tags(bad), 400) << bad;
}

TEST_F(TwinTest, ValuesHaveTheirRanges) {
  EXPECT_EQ(tags(R"({"a":)" + text(4096) + "}"), 200);
  EXPECT_EQ(tags(R"({"a":)" + text(4097) + "}"), 400);
  EXPECT_EQ(tags(R"({"a":4503599627370495,"b":-4503599627370496,"c":1e300})"), 200);
  EXPECT_EQ(tags(R"({"a":4503599627370496})"), 400);
  EXPECT_EQ(tags(R"({"a":-4503599627370497})"), 400);
  EXPECT_EQ(tags(R"({"a":18446744073709551615})"), 400);
  EXPECT_EQ(tags(R"({"a":[1,null]})"), 400);
  EXPECT_EQ(tags(R"({"a":[{"b":null}]})"), 400);
  EXPECT_EQ(tags("[1]"), 400);
}

TEST_F(TwinTest, TenObjectsMayBeNestedWithAScalarInTheTenth) {
  const auto nested = [](int objects) {
    std::string out = "1";
    for (int i = 0; i < objects; ++i) out = R"({"n":)" + out + "}";
    return out;
  };
  EXPECT_EQ(tags(R"({"top":)" + nested(10) + "}"), 200);
  EXPECT_EQ(tags(R"({"top":)" + nested(11) + "}"), 400);
}

TEST_F(TwinTest, LimitsHoldForTheMergedTwinAndARefusalChangesNothing) {
  ASSERT_EQ(ask("PATCH", "/twins/d", R"({"tags":{"a":)" + text(4096) + "}}").status, 200);
  const std::string before = ask("GET", "/twins/d").body;
  const auto r = ask("PATCH", "/twins/d", R"({"tags":{"b":)" + text(4096) + "}}");
  EXPECT_EQ(error_of(r), "400 ArgumentInvalid");
  EXPECT_EQ(ask("GET", "/twins/d").body, before);
}

TEST_F(TwinTest, AnEmptiedObjectStaysAndArraysAreReplacedWhole) {
  ask("PATCH", "/twins/d", R"({"tags":{"o":{"k":1},"l":[1,2,3]}})");
  const auto twin = body_of(ask("PATCH", "/twins/d", R"({"tags":{"o":{"k":null},"l":[4]}})"));
  EXPECT_EQ(json::write(twin.at("tags")), R"({"o":{},"l":[4]})");
}

TEST_F(TwinTest, PutReplacesAllTagsAndDesiredProperties) {
  ask("PATCH", "/twins/d", R"({"tags":{"a":1},"properties":{"desired":{"x":1}}})");
  const auto twin = body_of(ask("PUT", "/twins/d", R"({"tags":{"b":2}})", "*"));
  EXPECT_EQ(json::write(twin.at("tags")), R"({"b":2})");
  EXPECT_FALSE(twin.at("properties").at("desired").as_object().contains("x"));
}

TEST_F(TwinTest, TagsAreLeftOutWhenEmptyAndTheEtagCountsInEightBytes) {
  auto twin = body_of(ask("GET", "/twins/d"));
  EXPECT_FALSE(twin.contains("tags"));
  EXPECT_FALSE(twin.contains("statusReason"));
  EXPECT_EQ(twin.at("etag"), "AAAAAAAAAAE=");
  EXPECT_EQ(twin.at("version"), 2);
  twin = body_of(ask("PATCH", "/twins/d", R"({"tags":{"a":1}})", "\"AAAAAAAAAAE=\""));
  EXPECT_EQ(twin.at("etag"), "AAAAAAAAAAI=");
  EXPECT_EQ(twin.at("version"), 3);
  EXPECT_EQ(twin.at("properties").at("desired").at("$version"), 1) << "tags do not move the desired section";
  const auto stale = ask("PATCH", "/twins/d", R"({"tags":{"a":2}})", "AAAAAAAAAAE=");
  EXPECT_EQ(error_of(stale), "412 PreconditionFailed");
  EXPECT_NE(stale.body.find("ETag mismatch for device ID 'd'"), std::string::npos);
  EXPECT_EQ(header(ask("GET", "/twins/d"), "ETag"), "") << "the body has it";
}

TEST_F(HubTest, PagesGoOnByContinuationUntilItIsAbsent) {
  for (int i = 0; i < 250; ++i) hub.seed_device(fmt::format("d{:03}", i), true, false, "");
  std::vector<std::string> seen;
  std::string next;
  int pages = 0;
  do {
    std::vector<http::Header> more{{"x-ms-max-item-count", "90"}};
    if (!next.empty()) more.push_back({"x-ms-continuation", next});
    const auto page = query(hub, "SELECT deviceId FROM devices", more);
    ASSERT_EQ(page.status, 200);
    EXPECT_EQ(header(page, "x-ms-item-type"), "Raw");
    for (const json::value& row : list_of(page)) seen.push_back(text_of(row.as_object(), "deviceId"));
    next = header(page, "x-ms-continuation");
    ++pages;
  } while (!next.empty() && pages < 10);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(seen.size(), 250u);
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 250u);
}

TEST_F(HubTest, AContinuationBelongsToItsQuery) {
  for (int i = 0; i < 5; ++i) hub.seed_device(fmt::format("d{}", i), true, false, "");
  const auto first = query(hub, "SELECT * FROM devices", {{"x-ms-max-item-count", "2"}});
  const std::string next = header(first, "x-ms-continuation");
  ASSERT_NE(next, "");
  EXPECT_EQ(query(hub, "SELECT * FROM devices", {{"x-ms-continuation", next}}).status, 200);
  const auto other = query(hub, "SELECT deviceId FROM devices", {{"x-ms-continuation", next}});
  EXPECT_EQ(error_of(other), "400 ArgumentInvalid");
  EXPECT_EQ(text_of(body_of(other), "Message"), "ErrorCode:ArgumentInvalid;BadRequest");
  EXPECT_EQ(query(hub, "SELECT * FROM devices", {{"x-ms-continuation", "nonsense"}}).status, 400);
}

}  // namespace
}  // namespace twinstep::sims
