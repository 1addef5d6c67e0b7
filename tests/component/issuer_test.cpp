// Tokens of a local issuer over real sockets: metadata and keys over HTTPS, keys that come and go, an issuer that is
// down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "twinstep/azure/test_issuer.h"
#include "twinstep/azure/token_verifier.h"
#include "twinstep/http/server.h"
#include "twinstep/http/tls_certificate.h"

namespace twinstep::azure {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// The machine's clock, set ahead: deadlines must mean something to sockets too.
class ClockAhead final : public Clock {
 public:
  SystemTime system_now() const override {
    return real_clock().system_now() + std::chrono::duration_cast<std::chrono::microseconds>(ahead_.load());
  }
  SteadyTime steady_now() const override { return real_clock().steady_now() + ahead_.load(); }
  bool sleep_until(SteadyTime when, std::stop_token stop) override {
    return real_clock().sleep_until(when - ahead_.load(), std::move(stop));
  }
  void advance(std::chrono::nanoseconds span) { ahead_ = ahead_.load() + span; }

 private:
  std::atomic<std::chrono::nanoseconds> ahead_{std::chrono::nanoseconds{0}};
};

class LocalIssuer : public testing::Test {
 protected:
  void SetUp() override {
    const SystemTime now = real_clock().system_now();
    authority = std::make_unique<http::CertificateAuthority>(*http::CertificateAuthority::create("issuer", now));
    file = testing::TempDir() + "issuer-" + std::to_string(::getpid()) + ".pem";
    std::ofstream(file) << authority->certificate();
    client = http::make_transport({.ca_file = file, .proxy = "-", .connect_timeout = 5s, .user_agent = {}});
    start(0);
    trust.authority = fmt::format("https://127.0.0.1:{}", port);
    verifier = make_entra_verifier(trust, *client, clock);
  }
  void TearDown() override {
    server.reset();
    std::filesystem::remove(file);
  }

  void start(uint16_t at) {
    const auto identity = authority->issue({"127.0.0.1"}, real_clock().system_now());
    ASSERT_TRUE(identity);
    http::ServerOptions options;
    options.port = at;
    options.tls_certificate = identity->certificate;
    options.tls_key = identity->key;
    auto started = http::Server::start(std::move(options), [this](const auto& request) { return answer(request); });
    ASSERT_TRUE(started) << started.error().what;
    server = std::move(*started);
    port = server->port();
  }

  http::ServerResponse answer(const http::ServerRequest& request) {
    std::scoped_lock lock(mutex);
    http::ServerResponse out;
    const std::string base = fmt::format("https://127.0.0.1:{}", port);
    if (request.path == fmt::format("/{}/v2.0/.well-known/openid-configuration", kTestTenant)) {
      ++fetches;
      out.body = json::write(json::object{{"issuer", fmt::format("{}/{}/v2.0", base, kTestTenant)},
                                          {"jwks_uri", fmt::format("{}/{}/discovery/v2.0/keys", base, kTestTenant)}});
    } else if (request.path == fmt::format("/{}/discovery/v2.0/keys", kTestTenant)) {
      json::array list;
      for (const TestKey* key : keys) list.push_back(key->jwk());
      out.body = json::write(json::object{{"keys", list}});
    } else {
      out.status = 404;
    }
    return out;
  }

  std::string says(const TestKey& key, std::string_view header = {}) {
    const json::object claims = sample_claims(clock.system_now());
    const auto token =
        verifier->verify(header.empty() ? key.sign(claims) : key.sign(header, json::write(claims)), call);
    return token ? "good" : token.error().code;
  }

  TestKey old_key{"old"}, new_key{"new"};
  ClockAhead clock;
  Call call{};
  EntraTrust trust{.tenant = kTestTenant, .audiences = {kTestAudience}};
  std::unique_ptr<http::CertificateAuthority> authority;
  std::string file;
  std::unique_ptr<http::Client> client;
  std::unique_ptr<http::Server> server;
  uint16_t port = 0;
  std::unique_ptr<TokenVerifier> verifier;
  std::mutex mutex;  // guards all below
  std::vector<const TestKey*> keys{&old_key};
  int fetches = 0;
};

TEST_F(LocalIssuer, KeysComeOverTlsAndAreChangedWhileDeliveriesGoOn) {
  EXPECT_EQ(says(old_key), "good");
  EXPECT_EQ(says(new_key), "token.keys-away") << "fetched a moment ago";
  clock.advance(5min);
  {
    std::scoped_lock lock(mutex);
    keys = {&old_key, &new_key};
  }
  EXPECT_EQ(says(new_key), "good");
  EXPECT_EQ(says(old_key), "good");
  clock.advance(24h);
  {
    std::scoped_lock lock(mutex);
    keys = {&new_key};
  }
  EXPECT_EQ(says(new_key), "good");
  clock.advance(5min);
  EXPECT_EQ(says(old_key), "token.unknown-key");
  EXPECT_EQ(fetches, 4);
}

TEST_F(LocalIssuer, AStormOfInventedKeysIsOneFetch) {
  EXPECT_EQ(says(old_key), "good");
  clock.advance(10min);
  std::vector<std::jthread> threads;
  std::atomic<int> refused = 0, good = 0;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto said = says(old_key, fmt::format(R"({{"alg":"RS256","kid":"invented-{}-{}"}})", t, i));
        refused += said == "token.unknown-key" || said == "token.keys-away" ? 1 : 0;
        good += says(old_key) == "good" ? 1 : 0;
      }
    });
  threads.clear();
  EXPECT_EQ(refused, 400);
  EXPECT_EQ(good, 400);
  EXPECT_EQ(fetches, 2);
}

TEST_F(LocalIssuer, AnIssuerThatIsDownIsWaitedFor) {
  server.reset();
  const auto token = verifier->verify(old_key.sign(sample_claims(clock.system_now())), call);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(token.error().code, "token.keys-away");
  clock.advance(30s);
  start(port);
  EXPECT_EQ(says(old_key), "good");
  server.reset();
  clock.advance(25h);
  EXPECT_EQ(says(old_key), "good") << "with the keys from before";
  EXPECT_EQ(says(new_key), "token.keys-away");
}

TEST_F(LocalIssuer, AnIssuerWithACertificateOfSomebodyElseIsNotBelieved) {
  *authority = std::move(*http::CertificateAuthority::create("somebody else", real_clock().system_now()));
  server.reset();
  start(port);
  const auto token = verifier->verify(old_key.sign(sample_claims(clock.system_now())), call);
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().code, "token.keys-away");
  EXPECT_EQ(fetches, 0);
}

}  // namespace
}  // namespace twinstep::azure
