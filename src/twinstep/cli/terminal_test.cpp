#include "twinstep/cli/terminal.h"

#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"

namespace twinstep::cli {
namespace {

using namespace std::chrono_literals;

class Progress : public testing::Test {
 protected:
  TerminalProgress to(TerminalStyle style) {
    return TerminalProgress(style, clock, [this](std::string_view text) { out += text; });
  }
  std::string drawn() { return std::exchange(out, {}); }
  FakeClock clock;
  std::string out;
};

TEST_F(Progress, ARedrawnLineHasRateAndTimeLeftAndIsClearedAtTheEnd) {
  TerminalProgress progress = to({.redraws = true, .columns = 80});
  progress.counted("devices written", 0, 10'000);
  clock.advance(2s);
  progress.counted("devices written", 2'000, 10'000);
  EXPECT_EQ(drawn(), "\r\033[K2,000 of 10,000 devices written, 1,000/s, 8.0 s left");
  progress.counted("devices written", 2'001, 10'000);
  EXPECT_EQ(drawn(), "") << "not for every device";
  progress.clear();
  EXPECT_EQ(drawn(), "\r\033[K");
  progress.clear();
  EXPECT_EQ(drawn(), "");
  clock.advance(1s);
  progress.counted("deletes", 1, {});
  EXPECT_EQ(drawn(), "\r\033[K1 deletes") << "what was counted before is over";
}

TEST_F(Progress, WhatIsCountedAtTheSameTimeSharesTheLineAndKeepsItsRate) {
  TerminalProgress progress = to({.redraws = true, .columns = 80});
  for (uint64_t n = 0; n < 20; ++n) {
    progress.counted("external devices read", 100 * n, {});
    progress.counted("bytes read", 1000 * n, {});
    clock.advance(100ms);
    progress.counted("external devices read", 100 * n + 50, {});
  }
  EXPECT_TRUE(drawn().ends_with("\r\033[K19,000 bytes read, 10,000/s; 1,950 external devices read, 975/s"));
  clock.advance(4s);
  progress.counted("devices written", 1, 2);
  EXPECT_EQ(drawn(), "\r\033[K1 of 2 devices written") << "what is over is not shown any more";
}

TEST_F(Progress, ALineNeverFillsTheTerminal) {
  TerminalProgress progress = to({.redraws = true, .columns = 20});
  clock.advance(1s);
  progress.counted("Ger\xC3\xA4te geschrieben und mehr", 7, {});
  EXPECT_EQ(drawn(), "\r\033[K7 Ger\xC3\xA4te geschriebe");
  EXPECT_EQ(cut_to("a\xC3\xA4", 2), "a\xC3\xA4");
  EXPECT_EQ(cut_to("a\xC3\xA4", 1), "a");
  EXPECT_EQ(cut_to("", 0), "");
}

TEST_F(Progress, ANoteReplacesTheLineAndStays) {
  TerminalProgress progress = to({.redraws = true, .columns = 80});
  progress.note("waiting");
  EXPECT_EQ(drawn(), "waiting\n");
  clock.advance(1s);
  progress.counted("devices written", 1, {});
  drawn();
  progress.note("waiting again");
  EXPECT_EQ(drawn(), "\r\033[Kwaiting again\n");
  progress.clear();
  EXPECT_EQ(drawn(), "");
}

TEST_F(Progress, ElsewhereThereIsAPlainLineForEachEveryFiveSeconds) {
  TerminalProgress progress = to({});
  progress.note("asked the hub for an export of all devices");
  for (uint64_t n = 0; n < 12; ++n) {
    progress.counted("external devices read", 100 * n, {});
    progress.counted("devices written", n, 100);
    clock.advance(1s);
  }
  progress.clear();
  EXPECT_EQ(drawn(),
            "asked the hub for an export of all devices\n"
            "500 external devices read, 100/s\n"
            "5 of 100 devices written, 1.0/s, 2 min left\n"
            "1,000 external devices read, 100/s\n"
            "10 of 100 devices written, 1.0/s, 2 min left\n");
}

TEST(TerminalStyle, ColumnsComeFromTheEnvironmentWhenTheyAreANumber) {
  EXPECT_EQ(terminal_style({{"COLUMNS", "40"}}).columns, 40u);
  for (const char* text : {"", "0", "wide", "40x", "-1"})
    EXPECT_EQ(terminal_style({{"COLUMNS", text}}).columns, std::nullopt) << text;
}

}  // namespace
}  // namespace twinstep::cli
