#include "twinstep/store/metered_database.h"

#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"
#include "twinstep/store/workflow_store.h"

namespace twinstep::store {
namespace {

/// Fails as it is told.
class Away final : public Database {
 public:
  Status write(const Body&, const Call&) override { return fail(error); }
  Status read(const Body&, const Call&) override { return fail(error); }
  void listen(Listener) override {}
  bool shared() const override { return true; }
  Millis went_back() const override { return Millis{5}; }
  Error error{.kind = ErrorKind::kUnavailable, .what = "away", .code = "store.away"};
};

class MeteredDatabaseTest : public ::testing::Test {
 protected:
  bool counted(const std::string& line) const { return metrics.text().find("\n" + line + "\n") != std::string::npos; }
  FakeClock clock;
  obs::Metrics metrics{"1", clock};
};

TEST_F(MeteredDatabaseTest, MeasuresReadsWritesAndCommits) {
  const auto database = with_metrics(open_database("sqlite::memory:", clock).value(), metrics, clock);
  ASSERT_TRUE(database->change("INSERT INTO meta (name, value) VALUES ('a', 'b')", {}, {}));
  EXPECT_EQ(database->ask("SELECT value FROM meta WHERE name = 'a'", {}, {}).value().text(0, 0), "b");
  const Status refused =
      database->write([](Transaction&) -> Status { return fail(ErrorKind::kConflict, "store.busy-key", "no"); }, {});
  EXPECT_FALSE(refused);
  EXPECT_TRUE(counted(R"(twinstep_store_call_seconds_count{operation="write"} 2)"));
  EXPECT_TRUE(counted(R"(twinstep_store_call_seconds_count{operation="commit"} 1)"));
  EXPECT_TRUE(counted(R"(twinstep_store_call_seconds_count{operation="read"} 1)"));
  EXPECT_EQ(metrics.text().find("twinstep_store_errors_total{"), std::string::npos) << "a conflict is an answer";
}

TEST_F(MeteredDatabaseTest, CountsWhatTheStoreFails) {
  const auto database = with_metrics(std::make_unique<Away>(), metrics, clock);
  EXPECT_FALSE(database->ask("SELECT 1", {}, {}));
  EXPECT_FALSE(database->change("DELETE FROM meta", {}, {}));
  EXPECT_TRUE(database->shared());
  EXPECT_EQ(database->went_back(), Millis{5});
  EXPECT_TRUE(counted(R"(twinstep_store_errors_total{kind="unavailable",operation="read"} 1)"));
  EXPECT_TRUE(counted(R"(twinstep_store_errors_total{kind="unavailable",operation="write"} 1)"));
}

}  // namespace
}  // namespace twinstep::store
