// What `config schema` tells editors, the loader and docs/configuration.md must agree. The first two are compared from
// outside: a file is made from the printed schema and given to the loader.
#include "twinstep/config/schema.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <set>
#include <stdexcept>

#include "twinstep/config/key_reader.h"
#include "twinstep/config/load.h"

namespace twinstep::config {
namespace {

const char* const kHub = "HostName=localhost:8443;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0";

class ConfigSchema : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-schema-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    std::ofstream(folder + "/old.key") << std::string(64, 'a') << "\n";
    schema = json::parse(json_schema(), "the schema").value();
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  Status loads(const json::value& config) {
    std::ofstream(folder + "/twinstep.yaml") << json::write(config);
    LoadOptions options{
        .file = folder + "/twinstep.yaml", .environment = {}, .store = {}, .ca_file = {}, .provider_settings = {}};
    auto loaded = load(options);
    if (!loaded) return fail(loaded.error());
    return {};
  }

  const json::object& resolved(const json::value& type) const {
    const json::value* reference = type.as_object().if_contains("$ref");
    if (!reference) return type.as_object();
    return json::at(schema, std::string(reference->as_string()).substr(1))->as_object();
  }

  /// A value that the schema allows and that means something where it stands.
  json::value sample(const json::value& type, const std::string& key) const {
    const json::object& one = resolved(type);
    if (key == "connection_string") return kHub;
    if (key == "hub" || key == "external") return "one";
    if (key == "client_secret") return "hush";
    if (key == "store_key") return json::value(json::string(std::string(64, 'b')));
    if (key == "store_old_keys") return json::value(json::string("file:" + folder + "/old.key"));
    if (key == "tenant" || key == "application") return "ab1f708d-50f6-404c-a006-d71b2ac7a606";
    if (key == "authority") return "https://login.microsoftonline.us";
    if (key == "endpoint") return "http://localhost:4318";
    if (key == "schedule") return "0 * * * *";
    if (key == "url") return "https://example.org/hook";
    if (key == "server") return "smtps://mail.example.org";
    if (key == "from") return "twinstep@example.org";
    if (key == "recipients") return json::array{"ops@example.org", "night@example.org"};
    if (key == "application_insights") return "InstrumentationKey=00000000-1111-2222-3333-444444444444";
    if (key == "body") return R"({"text":"{{text}}"})";
    if (key == "zone") return "Europe/Berlin";
    if (key == "listen" || key == "operations") return "127.0.0.1:0";
    if (const auto* any = one.if_contains("anyOf")) return sample(any->as_array().at(1), key);
    if (const auto* choices = one.if_contains("enum")) return choices->as_array().at(0);
    const json::value& kind = one.at("type");
    if (kind == "object") {
      json::object out;
      if (const auto* properties = one.if_contains("properties"))
        for (const auto& [name, property] : properties->as_object()) out[name] = sample(property, name);
      else
        out["one"] = sample(one.at("additionalProperties"), "one");
      return out;
    }
    if (kind == "array") return json::array{sample(one.at("items"), key)};
    if (kind == "boolean") return true;
    if (kind == "integer") return one.at("maximum");
    if (kind.is_array()) return "7%";  // a limit
    if (const auto* pattern = one.if_contains("pattern")) {
      const std::string text(pattern->as_string());
      if (text.starts_with("^(sqlite:")) return "sqlite:/tmp/x.db";
      return text.find("MiB") != text.npos ? "64MiB" : "90s";
    }
    return "text";
  }

  /// Values that the schema does not allow there.
  std::vector<json::value> wrong(const json::value& type) const {
    const json::object& one = resolved(type);
    if (one.contains("anyOf")) return {"surprise", json::array{"surprise"}, json::object{}};
    if (one.contains("enum")) return {"surprise", json::array{}};
    const json::value& kind = one.at("type");
    if (kind == "object" || kind == "array")
      return {"surprise", 5, kind == "array" ? json::value(json::object{}) : json::array{1}};
    if (kind == "boolean") return {"yes", 1, json::array{}};
    if (kind == "integer")
      return {"many", 1.5, one.at("minimum").to_number<int64_t>() - 1, one.at("maximum").to_number<int64_t>() + 1};
    if (kind.is_array()) return {"7 percent", "101%", -1, json::array{}};
    if (one.contains("pattern")) return {"surprise", "12", json::object{}};
    return {json::object{}, json::array{}};
  }

  using Visit = std::function<void(const std::string& path, const json::value& type, json::value& place)>;
  /// Every key of the schema with its type and its place in `config`, which holds them all.
  void each(const json::value& type, json::value& place, const std::string& path, const Visit& visit) const {
    visit(path, type, place);
    const json::object& one = resolved(type);
    if (const auto* properties = one.if_contains("properties"))
      for (const auto& [name, property] : properties->as_object())
        each(property, place.as_object()[name], path + "/" + std::string(name), visit);
    else if (place.is_object())
      each(one.at("additionalProperties"), place.as_object()["one"], path + "/one", visit);
    else if (place.is_array() && !one.contains("anyOf"))
      each(one.at("items"), place.as_array().at(0), path + "/0", visit);
  }

