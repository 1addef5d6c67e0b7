#include "twinstep/config/load.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace twinstep::config {
namespace {

const char* const kHub = "HostName=contoso.azure-devices.net;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0";

class ConfigLoad : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-config-XXXXXX").string();
    folder = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  Result<Loaded> from(const std::string& yaml, std::map<std::string, std::string> environment = {}) {
    const std::string path = folder + "/twinstep.yaml";
    std::ofstream(path) << yaml;
    LoadOptions options{
        .file = path, .environment = std::move(environment), .store = {}, .ca_file = {}, .provider_settings = settings};
    return load(options);
  }
  Result<Loaded> from_environment(std::map<std::string, std::string> environment) {
    environment["TWINSTEP_CONFIG"] = "";
    return load(
        {.file = {}, .environment = std::move(environment), .store = {}, .ca_file = {}, .provider_settings = settings});
  }
  static Result<std::vector<std::string>> settings(const std::string& provider) {
    if (provider == "actility") return std::vector<std::string>{"tokenUri", "devicesUri", "clientId", "clientSecret"};
    return fail(ErrorKind::kInvalid, "definition.unknown", fmt::format("there is no provider '{}'", provider));
  }
  std::string folder;
};

const std::map<std::string, std::string> kSample{{"iothub", kHub},
                                                 {"AzureWebJobsStorage", "AccountName=a;AccountKey=a2V5"},
                                                 {"actility_api_token_uri", "https://tp/token"},
                                                 {"actility_api_devices_uri", "https://tp/devices"},
                                                 {"ACTILITY_API_CLIENT_ID", "me"},
                                                 {"actility_api_client_secret", "hush"}};

TEST_F(ConfigLoad, SamplesVariablesAloneMakeTheDefaultLink) {
  const auto loaded = from_environment(kSample);
  ASSERT_TRUE(loaded) << loaded.error().what;
  const Config& config = loaded->config;
  ASSERT_EQ(config.links.size(), 1u);
  const Link& link = config.links.front();
  EXPECT_EQ(link.name, "default");
  EXPECT_EQ(link.deletes, Deletes::kDelete);
  EXPECT_EQ(link.scope, Scope::kOwned);
  EXPECT_EQ(link.schedule, "0 * * * *");
  EXPECT_EQ(config.find_hub("DEFAULT")->host, "contoso.azure-devices.net");
  EXPECT_EQ(config.externals.front().settings.at("clientId").reveal(), "me");
  ASSERT_TRUE(config.storage);
  for (const auto& value : loaded->values) {
    EXPECT_EQ(value.value.find("hush"), std::string::npos);
    EXPECT_EQ(value.value.find("c2VjcmV0"), std::string::npos);
  }
}

TEST_F(ConfigLoad, SecondStorageStandsInForTheEmulator) {
  auto environment = kSample;
  environment["AzureWebJobsStorage"] = "UseDevelopmentStorage=true";
  environment["storage"] = "AccountName=b;AccountKey=a2V5";
  EXPECT_EQ(from_environment(environment)->config.storage->connection_string.reveal(), "AccountName=b;AccountKey=a2V5");
  environment.erase("storage");
  EXPECT_EQ(from_environment(environment)->config.storage->connection_string.reveal(), "UseDevelopmentStorage=true");
}

TEST_F(ConfigLoad, TheSamplesSwitchEndsItsScheduleAndItsStarter) {
  auto environment = kSample;
  EXPECT_TRUE(from_environment(environment)->config.synchronizer_enabled);
  environment["ioTHubSynchronizerEnabled"] = "false";
  const auto off = from_environment(environment);
  ASSERT_TRUE(off) << off.error().what;
  EXPECT_FALSE(off->config.synchronizer_enabled);
  EXPECT_EQ(off->config.links.front().schedule, "");
}

