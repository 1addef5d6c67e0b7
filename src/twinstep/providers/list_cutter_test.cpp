#include "twinstep/providers/list_cutter.h"

#include <gtest/gtest.h>

#include <random>

namespace twinstep::providers {
namespace {

/// Everything that a cutter says of a text that it gets in pieces of one size.
std::string told(std::string_view text, std::string_view pointer, size_t piece) {
  std::string out;
  ListCutter cutter(pointer);
  const auto item = [&](std::string_view one, uint64_t line) -> Status {
    out += fmt::format("item {} {}\n", line, one);
    return {};
  };
  const auto broken = [&](std::string_view one, uint64_t line, std::string_view why) -> Status {
    out += fmt::format("broken {} {} {}\n", line, one, why);
    return {};
  };
  for (size_t at = 0; at < text.size(); at += piece) EXPECT_TRUE(cutter.feed(text.substr(at, piece), item, broken));
  EXPECT_TRUE(cutter.finish(item, broken));
  return out + cutter.why_incomplete();
}

TEST(ListCutter, ItemsLongerThanABlockKeepTheirBracketsQuotesAndLines) {
  const std::string long_text(200, 'x');
  const std::string first = R"({"a":"]}\\\"{[","b":[{"c":")" + long_text + "\"},\n[]]}";
  const std::string second = R"({"d":"\\","e":")" + long_text + R"("})";
  EXPECT_EQ(told("[\n" + first + ",\n" + second + "]", "", 1 << 20), "item 2 " + first + "\nitem 4 " + second + "\n");
}

TEST(ListCutter, WhatComesOfATextDoesNotDependOnThePiecesItComesIn) {
  constexpr std::string_view kParts[] = {
      "{",
      "}",
      "[",
      "]",
      "\"",
      "\\",
      "\\\\",
      "\\\"",
      ",",
      ":",
      "\n",
      " ",
      "null",
      R"("name":"one two three")",
      R"({"id":"0011223344556677","list":[1,2,{"a":"}"}]})",
      R"("a long text that fills the better part of a block of bytes, or all of it")"};
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    std::string text = seed % 2 == 0 ? "[{" : R"({"devices":[{)";
    for (size_t i = random() % 60; i > 0; --i) {
      // Mostly whole members, so that texts stay readable for a while.
      const size_t part = random() % 4 == 0 ? random() % std::size(kParts) : 13 + random() % 3;
      text += kParts[part];
      if (random() % 8 == 0) text += "},{";
    }
    text += "}]";
    const std::string_view pointer = seed % 2 == 0 ? "" : "/devices";
    const std::string byte_by_byte = told(text, pointer, 1);
    ASSERT_EQ(told(text, pointer, text.size()), byte_by_byte) << seed << ": " << text;
    ASSERT_EQ(told(text, pointer, 97), byte_by_byte) << seed << ": " << text;
  }
}

}  // namespace
}  // namespace twinstep::providers
