#include "twinstep/azure/xml_reader.h"

#include <gtest/gtest.h>

#include <map>

namespace twinstep::azure {
namespace {

std::map<std::string, std::string> texts(std::string_view document) {
  std::map<std::string, std::string> out;
  const Status read = read_xml(document, [&](const XmlElement& element) -> Status {
    out[std::string(element.path)] = std::string(element.text);
    return {};
  });
  EXPECT_TRUE(read) << read.error().what;
  return out;
}

bool refused(std::string_view document) {
  const Status read = read_xml(document, [](const XmlElement&) -> Status { return {}; });
  return !read && read.error().kind == ErrorKind::kCorrupt && read.error().code == "xml.malformed";
}

TEST(XmlReader, DecodesEntitiesCharacterNumbersAndCdata) {
  const auto out = texts(
      "\xEF\xBB\xBF<?xml version=\"1.0\"?><!-- <no> --><a><b>1 &lt; 2 &amp;&#65;&#x20AC;</b>"
      "<c><![CDATA[<&amp;>]]></c><d/></a>\n");
  EXPECT_EQ(out.at("a/b"), "1 < 2 &A\xE2\x82\xAC");
  EXPECT_EQ(out.at("a/c"), "<&amp;>");
  EXPECT_EQ(out.at("a/d"), "");
}

TEST(XmlReader, GivesAttributesDecoded) {
  std::string seen;
  ASSERT_TRUE(read_xml("<a x='1' y = \"&quot;2&quot;\"/>", [&](const XmlElement& element) -> Status {
    seen = fmt::format("{}|{}|{}", element.attribute("x"), element.attribute("y"), element.attribute("z"));
    return {};
  }));
  EXPECT_EQ(seen, "1|\"2\"|");
}

TEST(XmlReader, RefusesEveryDocumentThatStopsEarly) {
  const std::string whole = "<?xml version=\"1.0\"?><a x=\"1\"><b>t&amp;</b><!-- c --><c/></a>";
  ASSERT_FALSE(refused(whole));
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_TRUE(refused(whole.substr(0, length))) << whole.substr(0, length);
  }
}

TEST(XmlReader, RefusesWhatCouldExpandOrIsNotXml) {
  EXPECT_TRUE(refused("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>"));
  EXPECT_TRUE(refused("<a>&unknown;</a>"));
  EXPECT_TRUE(refused("<a>&#0;</a>"));
  EXPECT_TRUE(refused("<a>&#xD800;</a>"));
  EXPECT_TRUE(refused("<a><b></a></b>"));
  EXPECT_TRUE(refused("<a/><b/>"));
  EXPECT_TRUE(refused("<a/>text"));
  EXPECT_TRUE(refused("{\"a\":1}"));
  EXPECT_TRUE(refused("<a>\xFF</a>"));
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "<a>";
  EXPECT_TRUE(refused(deep));
}

TEST(XmlReader, StopsWhereTheVisitorRefuses) {
  int calls = 0;
  const Status read = read_xml("<a><b/><c/></a>", [&](const XmlElement&) -> Status {
    ++calls;
    return fail(ErrorKind::kInvalid, "mine", "no");
  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, "mine");
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace twinstep::azure
