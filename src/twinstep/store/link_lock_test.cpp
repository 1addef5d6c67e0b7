#include "twinstep/store/link_lock.h"

#include "twinstep/store/lease_contract.h"

namespace twinstep::store {
namespace {

INSTANTIATE_TEST_SUITE_P(Sqlite, LeaseContract,
                         ::testing::Values(Kind{"memory", SqliteSubject::in_memory},
                                           Kind{"file", SqliteSubject::in_file}),
                         [](const auto& which) { return std::string(which.param.name); });

TEST(LinkLock, OfOneMachinesStoreIsAFileThatEachLinkHas) {
  FakeClock clock;
  Rng rng{1};
  const std::string path = std::filesystem::temp_directory_path() / ("twinstep-lock-" + rng.hex_id() + ".db");
  const auto database = open_database("sqlite:" + path, clock).value();
  LinkLocks locks(*database, "sqlite:" + path, 60s, clock, rng);
  {
    const auto held = locks.take("a", {"x", "people"}, {});
    ASSERT_TRUE(held);
    EXPECT_TRUE((*held)->holds());
    clock.advance(24h);
    EXPECT_TRUE((*held)->holds()) << "the operating system knows no end";
    EXPECT_EQ(locks.take("a", {"y", "people"}, {}).error().code, "link.busy");
    EXPECT_TRUE(locks.take("b", {"y", "people"}, {}));
  }
  EXPECT_TRUE(locks.take("a", {"y", "people"}, {}));
  const std::string folder = std::filesystem::path(path).parent_path();
  for (const auto& file : std::filesystem::directory_iterator(folder))
    if (file.path().string().starts_with(path)) std::filesystem::remove(file.path());
}

TEST(LinkLock, SaysWhoItIsForPeople) {
  EXPECT_THAT(who_in_this_process("twinstep plan"),
              ::testing::MatchesRegex("twinstep plan \\(process " + std::to_string(::getpid()) + " on .+\\)"));
}

}  // namespace
}  // namespace twinstep::store
