#include "twinstep/security/seal.h"

#include <gtest/gtest.h>

#include <memory>

#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/security/sealed_store.h"

namespace twinstep::security {
namespace {

SealKey key(char fill) { return SealKey::parse(Secret(base64_encode(std::string(32, fill))), "store_key").value(); }

TEST(SealKey, IsTakenAsBase64AndAsHexAndIsTheSame) {
  const std::string bytes = random_bytes(32);
  const auto base64 = SealKey::parse(Secret(base64_encode(bytes)), "store_key");
  const auto hex = SealKey::parse(Secret(hex_encode(bytes)), "store_key");
  ASSERT_TRUE(base64 && hex);
  EXPECT_EQ(base64->id(), hex->id());
  EXPECT_EQ(base64->bytes().reveal(), bytes);
  EXPECT_EQ(base64->id(), hex_encode(sha256(bytes)).substr(0, 8));
}

TEST(SealKey, OfAnotherLengthIsRefusedWithTheWayToMakeOneAndWithoutItsText) {
  for (const std::string& text : {std::string("hunter2hunter2"), base64_encode(std::string(31, 'x')),
                                  base64_encode(std::string(33, 'x')), std::string(64, 'g'), std::string()}) {
    const auto parsed = SealKey::parse(Secret(text), "store_key");
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, "config.store-key");
    EXPECT_NE(parsed.error().what.find("openssl rand -base64 32"), std::string::npos);
    EXPECT_TRUE(text.empty() || parsed.error().what.find(text) == std::string::npos);
  }
}

TEST(Sealer, OpensWhatItSealedAndNeverSealsTheSameTwice) {
  const Sealer sealer({key('a')});
  for (const std::string& plain : {std::string(), std::string("x"), std::string(5000, 'p'), std::string("a\0b", 3)}) {
    const auto once = sealer.seal(plain, "secret", "row");
    const auto again = sealer.seal(plain, "secret", "row");
    ASSERT_TRUE(once && again);
    EXPECT_NE(*once, *again);
    EXPECT_EQ(once->rfind("v1:" + sealer.key_id() + ":", 0), 0u);
    EXPECT_EQ(sealer.open(*once, "secret", "row").value().reveal(), plain);
  }
}

TEST(Sealer, ATextOpensForItsPurposeAndRowOnly) {
  const Sealer sealer({key('a')});
  const std::string sealed = sealer.seal("hidden", "secret", "row").value();
  for (const auto& [purpose, row] : {std::pair{"secret", "other"}, {"other", "row"}, {"secre", "trow"}}) {
    const auto opened = sealer.open(sealed, purpose, row);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::kCorrupt);
  }
}

TEST(Sealer, EveryChangedCharacterIsNoticed) {
  const Sealer sealer({key('a')});
  const std::string sealed = sealer.seal("hidden", "secret", "row").value();
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    const auto opened = sealer.open(changed, "secret", "row");
    EXPECT_FALSE(opened) << "at " << i;
  }
  EXPECT_FALSE(sealer.open(sealed.substr(0, 30), "secret", "row"));
  EXPECT_FALSE(sealer.open("", "secret", "row"));
}

TEST(Sealer, AnOlderKeyStillOpensAndAMissingOneIsNamed) {
  const std::string sealed = Sealer({key('a')}).seal("hidden", "secret", "row").value();
  EXPECT_EQ(Sealer({key('b'), key('a')}).open(sealed, "secret", "row").value().reveal(), "hidden");
  const auto refused = Sealer({key('b')}).open(sealed, "secret", "row");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kDenied);
  EXPECT_EQ(refused.error().code, "store.sealed");
  EXPECT_NE(refused.error().what.find(key('a').id()), std::string::npos);
}

class SealedStoreTest : public ::testing::Test {
 protected:
  int sealed_by(const SealKey& one) {
    const auto rows = database->ask("SELECT value FROM sealed", {}, {}).value();
    int out = 0;
    for (size_t i = 0; i < rows.size(); ++i) out += Sealer::key_id_of(rows.text(i, 0)) == one.id();
    return out;
  }
  FakeClock clock;
  std::unique_ptr<store::Database> database = store::open_database("sqlite::memory:", clock).value();
  SealedStore sealed{*database};
};

TEST_F(SealedStoreTest, WhoComesSecondGetsTheSecretOfTheFirstAndTheDatabaseHoldsNoPlainText) {
  const Sealer sealer({key('a')});
  EXPECT_EQ(sealed.get_or_put("one", Secret("plain-canary"), sealer, {}).value().reveal(), "plain-canary");
  EXPECT_EQ(sealed.get_or_put("one", Secret("another"), sealer, {}).value().reveal(), "plain-canary");
  const auto rows = database->ask("SELECT value FROM sealed", {}, {}).value();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows.text(0, 0).find("plain-canary"), std::string::npos);
}

TEST_F(SealedStoreTest, RekeySealsEverythingAnewInBatchesAndIsSafeToRepeat) {
  const Sealer before({key('a')});
  for (int i = 0; i < 11; ++i)
    ASSERT_TRUE(sealed.get_or_put(fmt::format("n{}", i), Secret(fmt::format("s{}", i)), before, {}));
  const Sealer both({key('b'), key('a')});
  EXPECT_EQ(sealed.rekey(both, {}, 4).value(), 11u);
  EXPECT_EQ(sealed.rekey(both, {}, 4).value(), 0u);
  EXPECT_EQ(sealed_by(key('b')), 11);
  const Sealer after({key('b')});
  for (int i = 0; i < 11; ++i)
    EXPECT_EQ(sealed.get_or_put(fmt::format("n{}", i), Secret("x"), after, {}).value().reveal(), fmt::format("s{}", i));
}

TEST_F(SealedStoreTest, RekeyWithoutAKeyThatIsNeededChangesNothing) {
  ASSERT_TRUE(sealed.get_or_put("one", Secret("s"), Sealer({key('a')}), {}));
  ASSERT_TRUE(sealed.get_or_put("two", Secret("s"), Sealer({key('c')}), {}));
  const auto refused = sealed.rekey(Sealer({key('b'), key('a')}), {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what.find(key('c').id()), std::string::npos);
  EXPECT_EQ(sealed_by(key('a')), 1) << "the batch happens together or not at all";
}

}  // namespace
}  // namespace twinstep::security