TEST_F(ConfigLoad, NumbersOfTheSampleAreCheckedByNameAndBound) {
  auto environment = kSample;
  environment["devicesChangeJobThreshold"] = "many";
  const auto bad = from_environment(environment);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().what.find("devicesChangeJobThreshold"), std::string::npos);
  environment["devicesChangeJobThreshold"] = "0";
  environment["retryAttemptsForIoTHubExportJob"] = "0";
  environment["useJobToExportIoTHubDevices"] = "False";
  environment["actility_api_token_url"] = "x";
  const auto good = from_environment(environment);
  ASSERT_TRUE(good) << good.error().what;
  EXPECT_EQ(good->config.job_threshold, 0);
  EXPECT_EQ(good->config.export_polling.attempts, 1);
  EXPECT_FALSE(good->config.use_export_jobs);
  ASSERT_EQ(good->warnings.size(), 2u);
  EXPECT_NE(good->warnings[1].find("actility_api_token_uri"), std::string::npos);
}

TEST_F(ConfigLoad, EnvironmentWinsOverTheFile) {
  const auto loaded = from("hubs: {default: {connection_string: \"" + std::string(kHub) + "\"}}\njob_threshold: 5\n",
                           {{"devicesChangeJobThreshold", "7"}, {"iothub_East", kHub}});
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->config.job_threshold, 7);
  EXPECT_NE(loaded->config.find_hub("east"), nullptr);
}

TEST_F(ConfigLoad, CompleteFileIsReadWithItsSecrets) {
  const auto loaded = from(R"(
hubs: { contoso: { connection_string: "env:HUB", tier: S3, units: 2 } }
externals:
  thingpark: { provider: actility, settings: { tokenUri: "https://tp/token", clientSecret: "env:TP" } }
links:
  - { name: one, hub: Contoso, external: thingpark, deletes: disable, limits: { deletes: 5%, updates: 100 }, include: [edge] }
store: sqlite:/var/lib/twinstep/twinstep.db
export_polling: { interval: 10s, attempts: 30 }
)",
                           {{"HUB", kHub}, {"TP", "hush"}});
  ASSERT_TRUE(loaded) << loaded.error().what;
  const Config& config = loaded->config;
  EXPECT_EQ(config.find_hub("contoso")->tier, Tier::kS3);
  EXPECT_EQ(config.find_link("ONE")->limits.updates.count, 100u);
  EXPECT_TRUE(config.find_link("one")->include_edge);
  EXPECT_EQ(config.externals.front().settings.at("clientSecret").reveal(), "hush");
  EXPECT_EQ(config.export_polling.attempts, 30);
}

TEST_F(ConfigLoad, TheStoreMayBeASecretAndIsShownWithoutItsPassword) {
  const auto shown = [](const Result<Loaded>& loaded) {
    for (const Effective& one : loaded->values)
      if (one.name == "store") return one.value;
    return std::string("nothing");
  };
  const std::string uri = "postgresql://me:hush@db.example:5432/twinstep?sslmode=require";
  const auto from_file = from("store: env:DB\n", {{"DB", uri}});
  ASSERT_TRUE(from_file) << from_file.error().what;
  EXPECT_EQ(from_file->config.store.reveal(), uri);
  EXPECT_EQ(shown(from_file), "postgresql://me:***@db.example:5432/twinstep?sslmode=require");
  const auto from_variable =
      from_environment({{"TWINSTEP_STORE", "env:DB"}, {"DB", "postgres://h/d?password=hush&user=me"}});
  ASSERT_TRUE(from_variable) << from_variable.error().what;
  EXPECT_EQ(shown(from_variable), "postgres://h/d?password=***&user=me");
  EXPECT_EQ(shown(from("store: postgresql://db:5432/d\n")), "postgresql://db:5432/d");
  EXPECT_EQ(shown(from("store: sqlite:/a@b:c/d.db\n")), "sqlite:/a@b:c/d.db");
  EXPECT_EQ(shown(from("store: 'postgresql://me:a@b/hush@db/d'\n")), "postgresql://me:***@db/d");
  const auto bad = from_environment({{"TWINSTEP_STORE", "mysql://me:hush@x"}});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, "config.store");
  EXPECT_EQ(bad.error().what.find("hush"), std::string::npos);
}

