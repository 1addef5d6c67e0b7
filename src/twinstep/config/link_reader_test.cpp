#include "twinstep/config/link_reader.h"

#include <gtest/gtest.h>

namespace twinstep::config {
namespace {

TEST(LinkReader, ReadsWhatIsWrittenAndKeepsTheOtherDefaults) {
  yaml::Diagnostics diagnostics("t.yaml");
  const auto node = yaml::parse("{name: a, hub: h, external: e, deletes: disable, limits: {deletes: 500}}", "t.yaml");
  const Link link = read_link(node.value(), diagnostics);
  ASSERT_TRUE(diagnostics.ok());
  EXPECT_EQ(link.deletes, Deletes::kDisable);
  EXPECT_EQ(link.limits.deletes.count, 500u);
  EXPECT_EQ(link.limits.updates.percent, 30.0);
  EXPECT_EQ(link.scope, Scope::kOwned);
}

TEST(LinkReader, MissingDeletesAndABadLimitAreErrorsWithTheirPlace) {
  yaml::Diagnostics diagnostics("t.yaml");
  const auto node = yaml::parse("name: a\nhub: h\nexternal: e\nlimits:\n  shrink: 120%\n", "t.yaml");
  read_link(node.value(), diagnostics);
  ASSERT_EQ(diagnostics.errors().size(), 2u);
  EXPECT_EQ(diagnostics.errors()[0].code, "config.deletes-missing");
  EXPECT_EQ(diagnostics.errors()[1].what.substr(0, 12), "t.yaml:5:11:");
}

TEST(LinkReader, ABadScheduleAndABadZoneAreErrorsWithTheirPlace) {
  yaml::Diagnostics diagnostics("t.yaml");
  const auto node = yaml::parse(
      "name: a\nhub: h\nexternal: e\ndeletes: delete\nschedule: 0 25 * * *\nzone: Europe/Berln\n", "t.yaml");
  read_link(node.value(), diagnostics);
  ASSERT_EQ(diagnostics.errors().size(), 2u);
  EXPECT_EQ(diagnostics.errors()[0].code, "cron.bad-expression");
  EXPECT_EQ(diagnostics.errors()[0].what.substr(0, 12), "t.yaml:5:11:");
  EXPECT_EQ(diagnostics.errors()[1].code, "cron.bad-zone");
  EXPECT_EQ(diagnostics.errors()[1].what.substr(0, 11), "t.yaml:6:7:");
}

}  // namespace
}  // namespace twinstep::config
