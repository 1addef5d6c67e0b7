#include "twinstep/store/state_file.h"
#include "twinstep/store/sqlite.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "twinstep/base/fake_clock.h"
#include "twinstep/store/file_lock.h"
#include "twinstep/store/state_contract.h"

namespace twinstep::store {
namespace {

INSTANTIATE_TEST_SUITE_P(Sqlite, StateContract, ::testing::Values(Kind{"file", SqliteSubject::in_file}),
                         [](const auto& which) { return std::string(which.param.name); });

class State : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-state-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    path = folder + "/deeper/twinstep.db";
    state = open();
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::unique_ptr<StateFile> open() {
    auto opened = StateFile::open(path, clock);
    EXPECT_TRUE(opened) << opened.error().what;
    return opened ? std::move(*opened) : nullptr;
  }
  FakeClock clock;
  std::string folder, path;
  std::unique_ptr<StateFile> state;
};

TEST_F(State, IsReadableByItsOwnerOnly) {
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(State, ANewerSchemaIsRefused) {
  state.reset();
  ASSERT_TRUE(Sqlite::open(path)->execute("PRAGMA user_version = 99"));
  const auto opened = StateFile::open(path, clock);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "store.newer");
}

TEST_F(State, TwoProcessesCannotHoldOneFileLock) {
  auto first = FileLock::take("sqlite:" + path, "a");
  ASSERT_TRUE(first);
  const auto second = FileLock::take(path, "a");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kConflict);
  EXPECT_TRUE(FileLock::take("sqlite:" + path, "b"));
  { const auto gone = std::move(*first); }
  EXPECT_TRUE(FileLock::take("sqlite:" + path, "a"));
}

TEST_F(State, ASymbolicLinkToTheFileLeadsToTheSameLock) {
  const std::string link = folder + "/by-another-name.db";
  std::filesystem::create_symlink(path, link);
  const auto first = FileLock::take("sqlite:" + path, "a");
  ASSERT_TRUE(first);
  const auto second = FileLock::take("sqlite:" + link, "a");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kConflict);
}

}  // namespace
}  // namespace twinstep::store
