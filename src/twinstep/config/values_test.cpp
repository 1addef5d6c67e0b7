#include "twinstep/config/values.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace twinstep::config {
namespace {

std::optional<std::string> only_token(std::string_view name) {
  if (name == "TOKEN") return "s3cret";
  if (name == "EMPTY") return "";
  return std::nullopt;
}

TEST(ConfigValues, NamesAreFoundWithoutCase) {
  Config config;
  config.hubs.resize(2);
  config.hubs[0].name = "Contoso";
  config.hubs[1].name = "Fabrikam";
  EXPECT_EQ(config.find_hub("FABRIKAM"), &config.hubs[1]);
  EXPECT_EQ(config.find_hub("Fabrika"), nullptr);
  EXPECT_EQ(config.find_link("default"), nullptr);
}

TEST(ConfigValues, ALimitIsAPercentageOrACount) {
  EXPECT_EQ(parse_limit("10%").value().percent, 10.0);
  EXPECT_FALSE(parse_limit("10%").value().count);
  EXPECT_EQ(parse_limit("500").value().count, 500u);
  EXPECT_EQ(parse_limit("0").value().count, 0u);
}

TEST(ConfigValues, AnythingElseIsNoLimit) {
  for (const char* text : {"", "%", "101%", "-1%", "nan%", "-5", "5x", "10 %", "1.5"}) {
    const Result<Limit> limit = parse_limit(text);
    ASSERT_FALSE(limit) << text;
    EXPECT_EQ(limit.error().code, "config.bad-limit") << text;
  }
}

TEST(ConfigValues, ASecretComesFromTheEnvironmentAFileOrTheTextItself) {
  const std::string path = testing::TempDir() + "twinstep_values_test_secret";
  std::ofstream(path, std::ios::binary) << "from file\r\n";
  EXPECT_EQ(resolve_secret("env:TOKEN", only_token).value().reveal(), "s3cret");
  EXPECT_EQ(resolve_secret("file:" + path, only_token).value().reveal(), "from file");
  EXPECT_EQ(resolve_secret("plain", only_token).value().reveal(), "plain");
  std::remove(path.c_str());
}

TEST(ConfigValues, AMissingSecretNamesItsReference) {
  for (const char* text : {"env:NOPE", "env:EMPTY", "file:/nonexistent/secret"}) {
    const Result<Secret> secret = resolve_secret(text, only_token);
    ASSERT_FALSE(secret) << text;
    EXPECT_EQ(secret.error().code, "config.secret-missing");
    EXPECT_NE(secret.error().what.find(text), std::string::npos) << secret.error().what;
  }
}

TEST(ConfigValues, AHubConnectionStringGivesItsHost) {
  EXPECT_EQ(hub_host(Secret("HostName=h.example:8443;SharedAccessKeyName=o;SharedAccessKey=aGk=")).value(),
            "h.example:8443");
}

TEST(ConfigValues, ABrokenConnectionStringNamesTheMissingPartAndNotTheKey) {
  const Result<std::string> host = hub_host(Secret("HostName=h.example;SharedAccessKey=aGlkZGVu"));
  ASSERT_FALSE(host);
  EXPECT_NE(host.error().what.find("no SharedAccessKeyName;"), std::string::npos) << host.error().what;
  EXPECT_EQ(host.error().what.find("aGlkZGVu"), std::string::npos);
  EXPECT_NE(hub_host(Secret("")).error().what.find("no HostName;"), std::string::npos);
  EXPECT_NE(
      hub_host(Secret("HostName=h;SharedAccessKeyName=o;SharedAccessKey=")).error().what.find("no SharedAccessKey;"),
      std::string::npos);
}

}  // namespace
}  // namespace twinstep::config
