#include "twinstep/providers/file_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "twinstep/base/fake_clock.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/providers/mapper.h"
#include "twinstep/providers/scripted_client.h"

namespace twinstep::providers {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Files : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-list-XXXXXX").string();
    folder = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder + "/" + name, std::ios::binary) << text;
    return folder + "/" + name;
  }
  /// Ids and lines, broken ones in brackets, then complete or why not.
  std::string listed(const Definition& definition, const std::string& path, const std::string& pointer = "") {
    std::string out;
    const auto mapper = make_mapper(definition);
    const auto proof = list_file(
        definition, path,
        [&](std::string_view item, const ItemPlace& place) -> Status {
          const auto mapped = mapper->map(item);
          last = std::string(item);
          out += (mapped ? std::string(mapped->id) : "?") + "@" + std::to_string(place.index) + " ";
          return {};
        },
        [&](std::string_view, const ItemPlace& place, std::string_view why) -> Status {
          out += "[" + std::to_string(place.index) + " " + std::string(why) + "] ";
          return {};
        },
        pointer);
    if (!proof) return "error: " + proof.error().what;
    return out + (proof->complete ? "complete" : proof->why_incomplete);
  }
  std::string listed(const std::string& name, const std::string& text) { return listed(file, write(name, text)); }

  const Definition file = *load_definition("file");
  const Definition actility = *load_definition("actility");
  std::string folder, last;
};

TEST_F(Files, LinesOfJsonAreItems) {
  EXPECT_EQ(listed("a.ndjson", "{\"id\":\"a\"}\n\r\n  {\"id\":\"b\"}  \r\n{\"id\":\"c\"}"), "a@1 b@3 c@4 complete");
  EXPECT_EQ(listed("a.txt", "\xEF\xBB\xBF{\"id\":\"a\"}\n"), "a@1 complete");
}

TEST_F(Files, ABrokenLineIsNamedAndTheOthersAreRead) {
  EXPECT_EQ(listed("a.ndjson", "{\"id\":\"a\"}\nhello\n[1]\n{\"id\":\"b\"}\n"),
            "a@1 [2 not a JSON object] [3 not a JSON object] b@4 complete");
}

TEST_F(Files, AFileThatEndsInTheMiddleOfAnItemIsIncomplete) {
  EXPECT_THAT(listed("a.ndjson", "{\"id\":\"a\"}\n{\"id\":\"b"),
              AllOf(HasSubstr("a@1 "), HasSubstr("middle of an item")));
  EXPECT_THAT(listed("a.json", "[{\"id\":\"a\"},{\"id\":\"b\"}"),
              AllOf(HasSubstr("a@1 b@1"), HasSubstr("middle of a list")));
  EXPECT_THAT(listed("a.json", "[{\"id\":\"a\"},{\"id\":\"b"), HasSubstr("middle of a list"));
}

TEST_F(Files, AnArrayIsReadWithStringsThatHoldBrackets) {
  EXPECT_EQ(
      listed("a.json",
             "[\n {\"id\":\"a\",\"x\":{\"y\":[\"}]\\\"{\"]}},\n {\"id\":\"b\"}, 5, null, \"s\", [{\"id\":\"c\"}]\n]\n"),
      "a@2 b@3 [3 not a JSON object] [3 not a JSON object] [3 not a JSON object] [3 not a JSON object] complete");
  EXPECT_EQ(listed("b.json", "[]"), "complete");
}

TEST_F(Files, PagesOneAfterTheOtherAreOneList) {
  EXPECT_EQ(listed("a.json", "[{\"id\":\"a\"}]\n[{\"id\":\"b\"}] []"), "a@1 b@2 complete");
  EXPECT_EQ(listed(actility, write("b.json", "[{\"name\":\"a\"}][{\"name\":\"b\"}]")), "a@1 b@1 complete");
  EXPECT_EQ(listed(actility, write("c.json", "{\"name\":\"a\"}\n{\"name\":\"b\"}\n")), "a@1 b@2 complete");
}

TEST_F(Files, ObjectsOverSeveralLinesAreItems) {
  EXPECT_EQ(listed("a.json", "{\n \"id\": \"a\"\n}\n{\n \"id\": \"b\"\n}\n"), "a@1 b@4 complete");
}