TEST_F(ConfigLoad, ATimeFactorIsForSimulatedHubsOnly) {
  const std::string simulated = "HostName=127.0.0.1:8443;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5";
  const auto loaded = from("hubs: {sim: {connection_string: \"" + simulated + "\", time_factor: 60}}\n",
                           {{"iothub_other", simulated}, {"TWINSTEP_TIME_FACTOR", "12"}});
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->config.find_hub("sim")->time_factor, 60);
  EXPECT_EQ(loaded->config.find_hub("other")->time_factor, 12);
  const auto real = from("", {{"iothub", kHub}, {"TWINSTEP_TIME_FACTOR", "60"}});
  ASSERT_FALSE(real);
  EXPECT_EQ(real.error().code, "config.time-factor");
}

TEST_F(ConfigLoad, EveryMistakeNamesItsPlaceAndTheNearestName) {
  const struct {
    std::string yaml;
    const char* expected;
  } kCases[] = {
      {"hub: {}\n", "twinstep.yaml:1:1: unknown key 'hub' in the configuration; did you mean 'hubs'?"},
      {"hubs:\n  a: {host: x}\n", "twinstep.yaml:2:6: hub a needs connection_string, or host and entra"},
      {"hubs: {a: {connection_string: 'HostName=x'}}\n", "SharedAccessKeyName"},
      {"externals: {t: {provider: actility, settings: {tokenUrl: x}}}\n", "did you mean 'tokenUri'?"},
      {"externals: {t: {provider: banana}}\n", "there is no provider 'banana'"},
      {"hubs: {contoso: {host: h, entra: {kind: managed-identity}}}\nexternals: {t: {provider: actility}}\n"
       "links:\n  - {name: l, hub: contosso, external: t, deletes: never}\n",
       "twinstep.yaml:4:20: link l: there is no hub 'contosso'; did you mean 'contoso'?"},
      {"hubs: {contoso: {host: h, entra: {kind: managed-identity}}}\nexternals: {t: {provider: actility}}\n"
       "links:\n  - {name: l, hub: contoso, external: t}\n",
       "deletes: never"},
      {"store: mysql://me:hush@x/y\n", "twinstep.yaml:1:8: store must be sqlite:PATH or postgresql://"},
      {"store: env:NOT_THERE\n", "twinstep.yaml:1:8: env:NOT_THERE"},
      {"hubs: contoso\n", "twinstep.yaml:1:7: 'hubs' of the configuration must be a map of names"},
  };
  for (const auto& one : kCases) {
    const auto loaded = from(one.yaml);
    ASSERT_FALSE(loaded) << one.yaml;
    EXPECT_NE(loaded.error().what.find(one.expected), std::string::npos) << loaded.error().what;
    EXPECT_EQ(loaded.error().kind, ErrorKind::kInvalid);
  }
}

