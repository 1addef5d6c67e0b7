#include "twinstep/http/address_counts.h"

#include <gtest/gtest.h>

#include <string>

namespace twinstep::http {
namespace {

AddressBlock block(const char* text) { return AddressBlock(boost::asio::ip::make_address(text)); }

TEST(AddressBlock, AnIpv4AddressIsOneHoweverItIsWritten) {
  EXPECT_EQ(block("192.0.2.7"), block("::ffff:192.0.2.7"));
  EXPECT_NE(block("192.0.2.7"), block("192.0.2.8"));
}

TEST(AddressBlock, AnIpv6NetworkOf64BitsIsOne) {
  EXPECT_EQ(block("2001:db8:1:2::1"), block("2001:db8:1:2:ffff:ffff:ffff:ffff"));
  EXPECT_NE(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
  EXPECT_NE(block("::1"), block("::2")) << "loopback is no neighbour of others";
}

TEST(AddressBlock, KnowsThisMachine) {
  for (const char* local : {"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"}) EXPECT_TRUE(block(local).local());
  for (const char* far : {"192.0.2.7", "2001:db8::1", "::2", "0.0.0.0"}) EXPECT_FALSE(block(far).local());
}

TEST(AddressCounts, EachAddressHasItsOwnLimitAndGetsBackWhatItGives) {
  AddressCounts counts(2, false);
  EXPECT_TRUE(counts.take(block("192.0.2.7")));
  EXPECT_TRUE(counts.take(block("192.0.2.7")));
  EXPECT_FALSE(counts.take(block("192.0.2.7")));
  EXPECT_TRUE(counts.take(block("192.0.2.8")));
  counts.give(block("192.0.2.7"));
  EXPECT_TRUE(counts.take(block("192.0.2.7")));
  EXPECT_FALSE(counts.take(block("192.0.2.7")));
}

TEST(AddressCounts, ForgetsWhoHasNothing) {
  AddressCounts counts(1, false);
  for (int i = 1; i < 200; ++i) {
    const AddressBlock who = block(("192.0.2." + std::to_string(i)).c_str());
    ASSERT_TRUE(counts.take(who));
    ASSERT_FALSE(counts.take(who));
    counts.give(who);
  }
  EXPECT_EQ(counts.addresses(), 0u);
}

TEST(AddressCounts, NoLimitCountsNothingAndThisMachineCanBeSpared) {
  AddressCounts none(0, false);
  AddressCounts spared(1, true);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(none.take(block("192.0.2.7")));
    EXPECT_TRUE(spared.take(block("127.0.0.1")));
  }
  EXPECT_TRUE(spared.take(block("192.0.2.7")));
  EXPECT_FALSE(spared.take(block("192.0.2.7")));
  EXPECT_EQ(none.addresses(), 0u);
}

}  // namespace
}  // namespace twinstep::http