  std::string folder;
  json::value schema;
};

TEST_F(ConfigSchema, EveryKeyOfTheSchemaIsAccepted) {
  json::value config = sample(schema, "");
  int keys = 0;
  each(schema, config, "", [&](const std::string&, const json::value&, const json::value&) { ++keys; });
  EXPECT_GT(keys, 40);
  const Status read = loads(config);
  EXPECT_TRUE(read) << read.error().what << "\n" << json::write(config);
}

TEST_F(ConfigSchema, AValueThatTheSchemaRefusesIsRefused) {
  json::value config = sample(schema, "");
  each(schema, config, "", [&](const std::string& path, const json::value& type, json::value& place) {
    const json::value good = place;
    for (const json::value& bad : wrong(type)) {
      place = bad;
      EXPECT_FALSE(loads(config)) << path << " accepts " << json::write(bad);
      place = good;
    }
  });
}

TEST_F(ConfigSchema, AKeyThatTheSchemaLacksIsRefusedAtEveryLevel) {
  json::value config = sample(schema, "");
  int levels = 0;
  each(schema, config, "", [&](const std::string& path, const json::value& type, json::value& place) {
    const json::value* more = resolved(type).if_contains("additionalProperties");
    if (!more || *more != json::value(false)) return;
    ++levels;
    place.as_object()["surprise"] = 1;
    const Status read = loads(config);
    ASSERT_FALSE(read) << path;
    EXPECT_EQ(read.error().code, "yaml.unknown-key") << path;
    place.as_object().erase("surprise");
  });
  EXPECT_EQ(levels, 23);
}

TEST_F(ConfigSchema, ExactlyTheRequiredKeysMayNotBeLeftOut) {
  json::value config = sample(schema, "");
  each(schema, config, "", [&](const std::string& path, const json::value& type, json::value& place) {
    const json::object& one = resolved(type);
    const json::value* properties = one.if_contains("properties");
    if (!properties) return;
    for (const auto& entry : properties->as_object()) {
      const std::string key(entry.key());
      // Links need what they name, and a client secret, an account or a certificate the keys beside it; a schema cannot
      // say so.
      if (path.empty() || path.ends_with("/entra") || path == "/storage" || path.ends_with("/serve")) continue;
      // Which keys a notice needs depends on where it goes; user and password belong together.
      if (path == "/notices/0" || (path.ends_with("/email") && (key == "user" || key == "password"))) continue;
      bool required = false;
      if (const auto* list = one.if_contains("required"))
        for (const auto& name : list->as_array()) required = required || name == json::value(key);
      const json::value kept = place.as_object().at(key);
      place.as_object().erase(key);
      EXPECT_EQ(loads(config).has_value(), !required) << path << "/" << key;
      place.as_object()[key] = kept;
    }
  });
}

TEST(KeyReader, AReaderThatDiffersFromTheTableIsABug) {
  const auto node = yaml::parse("{interval: 1s, attempts: 2}", "t.yaml").value();
  yaml::Diagnostics diagnostics("t.yaml");
  KeyReader map(node, diagnostics, "polling", polling_keys());
  EXPECT_THROW(map.text("intervall"), std::logic_error);
  EXPECT_THROW(map.text("interval"), std::logic_error);
  EXPECT_EQ(map.duration("interval"), Millis{1000});
  EXPECT_THROW(map.finish(), std::logic_error) << "nobody has read 'attempts'";
  EXPECT_EQ(map.integer("attempts"), 2);
  map.finish();
  EXPECT_TRUE(diagnostics.ok());
}

void add_paths(const Section& section, const std::string& before, std::set<std::string>& out) {
  for (const Key& key : section.keys) {
    const std::string path = before + key.name;
    if (!key.section)
      out.insert(path);
    else
      add_paths(*key.section,
                path + (key.type == KeyType::kNamedSections ? ".NAME."
                        : key.type == KeyType::kSectionList ? "[]."
                                                            : "."),
                out);
  }
}

TEST(ConfigurationPage, HasARowForEveryKeyAndNoOther) {
  std::set<std::string> expected;
  add_paths(root_keys(), "", expected);
  std::ifstream page(TWINSTEP_SOURCE_DIR "/docs/configuration.md");
  ASSERT_TRUE(page.is_open());
  std::set<std::string> documented;
  bool in_file_section = false;
  const std::regex quoted("`([^`]+)`");
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("## ")) in_file_section = line == "## File";
    if (!in_file_section || !line.starts_with("| `")) continue;
    const std::string first = line.substr(0, line.find('|', 1));
    for (auto at = std::sregex_iterator(first.begin(), first.end(), quoted); at != std::sregex_iterator(); ++at)
      documented.insert((*at)[1]);
  }
  EXPECT_EQ(documented, expected);
}

}  // namespace
}  // namespace twinstep::config