TEST_F(ConfigLoad, RetrySettingsOfTheSampleHoldWithTheirLowerBoundsAndBothNames) {
  auto environment = kSample;
  environment["twinCheckIntervalInSeconds"] = "10";
  environment["twinCheckRetryTimeoutInMinutes"] = "0";
  environment["externalSystemDeviceCreationMaxRetryCount"] = "7";
  environment["externalSystemDeviceCreationRetryIntervalInSeconds"] = "20";
  environment["externalSystemCallRetryIntervalInSeconds"] = "30";
  const auto loaded = from_environment(environment);
  ASSERT_TRUE(loaded) << loaded.error().what;
  const Config& config = loaded->config;
  EXPECT_EQ(config.twin_check.first, Millis{10'000});
  EXPECT_EQ(config.twin_check.cap, Millis{300'000});
  EXPECT_EQ(config.twin_check.attempts, 100);
  EXPECT_EQ(config.twin_check.total, Millis{60'000}) << "the least";
  EXPECT_EQ(config.external_calls.attempts, 7);
  EXPECT_EQ(config.external_calls.first, Millis{30'000}) << "the documented name wins";
  EXPECT_TRUE(config.links.front().events);
  environment["externalSystemCallMaxRetryCount"] = "often";
  EXPECT_NE(from_environment(environment).error().what.find("externalSystemCallMaxRetryCount"), std::string::npos);
}

TEST_F(ConfigLoad, RetriesAndListenersOfTheDaemonComeFromTheFile) {
  const auto loaded = from(R"(
twin_check: { first: 10s, cap: 2m, attempts: 9, total: 3h }
serve: { listen: "0.0.0.0:80", operations: "127.0.0.1:0", history: 7d, lease: 1s }
)");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->config.twin_check.first, Millis{10'000});
  EXPECT_EQ(loaded->config.twin_check.total, Millis{3 * 3600'000});
  EXPECT_EQ(loaded->config.external_calls.first, Millis{300'000});
  EXPECT_EQ(loaded->config.serve.listen, "0.0.0.0:80");
  EXPECT_EQ(loaded->config.serve.history, Millis{7 * 24 * 3600'000});
  EXPECT_EQ(loaded->config.serve.lease, Millis{2000}) << "a shorter one could not be renewed in time";
}

const std::string kTwoLinks = R"(
hubs: {one: {connection_string: "env:HUB"}}
externals: {a: {provider: actility}, b: {provider: actility}}
links:
  - {name: first, hub: one, external: a, deletes: never}
  - {name: second, hub: one, external: b, deletes: never, facade: FACADE}
)";

TEST_F(ConfigLoad, TheFacadeIsOnUnlessTheFileOrTheSamplesVariableSaysOtherwise) {
  const auto loaded = from_environment(kSample);
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(loaded->config.facade.enabled);
  EXPECT_FALSE(loaded->config.facade.soft_delete);
  ASSERT_EQ(loaded->config.facade_links("default").size(), 1u);
  auto off = kSample;
  off["IOTHUBFACADEENABLED"] = "false";
  off["iotHubFacadeUseSoftDelete"] = "true";
  const auto switched = from_environment(off);
  ASSERT_TRUE(switched);
  EXPECT_FALSE(switched->config.facade.enabled);
  EXPECT_TRUE(switched->config.facade.soft_delete);
  off["iothubfacadeEnabled"] = "perhaps";
  off.erase("IOTHUBFACADEENABLED");
  EXPECT_EQ(from_environment(off).error().code, "config.environment");
  const auto file =
      from("facade: {enabled: false, soft_delete: true, grace: 5m}", {{"iotHubFacadeUseSoftDelete", "0"}});
  ASSERT_TRUE(file);
  EXPECT_FALSE(file->config.facade.enabled);
  EXPECT_FALSE(file->config.facade.soft_delete) << "the environment wins";
  EXPECT_EQ(file->config.facade.grace, std::chrono::minutes{5});
}

TEST_F(ConfigLoad, WhichLinkTheFacadeWorksForMustBePlainWhereItIsWanted) {
  const auto with = [&](std::string facade, std::string more = {}) {
    std::string yaml = kTwoLinks + more;
    yaml.replace(yaml.find("FACADE"), 6, facade);
    return from(yaml, {{"HUB", kHub}});
  };
  const auto said = with("true", "facade: {enabled: true}\n");
  ASSERT_TRUE(said) << said.error().what;
  ASSERT_EQ(said->config.facade_links("ONE").size(), 1u);
  EXPECT_EQ(said->config.facade_links("ONE").front()->name, "second");
  const auto denied = with("false");
  ASSERT_TRUE(denied);
  EXPECT_EQ(denied->config.facade_links("one").front()->name, "first");
  std::string unsaid = kTwoLinks;
  unsaid.replace(unsaid.find(", facade: FACADE"), 16, "");
  const auto warned = from(unsaid, {{"HUB", kHub}});
  ASSERT_TRUE(warned) << "a file from before the facade goes on working";
  ASSERT_FALSE(warned->warnings.empty());
  EXPECT_NE(warned->warnings.back().find("first, second"), std::string::npos);
  const auto refused = from(unsaid + "facade: {enabled: true}\n", {{"HUB", kHub}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "config.facade");
  EXPECT_TRUE(from(unsaid + "facade: {enabled: false}\n", {{"HUB", kHub}})->warnings.empty());
}

TEST_F(ConfigLoad, SoftDeletesThatRunsWouldTurnIntoDeletesAreWarnedOf) {
  auto soft = kSample;
  soft["iotHubFacadeUseSoftDelete"] = "true";
  const auto loaded = from_environment(soft);
  ASSERT_TRUE(loaded);
  ASSERT_FALSE(loaded->warnings.empty());
  EXPECT_NE(loaded->warnings.back().find("deletes: disable"), std::string::npos);
}

}  // namespace
}  // namespace twinstep::config
