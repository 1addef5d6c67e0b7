// What becomes of lines when their receiver is slow, away, picky or back, in memory and on disk.
#include "twinstep/telemetry/courier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "twinstep/base/fake_clock.h"
#include "twinstep/telemetry/fake_web.h"
#include "twinstep/telemetry/gzip.h"

namespace twinstep::telemetry {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;
using testing::ElementsAre;

class CourierTest : public testing::Test {
 protected:
  Courier& make(CourierOptions options = {.name = "test", .batch_lines = 3}) {
    courier.emplace(
        std::move(options),
        [this](const Lines& lines, const Call&) {
          got.push_back(lines);
          Outcome out;
          if (away) out = {lines, 0, wait, "away"};
          if (on_deliver) return on_deliver(lines);
          return out;
        },
        clock, rng);
    return *courier;
  }
  void offer(int from, int to) {
    for (int i = from; i <= to; ++i) courier->offer(std::to_string(i));
  }
  /// Turns until there is nothing to do at this moment.
  Millis settle() {
    for (int i = 0; i < 10'000; ++i)
      if (const Millis left = courier->turn({}); left > Millis{0}) return left;
    ADD_FAILURE() << "it never rests";
    return {};
  }
  Lines all() const {
    Lines out;
    for (const Lines& batch : got) out.insert(out.end(), batch.begin(), batch.end());
    return out;
  }
  DiskBuffer disk(uint64_t most = 1 << 20) { return DiskBuffer::open(scratch.path + "/buffer", most).value(); }

  Scratch scratch;
  FakeClock clock;
  Rng rng{7};
  bool away = false;
  std::optional<Millis> wait;
  std::function<Outcome(const Lines&)> on_deliver;
  std::vector<Lines> got;
  std::optional<Courier> courier;
};

TEST_F(CourierTest, AFullBatchGoesAtOnceAndTheRestWhenItIsOldEnough) {
  make();
  offer(1, 4);
  EXPECT_EQ(settle(), 1000ms);
  EXPECT_THAT(got, ElementsAre(Lines{"1", "2", "3"}));
  clock.advance(1s);
  settle();
  EXPECT_THAT(got, ElementsAre(Lines{"1", "2", "3"}, Lines{"4"}));
  EXPECT_EQ(courier->counts().delivered, 4u);
}

TEST_F(CourierTest, ABatchIsBoundedByItsBytesToo) {
  make({.name = "test", .batch_lines = 100, .batch_bytes = 10});
  for (int i = 0; i < 3; ++i) courier->offer("12345678");
  settle();
  clock.advance(1s);
  settle();
  EXPECT_THAT(got, ElementsAre(Lines{"12345678"}, Lines{"12345678"}, Lines{"12345678"}));
}

TEST_F(CourierTest, WithoutADiskTheFailedBatchIsTriedAgainFirstAndTheOldestInMemoryGo) {
  make({.name = "test", .batch_lines = 3, .most_lines = 5});
  away = true;
  wait = 30s;
  offer(1, 3);
  EXPECT_EQ(settle(), 30'000ms) << "as the receiver asked";
  offer(4, 12);
  EXPECT_GT(settle(), 0ms) << "a courier that waits does not spin";
  away = false;
  clock.advance(30s);
  settle();
  clock.advance(1s);
  settle();
  EXPECT_THAT(all(), ElementsAre("1", "2", "3", "1", "2", "3", "8", "9", "10", "11", "12"));
  EXPECT_EQ(courier->counts().dropped, 4u);
}

TEST_F(CourierTest, MemoryHoldsNoMoreBytesThanItMay) {
  make({.name = "test", .most_bytes = 1'000});
  for (int i = 0; i < 100; ++i) courier->offer(std::string(100, 'x'));
  EXPECT_EQ(courier->counts().dropped, 90u);
  courier->flush({});
  EXPECT_EQ(all().size(), 10u);
}

TEST_F(CourierTest, AReceiverThatThrowsIsLikeOneThatIsAway) {
  make();
  on_deliver = [](const Lines&) -> Outcome { throw std::runtime_error("bug"); };
  offer(1, 3);
  settle();
  on_deliver = {};
  clock.advance(10s);
  settle();
  EXPECT_THAT(got.back(), ElementsAre("1", "2", "3"));
  EXPECT_EQ(courier->counts().delivered, 3u);
}

TEST_F(CourierTest, WhatIsKeptOnDiskComesInOrderWhenTheReceiverIsBack) {
  make().keep_on(disk());
  away = true;
  offer(1, 7);
  settle();
  clock.advance(1s);
  settle();
  away = false;
  got.clear();
  for (int i = 0; i < 10; ++i) {
    clock.advance(10s);
    settle();
  }
  EXPECT_THAT(all(), ElementsAre("1", "2", "3", "4", "5", "6", "7"));
  EXPECT_EQ(courier->counts().delivered, 7u);
  EXPECT_EQ(courier->counts().dropped, 0u);
}

TEST_F(CourierTest, AProcessThatWasKilledLeavesToTheNextOneWhatReachedTheDisk) {
  make().keep_on(disk());
  away = true;
  offer(1, 3);
  settle();
  offer(4, 4);  // too young for the disk: lost with the process
  courier.reset();
  got.clear();
  away = false;
  make().keep_on(disk());
  offer(5, 7);
  settle();
  EXPECT_THAT(all(), ElementsAre("1", "2", "3", "5", "6", "7"));
}

TEST_F(CourierTest, AtTheEndWhatCannotBeDeliveredGoesToDisk) {
  make().keep_on(disk());
  away = true;
  offer(1, 4);
  courier->flush({});
  EXPECT_THAT(got, ElementsAre(Lines{"1", "2", "3"})) << "no second try at a receiver that is away";
  courier.reset();
  EXPECT_EQ(disk().lines(), 4u);
}

TEST_F(CourierTest, OfABatchOnDiskOnlyWhatWasNotAcceptedIsSentAgain) {
  make().keep_on(disk());
  away = true;
  offer(1, 3);
  settle();
  away = false;
  on_deliver = [](const Lines& lines) { return lines.size() == 3 ? Outcome{{"2"}, 1, {}, "partly"} : Outcome{}; };
  for (int i = 0; i < 3; ++i) {
    clock.advance(100s);
    settle();
  }
  EXPECT_THAT(got.back(), ElementsAre("2"));
  EXPECT_EQ(courier->counts().refused, 1u);
  EXPECT_EQ(courier->counts().delivered, 2u);
}

TEST_F(CourierTest, MoreThanMemoryShouldHoldGoesToDiskAndComesAllInOrder) {
  make({.name = "test"}).keep_on(disk(8 << 20));
  constexpr int kMany = 100'000;
  for (int i = 1; i <= kMany; ++i) {
    courier->offer(std::to_string(i));
    // The receiver takes one batch while twenty come.
    if (i % 10'000 == 0) courier->turn({});
  }
  settle();
  const Lines came = all();
  ASSERT_EQ(came.size(), static_cast<size_t>(kMany));
  for (size_t i = 0; i < came.size(); ++i) ASSERT_EQ(came[i], std::to_string(i + 1));
  EXPECT_EQ(courier->counts().dropped, 0u);
}

TEST_F(CourierTest, StopsWithinItsTimeAlthoughTheReceiverHangs) {
  Courier slow(
      {.name = "test", .batch_age = 1ms, .stop_time = 50ms},
      [&](const Lines& lines, const Call& call) {
        std::mutex mutex;
        std::condition_variable_any never;
        std::unique_lock lock(mutex);
        never.wait(lock, call.stop, [] { return false; });
        return Outcome{lines, 0, {}, "stopped"};
      },
      real_clock(), rng);
  slow.start(disk());
  slow.offer("1");
  const auto began = std::chrono::steady_clock::now();
  slow.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  EXPECT_EQ(disk().lines(), 1u) << "it is on disk, for the next start";
}

TEST(DiskBuffer, DropsTheOldestAtItsBoundAndIsNeverLarger) {
  Scratch scratch;
  auto disk = DiskBuffer::open(scratch.path, 300).value();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(disk.write({"line number " + std::to_string(i)}));
    uint64_t real = 0;
    for (const auto& file : std::filesystem::directory_iterator(scratch.path)) real += file.file_size();
    EXPECT_LE(real, 300u);
    EXPECT_EQ(real, disk.bytes());
  }
  EXPECT_EQ(disk.dropped() + disk.lines(), 50u);
  EXPECT_GT(disk.lines(), 1u);
  Lines last;
  while (!disk.empty()) {
    last = disk.read_oldest().value();
    disk.remove_oldest();
  }
  EXPECT_THAT(last, ElementsAre("line number 49"));
}

TEST(DiskBuffer, IsOneProcessesAlone) {
  Scratch scratch;
  auto disk = DiskBuffer::open(scratch.path, 1000).value();
  const auto second = DiskBuffer::open(scratch.path, 1000);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, "telemetry.buffer-busy");
}

TEST_F(CourierTest, ADamagedFileIsSkippedAndAnUnfinishedOneRemoved) {
  {
    auto before = disk();
    ASSERT_TRUE(before.write({"1"}));
    ASSERT_TRUE(before.write({"2"}));
    ASSERT_TRUE(before.write({"3"}));
  }
  int number = 0;
  for (const char* name : {"00000000000000000001-1.ndjson.gz", "00000000000000000002-1.ndjson.gz"}) {
    const std::string path = scratch.path + "/buffer/" + name;
    if (number++ == 0)
      std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    else
      std::ofstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(14) << "damage";
  }
  std::ofstream(scratch.path + "/buffer/00000000000000000004-9.ndjson.gz.part") << "half";
  make().keep_on(disk());
  settle();
  EXPECT_THAT(all(), ElementsAre("3"));
  EXPECT_FALSE(std::filesystem::exists(scratch.path + "/buffer/00000000000000000004-9.ndjson.gz.part"));
}

TEST(Gzip, GivesBackWhatWasPackedAndRefusesWhatIsDamagedOrTooLarge) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i * 7919);
  const std::string packed = gzip(text);
  EXPECT_EQ(packed.substr(0, 2), "\x1f\x8b");
  EXPECT_EQ(gunzip(packed, text.size()).value(), text);
  EXPECT_FALSE(gunzip(packed, text.size() - 1));
  EXPECT_FALSE(gunzip(packed.substr(0, packed.size() - 1), text.size()));
  EXPECT_FALSE(gunzip(packed + "x", text.size()));
  EXPECT_FALSE(gunzip("", 10));
  EXPECT_EQ(gunzip(gzip(""), 0).value(), "");
}

}  // namespace
}  // namespace twinstep::telemetry
