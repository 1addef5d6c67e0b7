#include "twinstep/yaml/document.h"

#include <gtest/gtest.h>

namespace twinstep::yaml {
namespace {

TEST(Yaml, EveryComplaintNamesFileLineColumnAndTheNearestKey) {
  const Node root = parse("name: x\nshedule: hourly\nwait: 5 parsecs\n", "a.yaml").value();
  Diagnostics diagnostics("a.yaml");
  MapReader map(root, diagnostics, "link");
  EXPECT_EQ(map.text("name"), "x");
  map.text("schedule");
  EXPECT_FALSE(map.duration("wait"));
  map.finish();
  ASSERT_EQ(diagnostics.errors().size(), 2u);
  EXPECT_EQ(diagnostics.errors()[0].what.substr(0, 11), "a.yaml:3:7:");
  EXPECT_EQ(diagnostics.errors()[1].what, "a.yaml:2:1: unknown key 'shedule' in link; did you mean 'schedule'?");
  EXPECT_EQ(diagnostics.errors()[1].code, "yaml.unknown-key");
}

TEST(Yaml, RefusesRepeatedKeysSyntaxErrorsAndAliasBombs) {
  const auto twice = parse("a: 1\nb:\n  c: 1\n  c: 2\n", "f.yaml");
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().what.substr(0, 11), "f.yaml:4:3:");
  EXPECT_EQ(parse("a: [1, 2", "f.yaml").error().code, "yaml.syntax");
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += fmt::format("a{0}: &a{0} [", i);
    for (int k = 0; k < 10; ++k) bomb += fmt::format("*a{}{}", i - 1, k < 9 ? "," : "]\n");
  }
  EXPECT_FALSE(parse(bomb, "bomb.yaml"));
}

TEST(Yaml, QuotedScalarsStayTextsInJson) {
  const Node root = parse(R"({"a": "5", "b": 5, "c": true, "d": "true", "e": null, "f": 1.5, "g": ""})", "x").value();
  EXPECT_EQ(json::write(root.to_json()), R"({"a":"5","b":5,"c":true,"d":"true","e":null,"f":1.5E0,"g":""})");
}

TEST(Yaml, MissingFileNamesIt) {
  const auto missing = load("/nonexistent/twinstep.yaml");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().what.find("/nonexistent/twinstep.yaml"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::yaml
