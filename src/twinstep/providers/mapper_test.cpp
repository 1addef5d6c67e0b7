#include "twinstep/providers/mapper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/providers/builtin.h"

namespace twinstep::providers {
namespace {

using testing::HasSubstr;

class ActilityMapping : public testing::Test {
 protected:
  Definition definition = *load_definition("actility");
  std::unique_ptr<Mapper> mapper = make_mapper(definition);
  /// Tag name=canonical value of those that are there.
  std::string tags(std::string_view item) {
    const auto mapped = mapper->map(item);
    if (!mapped) return mapped.error().what;
    std::string out;
    const auto specs = definition.tag_specs();
    for (size_t i = 0; i < specs.size(); ++i) {
      if (mapped->values[i].data() && !mapped->values[i].empty())
        out += specs[i].name() + "=" + std::string(mapped->values[i]) + ";";
    }
    return std::string(mapped->id) + ":" + out;
  }
};

TEST_F(ActilityMapping, TakesThePropertiesThatAreThere) {
  EXPECT_EQ(tags(R"({"ref":"7","name":"dev-1","other":{"EUI":"no"},"EUI":"0102030405060708","applicationKey":"k"})"),
            "dev-1:EUI=\"0102030405060708\";applicationKey=\"k\";ref=\"7\";");
}

TEST_F(ActilityMapping, NullBecomesAnEmptyTextAndAbsentStaysAbsent) {
  EXPECT_EQ(tags(R"({"name":"a","EUI":null,"ref":"1"})"), "a:EUI=\"\";ref=\"1\";");
}

TEST_F(ActilityMapping, NumbersAndBooleansBecomeText) {
  EXPECT_EQ(tags(R"({"name":"a","ref":12345678901234567,"EUI":1.0,"activationType":true})"),
            "a:EUI=\"1\";activationType=\"true\";ref=\"12345678901234567\";");
}

TEST_F(ActilityMapping, UnicodeIsKeptInItsShortestForm) {
  EXPECT_EQ(tags(R"({"name":"a","ref":"\u00e9\u20ac\ud83d\ude00 \"x\" \u0001"})"),
            "a:ref=\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80 \\\"x\\\" \\u0001\";");
}

TEST_F(ActilityMapping, AMissingRefDoesNotMakeADeviceInvalid) { EXPECT_EQ(tags(R"({"name":"a"})"), "a:"); }

TEST_F(ActilityMapping, ADeviceWithoutAUsableNameIsInvalidAndSaysWhere) {
  for (const char* item :
       {R"({"ref":"1"})", R"({"name":null})", R"({"name":""})", R"({"name":5})", R"({"name":["a"]})"}) {
    const auto mapped = mapper->map(item);
    ASSERT_FALSE(mapped) << item;
    EXPECT_EQ(mapped.error().kind, ErrorKind::kInvalid) << item;
    EXPECT_THAT(mapped.error().what, HasSubstr("/name")) << item;
    EXPECT_EQ(mapper->failed_id(), "");
  }
}

TEST_F(ActilityMapping, AnIdThatTheHubWouldRefuseIsNamed) {
  const auto mapped = mapper->map(R"({"name":"b\u00fcro 5"})");
  ASSERT_FALSE(mapped);
  EXPECT_EQ(mapped.error().code, "item.illegal-id");
  EXPECT_EQ(mapper->failed_id(), "b\xC3\xBCro 5");
  EXPECT_TRUE(mapper->map(R"({"name":"good"})"));
  EXPECT_EQ(mapper->failed_id(), "");
}

TEST_F(ActilityMapping, TextThatIsNoObjectIsCorrupt) {
  for (const char* item : {"", "5", "[1]", "{\"name\":\"a\"", "{\"name\":\"a\"}{}", "{\"name\":\"a\",}",
                           "{\"name\" \"a\"}", "{\"name\":\"\xFF\"}", "null"}) {
    const auto mapped = mapper->map(item);
    ASSERT_FALSE(mapped) << item;
    EXPECT_EQ(mapped.error().kind, ErrorKind::kCorrupt) << item;
  }
}

TEST_F(ActilityMapping, AListOrObjectAsATagIsTakenAsItsText) {
  EXPECT_EQ(tags(R"({"name":"a","ref":{"b":1,"a":[ 2 ]}})"), R"(a:ref="{\"a\":[2],\"b\":1}";)");
}

Definition defined(const std::string& identity_and_tags) {
  auto parsed = parse_definition(
      "definition: 1\nname: x\nlist: { request: { url: https://h/d }, items: \"\" }\n" + identity_and_tags, "x.yaml");
  EXPECT_TRUE(parsed) << parsed.error().what;
  return *parsed;
}

TEST(Mapping, NestedPlacesAlternativesAndFiltersWork) {
  const Definition d = defined(
      "identity: { deviceId: { from: [/ids/eui, /list/1/eui], filters: [hex-only, upper] } }\n"
      "tags: { lorawan/devEui: /ids/eui, whole: /ids, n: /n, 'a~1b': { from: '/a~1b', required: true } }\n");
  const auto mapper = make_mapper(d);
  auto mapped = mapper->map(R"({"ids":{"eui":"aa-bb","z":1},"n":5.0,"a/b":"s"})");
  ASSERT_TRUE(mapped) << mapped.error().what;
  EXPECT_EQ(mapped->id, "AABB");
  EXPECT_THAT(std::vector<std::string>(mapped->values.begin(), mapped->values.end()),
              testing::ElementsAre("\"aa-bb\"", R"({"eui":"aa-bb","z":1})", "5", "\"s\""));
  mapped = mapper->map(R"({"a/b":1,"list":[{},{"eui":"cc"}]})");
  ASSERT_TRUE(mapped) << mapped.error().what;
  EXPECT_EQ(mapped->id, "CC");
  EXPECT_EQ(mapped->values[0], "");
  mapped = mapper->map(R"({"list":[{},{"eui":"cc"}]})");
  ASSERT_FALSE(mapped);
  EXPECT_THAT(mapped.error().what, HasSubstr("/a~1b"));
  EXPECT_EQ(mapper->failed_id(), "CC");
}

TEST(Mapping, TheItemFilterLeavesForeignItemsOut) {
  const Definition d = defined("identity: { deviceId: /id }\nitemFilter: { pointer: /state, in: [active, 1] }\n");
  const auto mapper = make_mapper(d);
  ASSERT_TRUE(mapper->map(R"({"id":"a","state":"active"})"));
  EXPECT_TRUE(mapper->selected());
  ASSERT_TRUE(mapper->map(R"({"id":"a","state":"deleted"})"));
  EXPECT_FALSE(mapper->selected());
  ASSERT_TRUE(mapper->map(R"({"id":"a","state":1})"));
  EXPECT_TRUE(mapper->selected());
  ASSERT_TRUE(mapper->map(R"({"id":"a"})"));
  EXPECT_FALSE(mapper->selected());
}

TEST(Mapping, FiltersThatFailNameTheTagAndNotTheValue) {
  const Definition d = defined("identity: { deviceId: /id }\ntags: { n: { from: /n, filters: [to-number] } }\n");
  const auto mapper = make_mapper(d);
  const auto mapped = mapper->map(R"({"id":"a","n":"hush"})");
  ASSERT_FALSE(mapped);
  EXPECT_THAT(mapped.error().what, testing::AllOf(HasSubstr("tag 'n'"), testing::Not(HasSubstr("hush"))));
  EXPECT_EQ(make_mapper(d)->map(R"({"id":"a","n":"12"})")->values[0], "12");
}

}  // namespace
}  // namespace twinstep::providers
