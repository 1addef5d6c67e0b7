#include "twinstep/json/canonical.h"

#include <gtest/gtest.h>

namespace twinstep::json {
namespace {

Result<std::string> from_text(std::string_view text) {
  static Canonicalizer canonicalizer;
  static simdjson::ondemand::parser parser;
  const std::string wrapped = "[" + std::string(text) + "]";
  const simdjson::padded_string padded(wrapped);
  auto document = parser.iterate(padded);
  simdjson::ondemand::value v;
  if (document.get_array().at(0).get(v)) return fail(ErrorKind::kCorrupt, "test", "no value");
  std::string out = "before:";
  const Status done = canonicalizer.append(v, out);
  if (!done) {
    EXPECT_EQ(out, "before:");
    return fail(done.error());
  }
  return out.substr(7);
}

/// Both readers must write the same text.
void expect_canonical(std::string_view text, std::string_view wanted) {
  EXPECT_EQ(from_text(text).value_or("failed"), wanted) << text;
  EXPECT_EQ(canonical(parse(text, "test").value()), wanted) << text;
}

TEST(Canonical, NumbersOfOneValueHaveOneText) {
  for (const char* five : {"5", "5.0", "5e0", "50e-1", "0.5E1"}) expect_canonical(five, "5");
  for (const char* zero : {"0", "-0", "0.0", "-0.0", "0e5"}) expect_canonical(zero, "0");
  expect_canonical("9223372036854775807", "9223372036854775807");
  expect_canonical("-9223372036854775808", "-9223372036854775808");
  expect_canonical("18446744073709551615", "18446744073709551615");
  expect_canonical("1e18", "1000000000000000000");
  expect_canonical("1000000000000000000", "1000000000000000000");
  expect_canonical("1e300", "1e+300");
  expect_canonical("100000000000000000000", "1e+20");
  expect_canonical("-2.50", "-2.5");
}

TEST(Canonical, StringsCarryTheFewestEscapes) {
  expect_canonical(R"("plain")", R"("plain")");
  expect_canonical(R"("\u0041\/\u00e9")", "\"A/\xc3\xa9\"");
  expect_canonical(R"("\"\\\b\f\n\r\t\u0001\u001F")", R"("\"\\\b\f\n\r\t\u0001\u001f")");
  expect_canonical(R"("\ud83d\ude00")", "\"\xf0\x9f\x98\x80\"");
}

TEST(Canonical, MembersAreSortedByKeyAtEveryDepth) {
  expect_canonical(R"({ "b" : {"z":1,"a":[ {"d":null,"c":true} ,2] }, "a\u0061" : "x" , "a":false})",
                   R"({"a":false,"aa":"x","b":{"a":[{"c":true,"d":null},2],"z":1}})");
  expect_canonical("{}", "{}");
  expect_canonical("[]", "[]");
  expect_canonical(R"({"\"":1,"!":2,"#":3})", R"({"!":2,"\"":1,"#":3})");
}

TEST(Canonical, OfRepeatedKeysTheLastCounts) {
  expect_canonical(R"({"a":1,"b":2,"a":3,"a":{"y":1,"x":2}})", R"({"a":{"x":2,"y":1},"b":2})");
}

TEST(Canonical, RefusesWhatIsNotJson) {
  for (const char* bad : {"nul", "tru", "01", "1.", "-", "\"\\x\"", "{\"a\":}", "{\"a\" 1}"}) {
    const auto result = from_text(bad);
    ASSERT_FALSE(result) << bad;
    EXPECT_EQ(result.error().kind, ErrorKind::kCorrupt);
  }
  EXPECT_FALSE(from_text(std::string(100, '[') + std::string(100, ']')));
}

}  // namespace
}  // namespace twinstep::json
