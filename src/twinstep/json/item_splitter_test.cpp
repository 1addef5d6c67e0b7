#include "twinstep/json/item_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "twinstep/json/json.h"

namespace twinstep::json {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Seen {
  std::vector<std::string> items;
  std::vector<uint64_t> lines;
  std::vector<std::string> broken;  // "line: why"
  std::string incomplete;

  friend bool operator==(const Seen&, const Seen&) = default;
};

/// Splits `text`, given in chunks of `step` bytes; 0 = of random sizes.
Seen split(std::string_view text, size_t step, ItemSplitter::Options options = {}) {
  Seen seen;
  ItemSplitter splitter(std::move(options));
  const auto item = [&](std::string_view one, const ItemAt& at) -> Status {
    seen.items.emplace_back(one);
    seen.lines.push_back(at.line);
    return {};
  };
  const auto broken = [&](std::string_view, const ItemAt& at, std::string_view why) -> Status {
    seen.broken.push_back(fmt::format("{}: {}", at.line, why));
    return {};
  };
  std::mt19937 random(static_cast<unsigned>(text.size()));
  while (!text.empty()) {
    const size_t size = std::min(text.size(), step != 0 ? step : random() % 150 + 1);
    const std::string copy(text.substr(0, size));  // so that views into a former chunk are seen by the sanitizer
    EXPECT_TRUE(splitter.feed(copy, item, broken));
    text.remove_prefix(size);
  }
  EXPECT_TRUE(splitter.finish(item, broken));
  seen.incomplete = splitter.why_incomplete();
  return seen;
}

/// Whatever the chunks are, the outcome must be one and the same.
Seen split_every_way(std::string_view text, const ItemSplitter::Options& options = {}) {
  const Seen whole = split(text, 1 << 20, options);
  for (const size_t step : {size_t{0}, size_t{1}, size_t{2}, size_t{7}, size_t{63}, size_t{64}, size_t{65}}) {
    EXPECT_EQ(split(text, step, options), whole) << "chunks of " << step << ": " << text.substr(0, 300);
  }
  return whole;
}

TEST(ItemSplitter, GivesTheLinesOfNdjsonWhateverTheyHold) {
  const Seen seen = split_every_way("\xEF\xBB\xBF{\"a\":1}\r\n\n  \r\n{\"b\":[2]}\nno json\n{\"c\":3");
  EXPECT_THAT(seen.items, ElementsAre("{\"a\":1}", "{\"b\":[2]}", "no json", "{\"c\":3"));
  EXPECT_THAT(seen.lines, ElementsAre(1u, 4u, 5u, 6u));
  EXPECT_THAT(seen.broken, IsEmpty());
  EXPECT_EQ(seen.incomplete, "");
}

TEST(ItemSplitter, ABrokenFirstLineDoesNotHideTheNext) {
  const Seen seen = split_every_way("{\"id\":\"x\",\"tags\":{\n{\"id\":\"y\"}\n");
  EXPECT_THAT(seen.items, ElementsAre("{\"id\":\"x\",\"tags\":{", "{\"id\":\"y\"}"));
}

TEST(ItemSplitter, CutsAnArrayHoweverItIsSpaced) {
  const std::string text = "\n [ {\"a\":\"]}\\\"{[\"},\r\n  {\n \"b\": [ {\"c\": {}} ]\n }\n,{}]\n";
  const Seen seen = split_every_way(text);
  EXPECT_THAT(seen.items, ElementsAre("{\"a\":\"]}\\\"{[\"}", "{\n \"b\": [ {\"c\": {}} ]\n }", "{}"));
  EXPECT_THAT(seen.lines, ElementsAre(2u, 3u, 6u));
  EXPECT_THAT(seen.broken, IsEmpty());
  EXPECT_EQ(seen.incomplete, "");
}

TEST(ItemSplitter, TakesArraysAndObjectsOneAfterTheOther) {
  EXPECT_THAT(split_every_way("[{\"a\":1}][]\n[{\"b\":2},{\"c\":3}]").items,
              ElementsAre("{\"a\":1}", "{\"b\":2}", "{\"c\":3}"));
  EXPECT_THAT(split_every_way("{\"a\":1} {\"b\":2}\n{\"c\":3}").items,
              ElementsAre("{\"a\":1}", "{\"b\":2}", "{\"c\":3}"));
  EXPECT_THAT(split_every_way("{\n  \"a\": 1\n}\n{\n  \"b\": 2\n}\n").items,
              ElementsAre("{\n  \"a\": 1\n}", "{\n  \"b\": 2\n}"));
}

TEST(ItemSplitter, FindsTheArrayAtAPath) {
  const std::string page = R"({"n":[{"x":1}],"devices":[{"a":1},{"devices":[{"no":1}]}],"z":{"devices":[{"q":1}]}})";
  EXPECT_THAT(split_every_way(page + "\n" + page, {"/devices"}).items,
              ElementsAre(R"({"a":1})", R"({"devices":[{"no":1}]})", R"({"a":1})", R"({"devices":[{"no":1}]})"));
  EXPECT_THAT(split_every_way(R"({"p":{"o":{},"list":[{"a":1}]}})", {"/p/list"}).items, ElementsAre(R"({"a":1})"));
}

TEST(ItemSplitter, SaysThatThePathLeadsNowhere) {
  for (const char* text : {R"({"items":[{"a":1}]})", R"({"devices":{"a":1}})", R"({"devices":null})", "", "[{}]"}) {
    const Seen seen = split_every_way(text, {"/devices"});
    EXPECT_THAT(seen.items, IsEmpty()) << text;
    EXPECT_THAT(seen.incomplete, HasSubstr("/devices")) << text;
  }
  // The second page is an error message instead of a page.
  EXPECT_NE(split_every_way(R"({"devices":[{"a":1}]}{"error":"busy"})", {"/devices"}).incomplete, "");
}

TEST(ItemSplitter, AnArrayThatNeverClosesIsIncomplete) {
  for (const char* text : {"[", "[{\"a\":1}", "[{\"a\":1},", "[{\"a\":1},{\"b\":", "[{\"a\":1},{\"b\":\"x"}) {
    EXPECT_NE(split_every_way(text).incomplete, "") << text;
  }
  EXPECT_NE(split_every_way("{\"devices\":[{\"a\":1}]", {"/devices"}).incomplete, "");
}

TEST(ItemSplitter, ReportsElementsThatAreNoObjectsAndGoesOn) {
  const Seen seen = split_every_way("[{\"a\":1}, 5 ,\"x,]\",[1], null,{\"b\":2}]");
  EXPECT_THAT(seen.items, ElementsAre("{\"a\":1}", "{\"b\":2}"));
  EXPECT_EQ(seen.broken.size(), 4u);
  EXPECT_EQ(seen.incomplete, "");
}

TEST(ItemSplitter, ReportsCommasThatAreMissingOrTooMany) {
  EXPECT_EQ(split_every_way("[{\"a\":1}{\"b\":2}]").broken.size(), 1u);
  EXPECT_EQ(split_every_way("[{\"a\":1},,{\"b\":2}]").broken.size(), 1u);
  EXPECT_EQ(split_every_way("[{\"a\":1},]").broken.size(), 1u);
  EXPECT_EQ(split_every_way("[,{\"a\":1}]").broken.size(), 1u);
}

TEST(ItemSplitter, GivesUpWhereTheTextCannotBeFollowed) {
  for (const char* text : {"[{\"a\":[}]},{\"b\":1}]", "[{\"a\":\"x\n\"},{\"b\":1}]", "[{\"a\":1}}"}) {
    const Seen seen = split_every_way(text);
    EXPECT_NE(seen.incomplete, "") << text;
    EXPECT_FALSE(seen.broken.empty()) << text;
  }
}

TEST(ItemSplitter, AnItemOverTheLimitIsBrokenAndTheNextOneIsRead) {
  const std::string big = "{\"a\":\"" + std::string(5000, 'x') + "\"}";
  const Seen lines = split_every_way(big + "\n{\"b\":1}\n", {"", 1000});
  EXPECT_THAT(lines.items, ElementsAre("{\"b\":1}"));
  EXPECT_EQ(lines.broken.size(), 1u);
  const Seen array = split_every_way("[" + big + ",{\"b\":1}]", {"", 1000});
  EXPECT_THAT(array.items, ElementsAre("{\"b\":1}"));
  EXPECT_EQ(array.broken.size(), 1u);
  EXPECT_EQ(array.incomplete, "");
}

value random_value(std::mt19937& random, int depth) {
  switch (random() % (depth > 3 ? 4 : 6)) {
    case 0:
      return random() % 2 == 0;
    case 1:
      return nullptr;
    case 2:
      return static_cast<int64_t>(random());
    case 3: {
      static constexpr std::string_view kNasty = "{}[]\",:\\ \n\tabc\xc3\xa9";
      std::string text;
      for (size_t n = random() % 40; n > 0; --n) {
        const char c = kNasty[random() % (kNasty.size() - 2)];
        text.push_back(c);
      }
      return value(text);
    }
    case 4: {
      array list;
      for (size_t n = random() % 4; n > 0; --n) list.push_back(random_value(random, depth + 1));
      return list;
    }
    default: {
      object o;
      for (size_t n = random() % 4; n > 0; --n) o[std::string(random() % 3, '"')] = random_value(random, depth + 1);
      return o;
    }
  }
}

TEST(ItemSplitter, GivesBackWhatRandomListsHold) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto blanks = [&] { return std::string(random() % 3, random() % 2 == 0 ? ' ' : '\n'); };
    std::vector<std::string> wanted;
    std::string text = blanks() + "[";
    for (size_t n = random() % 12; n > 0; --n) {
      object o;
      o["v"] = random_value(random, 0);
      wanted.push_back(write(o));
      text += blanks() + wanted.back() + blanks() + (n > 1 ? "," : "");
    }
    text += blanks() + "]" + blanks();
    const Seen seen = split_every_way(text);
    EXPECT_EQ(seen.items, wanted) << "seed " << seed;
    EXPECT_THAT(seen.broken, IsEmpty()) << "seed " << seed;
    EXPECT_EQ(seen.incomplete, "") << "seed " << seed;
    const Seen under = split_every_way("{\"x\":\"devices\",\"devices\": " + text + "}", {"/devices"});
    EXPECT_EQ(under.items, wanted) << "seed " << seed;
  }
}

TEST(ItemSplitter, AnyBytesAreSurvivedAndChunksChangeNothing) {
  static constexpr std::string_view kBytes = "{{}}[[]]\"\"\\,,::\n\r 1ax\0\xff";
  for (unsigned seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    std::string text;
    for (size_t n = random() % 300; n > 0; --n) text.push_back(kBytes[random() % kBytes.size()]);
    split_every_way(text);
    split_every_way("[" + text);
    split_every_way("{\"a\":[" + text, {"/a"});
  }
}

TEST(ItemSplitter, TheSinksErrorEndsTheSplitting) {
  ItemSplitter splitter;
  int calls = 0;
  const Status done = splitter.feed(
      "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n",
      [&](std::string_view, const ItemAt&) -> Status {
        ++calls;
        return fail(ErrorKind::kUnavailable, "test.full", "full");
      },
      [](std::string_view, const ItemAt&, std::string_view) -> Status { return {}; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, "test.full");
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace twinstep::json
