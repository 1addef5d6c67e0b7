#include <gtest/gtest.h>

#include <sstream>

#include "twinstep/base/backoff.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/base/ids.h"
#include "twinstep/base/secret.h"
#include "twinstep/base/time_format.h"
#include "twinstep/base/token_bucket.h"
#include "twinstep/base/units.h"

namespace twinstep {
namespace {

using namespace std::chrono_literals;

TEST(Secret, CannotBePrintedByStreamOrFormat) {
  const Secret secret("hunter2");
  std::ostringstream out;
  out << secret;
  EXPECT_EQ(out.str(), "***");
  EXPECT_EQ(fmt::format("{}", secret), "***");
  EXPECT_EQ(secret.reveal(), "hunter2");
}

TEST(Base64, RoundTripsEveryLengthAndRefusesWhatIsNotCanonical) {
  std::string bytes;
  for (int i = 0; i < 70; ++i) {
    EXPECT_EQ(base64_decode(base64_encode(bytes)).value(), bytes);
    bytes.push_back(static_cast<char>(i * 37));
  }
  for (const char* bad : {"A", "AA=", "AB==", "A===", "AA=A", "A*AA", "AAB="}) EXPECT_FALSE(base64_decode(bad)) << bad;
}

TEST(PercentEncoding, KeepsOnlyUnreservedAndDecodesBack) {
  const std::string nasty = "dev 01/%#?+:'()!*@;$,=\xC3\xA9";
  EXPECT_EQ(percent_encode("examplehub.azure-devices.net/devices/dev 01"),
            "examplehub.azure-devices.net%2Fdevices%2Fdev%2001");
  EXPECT_EQ(percent_decode(percent_encode(nasty)), nasty);
  EXPECT_EQ(percent_decode("a+b%2"), "a+b%2");
  EXPECT_EQ(percent_decode("a+b", true), "a b");
}

TEST(DeviceIds, DevEuiComparesWithoutCaseAndSeparatorsOthersExactly) {
  for (const char* same : {"0004A30B001C0530", "0004a30b001c0530", "00-04-A3-0B-00-1C-05-30", "00:04:a3:0b:00:1c:05:30",
                           "0004A30B-001C0530"})
    EXPECT_EQ(canonical_device_id(same), "0004A30B001C0530") << same;
  for (const char* as_is : {"Dev-1", "dev-1", "0004A30B001C053", "0004A30B001C05300", "-0004A30B001C0530",
                            "0004A30B001C0530-", "0004A30B--001C0530", "eui-0004a30b001c0530", ""})
    EXPECT_EQ(canonical_device_id(as_is), as_is);
}

TEST(DeviceIds, HubRuleAllowsItsCharactersAndLength) {
  EXPECT_TRUE(is_legal_hub_device_id("aZ09-:.+%_#*?!(),=@;$'"));
  EXPECT_TRUE(is_legal_hub_device_id(std::string(128, 'x')));
  EXPECT_FALSE(is_legal_hub_device_id(std::string(129, 'x')));
  for (const char* bad : {"", "a b", "a/b", "caf\xC3\xA9", "a\"b", "a&b", "a\\b"})
    EXPECT_FALSE(is_legal_hub_device_id(bad));
}

TEST(TokenBucket, AShareOfItLeavesTheRestToOthers) {
  FakeClock clock;
  TokenBucket bucket(10, 10, clock);
  bucket.set_share(0.25);
  EXPECT_EQ(bucket.rate_per_second(), 2.5);
  const auto begin = clock.steady_now();
  for (int i = 0; i < 52; ++i) ASSERT_TRUE(bucket.acquire(1, {}));
  EXPECT_NEAR(std::chrono::duration<double>(clock.steady_now() - begin).count(), (52 - 2.5) / 2.5, 0.01);
  bucket.set_share(1);
  EXPECT_EQ(bucket.rate_per_second(), 10);
}

TEST(TokenBucket, LetsTheBurstThroughThenHoldsTheRateInOrder) {
  FakeClock clock;
  TokenBucket bucket(10, 5, clock);
  const Call call;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(bucket.acquire(1, call));
  EXPECT_TRUE(clock.sleeps().empty());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(bucket.acquire(1, call));
  EXPECT_EQ(clock.sleeps().size(), 20u);
  for (auto wait : clock.sleeps()) EXPECT_NEAR(static_cast<double>(wait.count()), 100, 1);
}

TEST(TokenBucket, RefusesAtOnceWhenTheDeadlineCannotBeMetAndTakesNothing) {
  FakeClock clock;
  TokenBucket bucket(1, 1, clock);
  ASSERT_TRUE(bucket.acquire(1, {}));
  const auto refused = bucket.acquire(10, {clock.steady_now() + 1s, {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kTimeout);
  EXPECT_NEAR(std::chrono::duration<double>(bucket.wait_for(1)).count(), 1.0, 0.01);
}

TEST(TokenBucket, PauseHoldsEverybodyBack) {
  FakeClock clock;
  TokenBucket bucket(10, 5, clock);
  const auto start = clock.steady_now();
  bucket.pause_until(start + 10s);
  ASSERT_TRUE(bucket.acquire(1, {}));
  EXPECT_GE(clock.steady_now() - start, 10s);
}

TEST(Backoff, DoublesUpToTheCapWithinTheJitter) {
  Rng rng(1);
  const Backoff backoff{.first = 1s, .cap = 10s, .factor = 2, .jitter = 0.2};
  for (int attempt = 1; attempt < 12; ++attempt) {
    const double nominal = std::min(10'000.0, 1000.0 * std::pow(2, attempt - 1));
    const auto wait = static_cast<double>(backoff.after(attempt, rng).count());
    EXPECT_GE(wait, nominal * 0.8 - 1);
    EXPECT_LE(wait, nominal * 1.2 + 1);
  }
}

TEST(Times, ReadsEveryFormThatTheHubAndHttpSend) {
  const auto expected = SystemTime{1787263531s};
  for (const char* same :
       {"2026-08-20T22:05:31Z", "2026-08-20T22:05:31", "2026-08-20T22:05:31.0000000Z", "2026-08-21T00:05:31+02:00"})
    EXPECT_EQ(parse_iso(same).value(), expected) << same;
  EXPECT_EQ(parse_iso("2026-08-20T22:05:31.1234567Z").value(), expected + 123456us);
  EXPECT_TRUE(parse_iso("0001-01-01T00:00:00"));
  for (const char* same :
       {"Thu, 20 Aug 2026 22:05:31 GMT", "Thursday, 20-Aug-26 22:05:31 GMT", "Thu Aug 20 22:05:31 2026"})
    EXPECT_EQ(parse_http_date(same).value(), expected) << same;
  EXPECT_EQ(parse_iso("2026-08-21T00:05:31.5+02:00").value(), expected + 500ms);
  for (const char* wrong : {"yesterday", "2026-08-20T22:05:.", "2026-08-20T22:05:.5Z", "2026-08-20T22:05:31.Z",
                            "2026.5-08-20T22:05:31Z", "2026-08-20T22:05:31.5.5Z", "2026-02-30T00:00:00Z",
                            "2026-11-23T10*00:00.125Z", "2026-11-23T10:00*00Z", "2026-11-23T10:00:00+0*:00", ""})
    EXPECT_FALSE(parse_iso(wrong)) << wrong;
  for (const char* wrong :
       {"Thu, 20 Aug 2026 22:05:. GMT", "Thu, 20 Aug 2026 22*05:31 GMT", "Thu, 20 Aug 2026", ":", ""})
    EXPECT_FALSE(parse_http_date(wrong)) << wrong;
  EXPECT_EQ(format_iso_millis(expected + 41ms), "2026-08-20T22:05:31.041Z");
  EXPECT_EQ(format_http_date(expected), "Thu, 20 Aug 2026 22:05:31 GMT");
}

TEST(Units, DurationsAndSizesNeedAUnit) {
  EXPECT_EQ(parse_duration("5m").value(), 5min);
  EXPECT_EQ(parse_duration("6d").value(), 144h);
  EXPECT_EQ(parse_size("64MiB").value(), 64u << 20);
  for (const char* bad : {"30", "", "s", "-1s", "1.5h", "5 weeks", "99999999999999999999s", "18446744073709551615d"})
    EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(Units, NearestNamesTheLikelyMeantWordOrNone) {
  const std::vector<std::string> keys{"tokenUri", "devicesUri", "clientId", "clientSecret"};
  EXPECT_EQ(nearest("tokenurl", keys), "tokenUri");
  EXPECT_EQ(nearest("client_secret", keys), "clientSecret");
  EXPECT_EQ(nearest("banana", keys), "");
}

TEST(Utf8, RefusesOverlongSurrogatesAndCutSequences) {
  EXPECT_TRUE(is_utf8("plain caf\xC3\xA9 \xF0\x9F\x98\x80"));
  for (const char* bad : {"\xC0\xAF", "\xED\xA0\x80", "\xC3", "\xFF", "\xF4\x90\x80\x80"}) EXPECT_FALSE(is_utf8(bad));
}

}  // namespace
}  // namespace twinstep