TEST_F(Files, AListInsideADocumentIsFoundByItsPointer) {
  const std::string path = write("a.json", R"({"skip":[{"id":"no"}],"d":{"list":[{"id":"a"},{"id":"b"}],"x":1}})");
  EXPECT_EQ(listed(file, path, "/d/list"), "a@1 b@1 complete");
  EXPECT_THAT(listed(file, path, "/d/none"), HasSubstr("?@1 complete"));  // read as one item that maps to nothing
  EXPECT_EQ(listed(file, write("b.json", "{\"d\":{\"list\":[{\"id\":\"a\"}]}}\n{\"d\":{\"list\":[{\"id\":\"b\"}]}}"),
                   "/d/list"),
            "a@1 b@2 complete");
  EXPECT_EQ(listed(file, write("c.json", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n"), "/d/list"), "a@1 b@2 complete");
  EXPECT_THAT(listed(file, path, "nope"), HasSubstr("not a JSON pointer"));
}

TEST_F(Files, ItemsMayLieAcrossTheReadBuffer) {
  std::string text = "[";
  for (int i = 0; i < 30'000; ++i)
    text += fmt::format("{}{{\"id\":\"d{}\",\"pad\":\"{}\"}}", i ? ",\n" : "", i, std::string(90, 'x'));
  const std::string out = listed("a.json", text + "]");
  EXPECT_TRUE(out.ends_with("d29999@30000 complete")) << out.substr(out.size() - 200);
}

TEST_F(Files, AnOverlongItemEndsTheListAsIncomplete) {
  const std::string big(3 << 20, 'x');
  EXPECT_THAT(listed("a.json", "[{\"id\":\"a\"},{\"id\":\"" + big + "\"},{\"id\":\"c\"}]"),
              AllOf(HasSubstr("a@1 "), HasSubstr("an item is longer than 1 MiB")));
  EXPECT_EQ(listed("a.ndjson", "{\"id\":\"a\"}\n{\"id\":\"" + big + "\"}\n{\"id\":\"c\"}\n"),
            "a@1 [2 the line is longer than 1 MiB] c@3 complete");
}

TEST_F(Files, CsvRowsAreObjectsOfTexts) {
  EXPECT_EQ(listed("a.csv", "deviceId,EUI,note\r\na,01,\"say \"\"hi\"\", you\"\r\n\r\nb,,\r\n"), "a@2 b@4 complete");
  listed("a.csv", "deviceId,EUI,note\na,01,\"two\nlines, \"\"q\"\"\"\n");
  EXPECT_EQ(last, R"({"deviceId":"a","EUI":"01","note":"two\nlines, \"q\""})");
}

TEST_F(Files, CsvSeparatorsAndByteOrderMarksAreRecognised) {
  EXPECT_EQ(listed("a.csv", "\xEF\xBB\xBF\"deviceId\";\"EUI,x\"\na;1\n"), "a@2 complete");
  EXPECT_EQ(last, R"({"deviceId":"a","EUI,x":"1"})");
  EXPECT_EQ(listed("a.txt", "name\tEUI\nb\t2"), "b@2 complete");
  EXPECT_EQ(last, R"({"name":"b","EUI":"2"})");
}

TEST_F(Files, AQuoteInsideACsvFieldIsAnOrdinaryCharacter) {
  EXPECT_EQ(listed("a.csv", "id,size\na,5\" pipe\nb,6\" pipe\n"), "a@2 b@3 complete");
}

TEST_F(Files, BrokenCsvIsNamed) {
  EXPECT_EQ(
      listed("a.csv", "id,x\na,1,2\nb,\"x\"y\nc,\xFF\nd,1\n"),
      "[2 the row has more fields than the header] [3 text follows a closing quote] [4 not UTF-8 text] d@5 complete");
  EXPECT_THAT(listed("a.csv", "id,x\na,\"never closed\nb,1\n"), HasSubstr("never closes"));
  EXPECT_THAT(listed("a.csv", "id,id\na,1\n"),
              AllOf(HasSubstr("error: "), HasSubstr("a.csv"), HasSubstr("names 'id' twice")));
  EXPECT_THAT(listed("a.csv", "id\xFF,x\na,1\n"), AllOf(HasSubstr("error: "), HasSubstr("UTF-8")));
  EXPECT_THAT(listed("a.csv", ""), HasSubstr("no header row"));
}

TEST_F(Files, AJsonFileWithOtherTextIsIncomplete) {
  EXPECT_THAT(listed("a.json", "<html></html>"), HasSubstr("text outside of a list"));
}

TEST_F(Files, AFileThatCannotBeReadIsAnErrorThatNamesIt) {
  const auto proof = list_file(file, folder + "/none.json", {}, {});
  ASSERT_FALSE(proof);
  EXPECT_EQ(proof.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(proof.error().what, HasSubstr("none.json"));
  EXPECT_FALSE(list_file(file, folder, {}, {}));
}

TEST_F(Files, TheRegistryListsLooksUpAndRefusesToWrite) {
  ScriptedClient remote;
  FakeClock clock;
  Rng rng(1);
  const std::string path = write("a.csv", "name,DevEUI\na,0102030405060708\n0102030405060709,x\nb,1\nb,2\n");
  const auto opened = open(file, {{"path", Secret(path)}}, remote, clock, rng);
  ASSERT_TRUE(opened) << opened.error().what;
  ExternalRegistry& registry = **opened;
  int seen = 0;
  const auto none = [](auto, auto&, auto) { return Status{}; };
  EXPECT_TRUE(registry.list([&](auto, auto&) { return ++seen, Status{}; }, none, {})->complete);
  EXPECT_EQ(seen, 4);
  DeviceInput device;
  device.id = DeviceId("01-02-03-04-05-06-07-09");
  const auto found = registry.look_up(device, {});
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->id, "0102030405060709");
  device.id = DeviceId("zz");
  EXPECT_EQ(registry.look_up(device, {}).error().kind, ErrorKind::kNotFound);
  device.id = DeviceId("b");
  EXPECT_EQ(registry.look_up(device, {}).error().kind, ErrorKind::kConflict);
  EXPECT_EQ(registry.create(device, {}).error().code, "external.read-only");
  EXPECT_EQ(registry.remove(device, {}).error().code, "external.read-only");
  EXPECT_FALSE(open(file, {}, remote, clock, rng));
}

}  // namespace
}  // namespace twinstep::providers
