#include "twinstep/security/instance_keys.h"

#include <gtest/gtest.h>

namespace twinstep::security {
namespace {

TEST(InstanceKeys, GrantForOneInstanceWhatTheyWereMadeFor) {
  const InstanceKeys keys(Secret("s"));
  const std::string read = keys.make("0123456789ab", "run-1", false),
                    operate = keys.make("0123456789ab", "run-1", true);
  ASSERT_TRUE(keys.check(read, "run-1") && keys.check(operate, "run-1"));
  EXPECT_FALSE(keys.check(read, "run-1")->operate);
  EXPECT_TRUE(keys.check(operate, "run-1")->operate);
  EXPECT_EQ(keys.check(read, "run-1")->key_id, "0123456789ab");
  EXPECT_FALSE(keys.check(read, "run-2"));
  EXPECT_FALSE(InstanceKeys(Secret("t")).check(read, "run-1")) << "another secret";
}

TEST(InstanceKeys, CannotBeMadeToGrantMore) {
  const InstanceKeys keys(Secret("s"));
  const std::string read = keys.make("0123456789ab", "run-1", false);
  for (size_t i = 0; i < read.size(); ++i) {
    std::string changed = read;
    changed[i] = changed[i] == 'o' ? 'p' : 'o';
    EXPECT_FALSE(keys.check(changed, "run-1")) << i;
  }
  for (const char* text : {"", "tsi_", "tsi_r", "tsi_r_", "tsi_r_0123456789ab", "tsi_r_0123456789ab_", "tsk_x"})
    EXPECT_FALSE(keys.check(text, "run-1")) << text;
  EXPECT_FALSE(keys.check(read + "A", "run-1"));
}

}  // namespace
}  // namespace twinstep::security
