#include "twinstep/security/key_store.h"

#include "twinstep/security/security_fixture.h"

namespace twinstep::security {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST(Rate, IsANumberAndAUnit) {
  EXPECT_DOUBLE_EQ(parse_rate("10/s").value(), 10);
  EXPECT_DOUBLE_EQ(parse_rate("90/m").value(), 1.5);
  EXPECT_DOUBLE_EQ(parse_rate("36/h").value(), 0.01);
  for (const char* bad : {"", "10", "/s", "0/s", "-1/s", "1.5/s", "10/d", "10/s ", "2000000/s", "99999999999/s"})
    EXPECT_EQ(parse_rate(bad).error().code, "key.rate") << bad;
}

TEST(KeyText, IsRecognisedOnlyInItsOneForm) {
  const std::string secret(43, 'A');
  const std::string good = "tsk_0123456789ab_" + secret;
  ASSERT_TRUE(KeyText::parse(good));
  EXPECT_EQ(KeyText::parse(good)->id, "0123456789ab");
  EXPECT_EQ(KeyText::parse(good)->secret, secret);
  for (const std::string& bad : {std::string(), good + "A", good.substr(1), "tsk_0123456789AB_" + secret,
                                 "tsk_0123456789ab-" + secret, "tsk_0123456789ab_" + std::string(42, 'A') + "%"})
    EXPECT_FALSE(KeyText::parse(bad)) << bad;
}

class KeyStoreTest : public SecurityFixture {};

TEST_F(KeyStoreTest, AMadeKeyIsKeptWithAllItsRightsAndWithoutItsSecret) {
  Rights rights = facade();
  rights.hubs = {"contoso", "with,comma"};
  rights.ids = {"lora-*", "\"quoted\""};
  rights.rate = "10/s";
  const MadeKey made = make("tp", rights, Millis{hours{24}});
  const auto parsed = KeyText::parse(made.text.reveal());
  ASSERT_TRUE(parsed) << "what is shown must be what is recognised";
  EXPECT_EQ(parsed->id, made.key.id);
  const Key kept = keys.find("tp", {}).value();
  EXPECT_EQ(kept.rights.scopes, rights.scopes);
  EXPECT_EQ(kept.rights.hubs, rights.hubs);
  EXPECT_EQ(kept.rights.ids, rights.ids);
  EXPECT_EQ(kept.rights.actions, rights.actions);
  EXPECT_EQ(kept.rights.rate, "10/s");
  EXPECT_EQ(kept.created_by, "a test");
  EXPECT_EQ(kept.created, clock.system_now());
  EXPECT_EQ(kept.expires, clock.system_now() + hours{24});
  EXPECT_EQ(kept.hash, hash_of(parsed->secret, kept.salt));
  const auto rows = database->ask("SELECT * FROM api_key", {}, {}).value();
  for (const auto& cell : rows.cells.at(0)) EXPECT_EQ(cell.value_or("").find(parsed->secret), std::string::npos);
}

TEST_F(KeyStoreTest, EveryKeyHasItsOwnSaltAndSecret) {
  const MadeKey one = make("one", facade()), two = make("two", facade());
  EXPECT_NE(one.key.id, two.key.id);
  EXPECT_NE(one.key.salt, two.key.salt);
  EXPECT_NE(one.text.reveal(), two.text.reveal());
}

TEST_F(KeyStoreTest, ANameIsTakenUntilItsKeyIsRevoked) {
  const MadeKey first = make("tp", facade());
  EXPECT_EQ(keys.create({"tp", facade(), {}}, "x", {}).error().code, "key.name-taken");
  ASSERT_TRUE(keys.revoke("tp", {}));
  const MadeKey second = make("tp", facade());
  EXPECT_EQ(keys.find("tp", {}).value().id, second.key.id) << "a name means the key that is in force";
  EXPECT_TRUE(keys.find(first.key.id, {}).value().revoked) << "the other one is found by its id";
  EXPECT_EQ(keys.list({}).value().size(), 2u);
}

TEST_F(KeyStoreTest, RevokingTwiceKeepsTheFirstTime) {
  make("tp", facade());
  const Key once = keys.revoke("tp", {}).value();
  clock.advance(hours{1});
  EXPECT_EQ(keys.revoke(once.id, {}).value().revoked, once.revoked);
  EXPECT_EQ(keys.revoke("nobody", {}).error().code, "key.unknown");
}

TEST_F(KeyStoreTest, WhatCannotBeMeantIsRefused) {
  const auto code = [&](const std::string& name, Rights rights, std::optional<Millis> expires = {}) {
    const auto made = keys.create({name, std::move(rights), expires}, "x", {});
    return made ? std::string("made") : made.error().code;
  };
  EXPECT_EQ(code("", facade()), "key.name");
  EXPECT_EQ(code("a b", facade()), "key.name");
  EXPECT_EQ(code(std::string(65, 'a'), facade()), "key.name");
  EXPECT_EQ(code("tsk_x", facade()), "key.name") << "a key given where its name belongs must not be stored";
  EXPECT_EQ(code("tp", {}), "key.scope");
  Rights rights = with({Scope::kRead});
  rights.ids = {"lora-*"};
  EXPECT_EQ(code("tp", rights), "key.not-facade");
  rights = facade();
  rights.actions.clear();
  EXPECT_EQ(code("tp", rights), "key.action");
  rights = facade();
  rights.hubs = {"*"};
  EXPECT_EQ(code("tp", rights), "key.pattern") << "such a key would reach no hub at all";
  rights = facade();
  rights.rate = "fast";
  EXPECT_EQ(code("tp", rights), "key.rate");
  EXPECT_EQ(code("tp", facade(), Millis{0}), "key.time");
  EXPECT_TRUE(keys.list({}).value().empty());
}

TEST_F(KeyStoreTest, ARevokedKeyIsNotRotated) {
  make("tp", facade());
  const Key revoked = keys.revoke("tp", {}).value();
  EXPECT_EQ(keys.rotate(revoked.id, Millis{0}, {}).error().code, "key.revoked");
  EXPECT_EQ(keys.rotate("tp", Millis{0}, {}).error().code, "key.unknown");
}

class KeyCacheTest : public SecurityFixture {
 protected:
  KeyCacheTest() { cache.open(switched); }
};

TEST_F(KeyCacheTest, NothingIsKnowableBeforeTheStoreWasRead) {
  const MadeKey made = make("tp", facade());
  switched.away = true;
  EXPECT_EQ(look_up(made.text).what, Verdict::kNotKnowable);
  EXPECT_FALSE(cache.known());
  clock.advance(seconds{2});
  switched.away = false;
  EXPECT_EQ(look_up(made.text).what, Verdict::kGood);
}

TEST_F(KeyCacheTest, AKnownKeyCostsNoReadAndWorksWhileTheStoreIsAway) {
  const MadeKey made = make("tp", facade());
  ASSERT_TRUE(cache.refresh({}));
  const int reads = switched.reads;
  switched.away = true;
  for (int i = 0; i < 100; ++i) ASSERT_EQ(look_up(made.text).what, Verdict::kGood);
  EXPECT_EQ(switched.reads, reads);
  EXPECT_FALSE(cache.refresh({}));
  EXPECT_EQ(look_up(made.text).what, Verdict::kGood);
}

TEST_F(KeyCacheTest, AnUnknownKeyIsLookedForInTheStoreAtMostOnceASecond) {
  ASSERT_TRUE(cache.refresh({}));
  clock.advance(seconds{2});
  const MadeKey made = make("elsewhere", facade());
  EXPECT_EQ(look_up(made.text).what, Verdict::kGood) << "another replica made it a moment ago";
  const int reads = switched.reads;
  const Secret unknown("tsk_0123456789ab_" + std::string(43, 'A'));
  clock.advance(seconds{2});
  const Verdict first = look_up(unknown);
  EXPECT_EQ(first.what, Verdict::kUnknown);
  EXPECT_TRUE(first.certain);
  clock.advance(Millis{500});
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(look_up(unknown).certain);
  EXPECT_EQ(switched.reads, reads + 1);
  clock.advance(Millis{500});
  EXPECT_TRUE(look_up(unknown).certain);
}

TEST_F(KeyCacheTest, AnUnknownKeyWhileTheStoreIsAwayIsNotKnowable) {
  ASSERT_TRUE(cache.refresh({}));
  clock.advance(seconds{2});
  switched.away = true;
  const Secret unknown("tsk_0123456789ab_" + std::string(43, 'A'));
  EXPECT_EQ(look_up(unknown).what, Verdict::kNotKnowable);
  EXPECT_EQ(look_up(unknown).what, Verdict::kNotKnowable) << "also without another try";
  EXPECT_EQ(look_up(Secret("hunter2")).what, Verdict::kUnknown) << "what has not the form of a key never was one";
}

TEST_F(KeyCacheTest, AWrongSecretOfAKnownIdIsUnknown) {
  const MadeKey made = make("tp", facade());
  ASSERT_TRUE(cache.refresh({}));
  std::string text(made.text.reveal());
  text.back() = text.back() == 'A' ? 'B' : 'A';
  EXPECT_EQ(cache.look_up(text).what, Verdict::kUnknown);
}

TEST_F(KeyCacheTest, ARotatedKeyWorksWithBothSecretsUntilTheOverlapEnds) {
  const MadeKey before = make("tp", facade());
  const MadeKey after = keys.rotate("tp", Millis{hours{24}}, {}).value();
  EXPECT_EQ(after.key.id, before.key.id);
  ASSERT_TRUE(cache.refresh({}));
  EXPECT_EQ(look_up(before.text).what, Verdict::kGood);
  EXPECT_EQ(look_up(after.text).what, Verdict::kGood);
  clock.advance(hours{24});
  EXPECT_EQ(look_up(before.text).what, Verdict::kReplaced);
  EXPECT_EQ(look_up(after.text).what, Verdict::kGood);
  const MadeKey last = keys.rotate("tp", Millis{0}, {}).value();
  ASSERT_TRUE(cache.refresh({}));
  EXPECT_EQ(look_up(before.text).what, Verdict::kUnknown) << "only the one before is remembered";
  EXPECT_EQ(look_up(after.text).what, Verdict::kReplaced) << "without overlap it ends at once";
  EXPECT_EQ(look_up(last.text).what, Verdict::kGood);
}

TEST_F(KeyCacheTest, RevokedAndExpiredKeysAreToldWithTheirTime) {
  const MadeKey revoked = make("one", facade()), expires = make("two", facade(), Millis{hours{1}});
  const SystemTime start = clock.system_now();
  ASSERT_TRUE(keys.revoke("one", {}));
  ASSERT_TRUE(cache.refresh({}));
  EXPECT_EQ(look_up(revoked.text).what, Verdict::kRevoked);
  EXPECT_EQ(look_up(revoked.text).since, start);
  EXPECT_EQ(look_up(expires.text).what, Verdict::kGood);
  EXPECT_TRUE(cache.usable());
  clock.advance(hours{1});
  EXPECT_EQ(look_up(expires.text).what, Verdict::kExpired);
  EXPECT_EQ(look_up(expires.text).since, start + hours{1});
  EXPECT_FALSE(cache.usable());
  EXPECT_TRUE(cache.any()) << "keys that have ended keep the doors shut";
  EXPECT_EQ(cache.first_made(), start);
}

TEST_F(KeyCacheTest, WhatAKeyHasUsedUpSurvivesAnotherRead) {
  Rights rights = facade();
  rights.rate = "1/s";
  const MadeKey made = make("tp", rights);
  ASSERT_TRUE(cache.refresh({}));
  const auto take = [&] { return look_up(made.text).key->use->take(); };
  EXPECT_EQ(take(), Millis{0});
  ASSERT_TRUE(cache.refresh({}));
  EXPECT_EQ(take(), seconds{1});
  clock.advance(seconds{1});
  EXPECT_EQ(take(), Millis{0});
}

TEST(KeyUse, TakesByAClockThatNeverStandsStill) {
  KeyUse use;
  use.bucket = std::make_unique<TokenBucket>(0.001, 3, real_clock());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(use.take(), Millis{0});
  EXPECT_GT(use.take(), seconds{100});
}

TEST(KeyUse, WhatStandsForManyIsPaidBeforeTheNext) {
  FakeClock clock;
  KeyUse use;
  use.charge(5, clock.steady_now());
  EXPECT_EQ(use.take(), Millis{0}) << "without a rate nothing is owed";
  use.bucket = std::make_unique<TokenBucket>(10, 10, clock);
  EXPECT_EQ(use.take(), Millis{0});
  use.charge(0, clock.steady_now());
  EXPECT_EQ(use.take(), Millis{0});
  use.charge(99, clock.steady_now());
  EXPECT_EQ(use.take(), seconds{10});
  clock.advance(seconds{9});
  EXPECT_EQ(use.take(), seconds{1});
  clock.advance(seconds{1});
  EXPECT_EQ(use.take(), Millis{0});
}

TEST_F(KeyCacheTest, TheLatestUseWins) {
  const MadeKey made = make("tp", facade());
  const SystemTime later = clock.system_now() + hours{2};
  ASSERT_TRUE(keys.touch({{made.key.id, later}}, {}));
  ASSERT_TRUE(keys.touch({{made.key.id, clock.system_now()}}, {}));
  EXPECT_EQ(keys.find("tp", {}).value().last_used, later);
}

}  // namespace
}  // namespace twinstep::security
