#include "twinstep/plan/hub_line.h"

#include <gtest/gtest.h>

#include <random>

namespace twinstep::plan {
namespace {

Rules rules() {
  Rules rules;
  rules.link = "lora";
  rules.tags = {{{"name"}, false, false}, {{"lorawan", "devEui"}, false, false}, {{"key"}, true, false}};
  return rules;
}

constexpr std::string_view kExport =
    R"({"id":"lora-01","eTag":"NDIx","status":"disabled","statusReason":"from \u004cNS","authentication":)"
    R"({"symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":null,)"
    R"("secondaryThumbprint":null},"type":"sas"},"twinETag":"AAAAAAAAAAE=","tags":{"name":5.0,"lorawan":)"
    R"({"x":1,"devEui":{"b":1,"a":"\u0041"}},"key":"secret","ref":"r","twinstep":{"v":1,"link":"lora"}},)"
    R"("properties":{"desired":{"tags":{"name":"no"},"$version":1},"reported":{}},"capabilities":{"iotEdge":true}})";

TEST(HubLine, ReadsAnExportLine) {
  HubLineReader reader(rules());
  for (int twice = 0; twice < 2; ++twice) {
    const auto line = reader.read(kExport);
    ASSERT_TRUE(line) << line.error().what;
    EXPECT_EQ(line->id, "lora-01");
    EXPECT_EQ(line->module_id, "");
    EXPECT_EQ(line->etag, "NDIx");
    EXPECT_EQ(line->twin_etag, "AAAAAAAAAAE=");
    EXPECT_EQ(line->status_reason, "from LNS");
    EXPECT_FALSE(line->enabled);
    EXPECT_TRUE(line->edge);
    EXPECT_EQ(line->auth, azure::AuthKind::kSas);
    EXPECT_TRUE(line->marked);
    EXPECT_EQ(line->owner, "lora");
    EXPECT_TRUE(line->has_ref);
    EXPECT_TRUE(line->tags.starts_with(R"({"name":5.0)") && line->tags.ends_with(R"("link":"lora"}})")) << line->tags;
    ASSERT_EQ(line->values.size(), 3u);
    EXPECT_EQ(line->values[0], "5");
    EXPECT_EQ(line->values[1], R"({"a":"A","b":1})");
    EXPECT_EQ(line->values[2], "") << "secret tags are not read unless they are copied";
  }
}

TEST(HubLine, ReadsSecretTagsWhenTheyAreCopied) {
  Rules copying = rules();
  copying.copy_secrets = true;
  HubLineReader reader(copying);
  EXPECT_EQ(reader.read(kExport).value().values[2], R"("secret")");
}

TEST(HubLine, ReadsATwinOfAQueryPage) {
  HubLineReader reader(rules());
  const auto line =
      reader.read(R"({"deviceId":"d","etag":"T","deviceEtag":"D","status":"enabled","statusReason":null,)"
                  R"("authenticationType":"certificateAuthority","x509Thumbprint":{"primaryThumbprint":null},)"
                  R"("capabilities":{"iotEdge":false},"version":2,"tags":{"name":null,"twinstep":"x"}})");
  ASSERT_TRUE(line) << line.error().what;
  EXPECT_EQ(line->id, "d");
  EXPECT_EQ(line->etag, "D");
  EXPECT_EQ(line->twin_etag, "T");
  EXPECT_TRUE(line->enabled);
  EXPECT_EQ(line->auth, azure::AuthKind::kCertificateAuthority);
  EXPECT_TRUE(line->marked);
  EXPECT_EQ(line->owner, "");
  EXPECT_EQ(line->values[0], "") << "null is no value";
}

TEST(HubLine, AnIdentitysEtagIsNotATwins) {
  HubLineReader reader(rules());
  const auto line = reader.read(R"({"deviceId":"d","etag":"D","authentication":{"type":"selfSigned"}})");
  ASSERT_TRUE(line);
  EXPECT_EQ(line->etag, "D");
  EXPECT_EQ(line->twin_etag, "");
  EXPECT_EQ(line->auth, azure::AuthKind::kSelfSigned);
}

TEST(HubLine, IsLiberalWhereHubsDiffer) {
  HubLineReader reader(rules());
  EXPECT_TRUE(reader.read(R"({"id":"a","authentication":null,"capabilities":null,"tags":null,"status":"Enabled"})"));
  EXPECT_EQ(reader.read(R"({"id":"a","moduleId":"m"})").value().module_id, "m");
  EXPECT_EQ(reader.read(R"({"id":"a","moduleId":null})").value().module_id, "");
  EXPECT_EQ(reader.read(R"({"id":"a","authentication":{"x509Thumbprint":{"PrimaryThumbprint":"AB"}}})").value().auth,
            azure::AuthKind::kSelfSigned);
  EXPECT_EQ(reader.read(R"({"\u0069d":"a"})").value().id, "a");
  EXPECT_EQ(reader.read(R"({"id":"a","tags":{"name":1,"name":2}})").value().values[0], "2");
  EXPECT_FALSE(reader.read(R"({"id":"a","tags":{}})").value().marked) << "nothing is left of the line before";
}

TEST(HubLine, SaysWhatIsWrongAndTheIdThatCanStillBeRead) {
  HubLineReader reader(rules());
  const auto id_of = [&](std::string_view text) {
    const auto line = reader.read(text);
    EXPECT_FALSE(line) << text;
    if (!line) {
      EXPECT_EQ(line.error().kind, ErrorKind::kCorrupt);
    }
    return std::string(reader.failed_id());
  };
  EXPECT_EQ(id_of(R"({"id":"a","eTag":"x)"), "a");
  EXPECT_EQ(id_of(R"({"x":{"id":"no","y":["}"]}, "deviceId" : "b" ,"tags":{)"), "b");
  EXPECT_EQ(id_of(R"({"id":"a"} trailing)"), "a");
  EXPECT_EQ(id_of(R"({"id":"a","tags":5})"), "a");
  EXPECT_EQ(id_of(R"({"id":"a","status":"odd"})"), "a");
  EXPECT_EQ(id_of(R"({"id":"a","authentication":{"type":"new"}})"), "a");
  EXPECT_EQ(id_of(R"({"id":"a)"), "");
  EXPECT_EQ(id_of(R"({"tags":{"id":"a")"), "");
  EXPECT_EQ(id_of(R"({"eTag":"x"})"), "");
  EXPECT_EQ(id_of("[]"), "");
  EXPECT_EQ(id_of(""), "");
}

TEST(HubLine, AnyBytesAreSurvived) {
  HubLineReader reader(rules());
  for (unsigned seed = 0; seed < 3000; ++seed) {
    std::mt19937 random(seed);
    std::string text(kExport);
    for (size_t n = random() % 6 + 1; n > 0 && !text.empty(); --n) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, random() % 20);
          break;
        case 2:
          text.insert(at, std::string(1, "{}[]\",:\\n\0"[random() % 10]));
          break;
        default:
          text.resize(at + 1);
      }
    }
    if (const auto line = reader.read(text)) {
      EXPECT_FALSE(line->id.empty());
    }
  }
}

}  // namespace
}  // namespace twinstep::plan
