#include "twinstep/providers/filters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/json/canonical.h"

namespace twinstep::providers {
namespace {

using testing::HasSubstr;
using testing::Not;

const Tables kTables{{"versions", {{"1.0.2", "MAC_V1_0_2"}}}};

/// The filtered value as JSON, "absent", or the error.
std::string filtered(std::initializer_list<std::string_view> names, std::optional<json::value> v) {
  std::vector<Filter> filters;
  for (const std::string_view name : names) {
    auto filter = parse_filter(name, kTables);
    if (!filter) return filter.error().what;
    filters.push_back(std::move(*filter));
  }
  const auto out = apply_filters(filters, std::move(v));
  if (!out) return out.error().what;
  return *out ? json::canonical(**out) : "absent";
}

TEST(Filters, ChangeTexts) {
  EXPECT_EQ(filtered({"upper"}, "aZ\xC3\xA9"), "\"AZ\xC3\xA9\"");
  EXPECT_EQ(filtered({"lower"}, "AZ"), "\"az\"");
  EXPECT_EQ(filtered({"hex-only", "upper"}, "00-1a:Bg"), "\"001AB\"");
  EXPECT_EQ(filtered({"prefix:urn:x"}, "a"), "filter 'prefix' takes 1 argument(s), not 2");
  EXPECT_EQ(filtered({"prefix:'urn:x:'"}, "a"), "\"urn:x:a\"");
  EXPECT_EQ(filtered({"strip-prefix:'urn:'"}, "urn:a"), "\"a\"");
  EXPECT_EQ(filtered({"strip-prefix:'urn:'"}, "a"), "\"a\"");
  EXPECT_EQ(filtered({"replace:a:bb"}, "aca"), "\"bbcbb\"");
  EXPECT_EQ(filtered({"truncate:2"}, "\xC3\xA9\xC3\xA9\xC3\xA9"), "\"\xC3\xA9\xC3\xA9\"");
  EXPECT_EQ(filtered({"url-encode"}, "a b/c"), "\"a%20b%2Fc\"");
  EXPECT_EQ(filtered({"regex:'^dev-([0-9]+)$'"}, "dev-12"), "\"12\"");
  EXPECT_EQ(filtered({"regex:'^dev-([0-9]+)$'"}, "x"), "absent");
}

TEST(Filters, ChangeTypes) {
  EXPECT_EQ(filtered({"to-text"}, 5), "\"5\"");
  EXPECT_EQ(filtered({"to-text"}, true), "\"true\"");
  EXPECT_EQ(filtered({"to-text"}, nullptr), "\"\"");
  EXPECT_EQ(filtered({"to-text"}, std::nullopt), "absent");
  EXPECT_EQ(filtered({"to-number"}, "12"), "12");
  EXPECT_EQ(filtered({"to-number"}, "1.5"), "1.5");
  EXPECT_EQ(filtered({"to-number"}, "9007199254740993"), "9007199254740993");
  EXPECT_THAT(filtered({"to-number"}, "12x"), HasSubstr("not a number"));
  EXPECT_THAT(filtered({"to-number"}, "nan"), HasSubstr("not a number"));
  EXPECT_EQ(filtered({"to-boolean"}, "1"), "true");
  EXPECT_THAT(filtered({"to-boolean"}, "maybe"), HasSubstr("not true or false"));
  EXPECT_EQ(filtered({"to-hex:16"}, 255), "\"00000000000000ff\"");
  EXPECT_EQ(filtered({"to-hex"}, "18446744073709551615"), "\"ffffffffffffffff\"");
  EXPECT_THAT(filtered({"to-hex"}, "-1"), HasSubstr("not a whole decimal number"));
  EXPECT_EQ(filtered({"join:','"}, json::array{"a", 5}), "\"a,5\"");
  EXPECT_THAT(filtered({"upper"}, json::array{"a"}), HasSubstr("plain text is needed"));
}

TEST(Filters, DefaultsServeAbsentNullAndEmptyValues) {
  for (const std::optional<json::value>& v :
       {std::optional<json::value>{}, std::optional<json::value>{nullptr}, std::optional<json::value>{""}}) {
    EXPECT_EQ(filtered({"default:x"}, v), "\"x\"");
  }
  EXPECT_EQ(filtered({"default:x"}, 0), "0");
  EXPECT_EQ(filtered({"upper"}, nullptr), "null");
}

TEST(Filters, TablesTranslateAndRefuseWhatTheyDoNotKnow) {
  EXPECT_EQ(filtered({"table:versions"}, "1.0.2"), "\"MAC_V1_0_2\"");
  EXPECT_THAT(filtered({"table:versions"}, "hush"),
              testing::AllOf(HasSubstr("not in the table 'versions'"), Not(HasSubstr("hush"))));
  EXPECT_THAT(filtered({"table:none"}, "a"), HasSubstr("no table 'none'"));
}

TEST(Filters, MistakesAreToldAtLoad) {
  EXPECT_THAT(filtered({"uper"}, "a"), HasSubstr("did you mean 'upper'?"));
  EXPECT_THAT(filtered({"truncate:0"}, "a"), HasSubstr("from 1 to 10000"));
  EXPECT_THAT(filtered({"truncate:x"}, "a"), HasSubstr("from 1 to 10000"));
  EXPECT_THAT(filtered({"regex:'('"}, "a"), HasSubstr("not a regular expression"));
  EXPECT_THAT(filtered({"prefix:'a"}, "a"), HasSubstr("closing quote"));
}

TEST(Filters, ALongTextDoesNotBreakAPattern) {
  EXPECT_EQ(filtered({"regex:'^(a|b)*$'"}, json::value(std::string(100'000, 'a'))), "\"a\"");
}

}  // namespace
}  // namespace twinstep::providers
