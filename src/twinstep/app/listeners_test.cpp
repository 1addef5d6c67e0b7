#include "twinstep/app/listeners.h"

#include <gtest/gtest.h>

namespace twinstep::app {
namespace {

TEST(Listeners, WhatIsConfiguredHoldsForThePublicOne) {
  config::Serve serve;
  serve.max_connections = 11;
  serve.max_connections_per_address = 12;
  serve.max_requests_per_address = 0;
  serve.idle_timeout = Millis{13'000};
  serve.request_timeout = Millis{4'000};
  const http::ServerOptions options = public_options(serve, {"127.0.0.1", 14});
  EXPECT_EQ(options.port, 14);
  EXPECT_EQ(options.max_connections, 11);
  EXPECT_EQ(options.connections_per_address.most, 12);
  EXPECT_FALSE(options.connections_per_address.spare_local) << "who writes a number means it for everybody";
  EXPECT_EQ(options.requests_per_address.most, 0);
  EXPECT_EQ(options.idle_timeout, Millis{13'000});
  EXPECT_EQ(options.read_timeout, Millis{4'000});
  EXPECT_EQ(options.head_timeout, Millis{4'000}) << "no longer than the whole request";
  EXPECT_EQ(options.handshake_timeout, Millis{4'000});
  EXPECT_TRUE(options.security_headers);
}

TEST(Listeners, WithoutConfigurationStrangersAreLimitedAndThisMachineIsNot) {
  const http::ServerOptions options = public_options({}, {"127.0.0.1", 0});
  EXPECT_EQ(options.connections_per_address.most, 256);
  EXPECT_TRUE(options.connections_per_address.spare_local);
  EXPECT_EQ(options.requests_per_address.most, 128);
  EXPECT_TRUE(options.requests_per_address.spare_local);
  EXPECT_EQ(options.head_timeout, Millis{10'000});
}

TEST(Listeners, TheOneForOperatorsHasLimitsOfItsOwn) {
  const http::ServerOptions options = operations_options({"127.0.0.1", 15});
  EXPECT_EQ(options.port, 15);
  EXPECT_LT(options.max_connections, config::Serve().max_connections);
  EXPECT_TRUE(options.security_headers);
  EXPECT_EQ(options.tls_certificate, "");
}

}  // namespace
}  // namespace twinstep::app
