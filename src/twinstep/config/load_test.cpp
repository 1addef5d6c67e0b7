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

TEST_F(ConfigLoad, TracesGoWhereTheFileOrOpenTelemetrysVariablesSay) {
  const auto none = from_environment(kSample);
  EXPECT_EQ(none->config.otlp, Otlp{});
  const std::string file =
      "telemetry: {otlp: {endpoint: 'http://collector:4318/', headers: 'k=hush', service_name: ours, sample_percent: "
      "5}}";
  const auto written = from(file);
  ASSERT_TRUE(written) << written.error().what;
  const Otlp& otlp = written->config.otlp;
  EXPECT_EQ(otlp.traces_endpoint, "http://collector:4318/v1/traces");
  EXPECT_EQ(otlp.headers.reveal(), "k=hush");
  EXPECT_EQ(otlp.service_name, "ours");
  EXPECT_DOUBLE_EQ(otlp.sample, 0.05);
  for (const auto& value : written->values) EXPECT_EQ(value.value.find("hush"), std::string::npos);

  const auto both = from(file, {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://other"},
                                {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/x"},
                                {"OTEL_TRACES_SAMPLER_ARG", "0.25"},
                                {"OTEL_SERVICE_NAME", "theirs"}});
  ASSERT_TRUE(both) << both.error().what;
  EXPECT_EQ(both->config.otlp.traces_endpoint, "https://traces/x");
  EXPECT_DOUBLE_EQ(both->config.otlp.sample, 0.25);
  EXPECT_EQ(both->config.otlp.service_name, "theirs");

  EXPECT_EQ(from("", {{"OTEL_TRACES_SAMPLER_ARG", "often"}}).error().code, "config.environment");
  EXPECT_EQ(from("", {{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"}}).error().code, "config.otlp");
}

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

TEST_F(ConfigLoad, TheRateThatTheDefinitionNamesAVariableForComesFromIt) {
  auto environment = kSample;
  environment["actility_api_requests_per_second"] = "25";
  const auto loaded = from_environment(environment);
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->config.externals.front().settings.at("requestsPerSecond").reveal(), "25");
  EXPECT_TRUE(loaded->warnings.empty());
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
serve: { listen: "0.0.0.0:80", operations: "127.0.0.1:0", history: 7d, lease: 1s, max_connections: 9,
  max_connections_per_address: 0, idle_timeout: 5m, request_timeout: 1ms }
)");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->config.twin_check.first, Millis{10'000});
  EXPECT_EQ(loaded->config.twin_check.total, Millis{3 * 3600'000});
  EXPECT_EQ(loaded->config.external_calls.first, Millis{300'000});
  EXPECT_EQ(loaded->config.serve.listen, "0.0.0.0:80");
  EXPECT_EQ(loaded->config.serve.history, Millis{7 * 24 * 3600'000});
  EXPECT_EQ(loaded->config.serve.max_connections, 9);
  EXPECT_EQ(loaded->config.serve.max_connections_per_address, 0);
  EXPECT_EQ(loaded->config.serve.max_requests_per_address, std::nullopt) << "the default spares this machine's own";
  EXPECT_EQ(loaded->config.serve.idle_timeout, Millis{300'000});
  EXPECT_EQ(loaded->config.serve.request_timeout, Millis{1000}) << "nothing would arrive in less";
  EXPECT_EQ(loaded->config.serve.lease, Millis{2000}) << "a shorter one could not be renewed in time";
}

const char* const kKeyA = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
const char* const kKeyB = "4242424242424242424242424242424242424242424242424242424242424242";

TEST_F(ConfigLoad, KeysOfTheStoreAreReadAndShownByTheirIdAlone) {
  const auto loaded = from("store_key: env:A\nstore_old_keys: env:B,env:A\n", {{"A", kKeyA}, {"B", kKeyB}});
  ASSERT_TRUE(loaded) << loaded.error().what;
  ASSERT_EQ(loaded->config.store_keys.size(), 3u);
  const std::string id = loaded->config.store_keys[0].id();
  EXPECT_NE(loaded->config.store_keys[1].id(), id);
  for (const Effective& value : loaded->values) {
    EXPECT_EQ(value.value.find(kKeyA), std::string::npos);
    EXPECT_TRUE(value.name != "store_key" || value.value.find(id) != std::string::npos);
  }
}

TEST_F(ConfigLoad, AStoreKeyThatIsNoneIsRefusedWithTheWayToMakeOne) {
  for (const char* yaml : {"store_key: env:BAD\n", "store_key: env:A\nstore_old_keys: env:BAD\n"}) {
    const auto loaded = from(yaml, {{"A", kKeyA}, {"BAD", "hunter2"}});
    ASSERT_FALSE(loaded) << yaml;
    EXPECT_EQ(loaded.error().code, "config.store-key");
    EXPECT_NE(loaded.error().what.find("openssl rand -base64 32"), std::string::npos);
    EXPECT_EQ(loaded.error().what.find("hunter2"), std::string::npos);
  }
  EXPECT_EQ(from("store_old_keys: env:A\n", {{"A", kKeyA}}).error().code, "config.store-key") << "old ones alone";
  EXPECT_EQ(from(std::string("store_key: env:A\nstore_old_keys: ") + kKeyB, {{"A", kKeyA}}).error().code,
            "config.store-key")
      << "a key in plain text";
  EXPECT_EQ(from("store_key: env:NONE\n").error().code, "config.secret-missing");
}

TEST_F(ConfigLoad, TheEnvironmentsStoreKeyGoesFirstAndTheFilesStillOpens) {
  const auto loaded = from("store_key: env:A\n", {{"A", kKeyA}, {"TWINSTEP_STORE_KEY", kKeyB}});
  ASSERT_TRUE(loaded) << loaded.error().what;
  ASSERT_EQ(loaded->config.store_keys.size(), 2u);
  EXPECT_EQ(loaded->config.store_keys[0].bytes().reveal(), std::string(32, 'B'));
}

TEST_F(ConfigLoad, WhoNeedsKeysAndUnderWhichNamesComesFromTheFile) {
  const auto plain = from("{}");
  EXPECT_FALSE(plain->config.serve.operations_keys);
  EXPECT_TRUE(plain->config.serve.host_names.empty());
  const auto loaded = from("serve: { operations_keys: required, host_names: \"sync.corp  twin.corp\" }");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_TRUE(loaded->config.serve.operations_keys);
  EXPECT_EQ(loaded->config.serve.host_names, (std::vector<std::string>{"sync.corp", "twin.corp"}));
}

TEST_F(ConfigLoad, StorageByEntraNeedsNoKeyAndMakesJobsGoByTheHubsIdentity) {
  const auto loaded =
      from("storage: {account: acct, entra: {client_secret: 'env:SECRET'}, user_assigned_identity: /id}\n",
           {{"SECRET", "hush"},
            {"AZURE_TENANT_ID", "t"},
            {"AZURE_CLIENT_ID", "c"},
            {"AZURE_AUTHORITY_HOST", "https://login.example/"}});
  ASSERT_TRUE(loaded) << loaded.error().what;
  const Storage& storage = *loaded->config.storage;
  EXPECT_EQ(storage.account, "acct");
  ASSERT_TRUE(storage.entra);
  EXPECT_EQ(storage.entra->kind, EntraKind::kClientSecret);
  EXPECT_EQ(storage.entra->client_secret.reveal(), "hush");
  EXPECT_EQ(storage.entra->authority, "https://login.example/");
  EXPECT_TRUE(storage.identity_based_jobs);
  EXPECT_EQ(storage.user_assigned_identity, "/id");
  EXPECT_TRUE(loaded->warnings.empty());
  const auto both = from("storage: {account: acct, entra: {kind: managed-identity}, connection_string: x}\n");
  ASSERT_TRUE(both) << both.error().what;
  ASSERT_EQ(both->warnings.size(), 1u);
  EXPECT_NE(both->warnings[0].find("is not used"), std::string::npos);
}

TEST_F(ConfigLoad, StorageThatIsNamedByHalfIsRefusedWithItsPlace) {
  for (const auto& [yaml, expected] : std::vector<std::pair<std::string, std::string>>{
           {"storage: {account: acct}\n", "1:10: storage needs connection_string, or account and entra"},
           {"storage: {}\n", "storage needs connection_string"},
           {"storage: {entra: {kind: managed-identity}}\n", "storage needs connection_string"},
           {"storage: {account: acct, connection_string: x}\n", "storage needs connection_string"},
           {"storage: {account: 'http://acct.example', entra: {kind: managed-identity}}\n", "must begin with https://"},
           {"storage: {account: acct, entra: {kind: managed-identity}, identity_based_jobs: false}\n",
            "there is no SAS"},
           {"storage: {account: acct, entra: {kind: workload-identity}}\n", "AZURE_FEDERATED_TOKEN_FILE"},
           {"storage: {account: acct, entra: {}}\n", "a client secret needs"}}) {
    const auto loaded = from(yaml);
    ASSERT_FALSE(loaded) << yaml;
    EXPECT_NE(loaded.error().what.find(expected), std::string::npos) << loaded.error().what;
  }
}

TEST_F(ConfigLoad, StorageWithoutAKeyIsNamedAsAzureFunctionsNameIt) {
  auto environment = kSample;
  environment.erase("AzureWebJobsStorage");
  environment["AzureWebJobsStorage__accountName"] = "acct";
  const auto kind_of = [&] {
    const auto loaded = from_environment(environment);
    EXPECT_TRUE(loaded) << loaded.error().what;
    EXPECT_TRUE(loaded->warnings.empty());
    EXPECT_TRUE(loaded->config.storage->identity_based_jobs);
    return loaded->config.storage->entra->kind;
  };
  EXPECT_EQ(kind_of(), EntraKind::kManagedIdentity);
  environment["AZURE_FEDERATED_TOKEN_FILE"] = "/token";
  EXPECT_EQ(kind_of(), EntraKind::kWorkloadIdentity);
  environment["AZURE_TENANT_ID"] = "t";
  environment["AZURE_CLIENT_ID"] = "c";
  environment["AZURE_CLIENT_SECRET"] = "hush";
  EXPECT_EQ(kind_of(), EntraKind::kClientSecret);
  environment["AzureWebJobsStorage__credential"] = "managedidentity";
  environment["AzureWebJobsStorage__clientId"] = "own";
  EXPECT_EQ(kind_of(), EntraKind::kManagedIdentity);
  environment["azurewebjobsstorage__blobserviceuri"] = "https://other.blob.core.windows.net";
  const auto loaded = from_environment(environment);
  EXPECT_EQ(loaded->config.storage->account, "https://other.blob.core.windows.net");
  EXPECT_EQ(loaded->config.storage->entra->client_id, "own");
  for (const auto& value : loaded->values) EXPECT_EQ(value.value.find("hush"), std::string::npos);

  environment["AzureWebJobsStorage__credential"] = "key";
  EXPECT_NE(from_environment(environment).error().what.find("AzureWebJobsStorage__credential"), std::string::npos);
  environment.erase("AzureWebJobsStorage__credential");
  environment["AzureWebJobsStorage__blobServiceUri"] = "";
  environment.erase("azurewebjobsstorage__blobserviceuri");
  environment["AzureWebJobsStorage__accountName"] = "Not An Account";
  EXPECT_NE(from_environment(environment).error().what.find("AzureWebJobsStorage__accountName"), std::string::npos);

  environment["AzureWebJobsStorage"] = "AccountName=a;AccountKey=a2V5";
  const auto by_key = from_environment(environment);
  ASSERT_TRUE(by_key) << by_key.error().what;
  EXPECT_FALSE(by_key->config.storage->entra) << "a connection string wins, as with Azure Functions";
  EXPECT_FALSE(by_key->config.storage->identity_based_jobs);
}

TEST_F(ConfigLoad, AConnectionStringOfTheEnvironmentWinsOverTheFilesIdentity) {
  const auto loaded = from("storage: {account: acct, entra: {kind: managed-identity}}\n",
                           {{"AzureWebJobsStorage", "AccountName=a;AccountKey=a2V5"}});
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_FALSE(loaded->config.storage->entra);
  EXPECT_FALSE(loaded->config.storage->identity_based_jobs);
  ASSERT_EQ(loaded->warnings.size(), 1u) << "a forgotten key must show";
  EXPECT_NE(loaded->warnings[0].find("AzureWebJobsStorage wins over storage.entra"), std::string::npos);
}

TEST_F(ConfigLoad, TheWebhookBelievesTheTenantThatTheFileNames) {
  const auto loaded = from(R"(
serve:
  webhook:
    entra:
      tenant: ab1f708d-50f6-404c-a006-d71b2ac7a606
      audience: "018b2aca-ae48-4d53-9d1c-3b5f4b6d8f51 api://webhook"
)");
  ASSERT_TRUE(loaded) << loaded.error().what;
  const auto& trust = loaded->config.serve.webhook.entra;
  ASSERT_TRUE(trust);
  EXPECT_EQ(trust->audiences, (std::vector<std::string>{"018b2aca-ae48-4d53-9d1c-3b5f4b6d8f51", "api://webhook"}));
  EXPECT_EQ(trust->application, "4962773b-9cdb-44cf-a8bf-237846a00ab7") << "Event Grid of the public cloud";
  EXPECT_EQ(trust->authority, "https://login.microsoftonline.com");
  EXPECT_FALSE(from("serve: {webhook: {}}\n")->config.serve.webhook.entra);
}

TEST_F(ConfigLoad, AWebhookThatWouldTrustTooMuchIsRefused) {
  const std::string tenant = "tenant: ab1f708d-50f6-404c-a006-d71b2ac7a606";
  for (const auto& [entra, expected] : std::vector<std::pair<std::string, std::string>>{
           {tenant, "audience"},
           {"audience: a", "tenant"},
           {"tenant: common, audience: a", "tenant must be the tenant's GUID"},
           {tenant + ", audience: ' '", "audience is missing"},
           {tenant + ", audience: a, application: any", "application must be the GUID"},
           {tenant + ", audience: a, authority: 'http://login.example'", "authority must be https://"},
           {tenant + ", audience: a, algorithms: none", "unknown key 'algorithms'"}}) {
    const auto loaded = from("serve: {webhook: {entra: {" + entra + "}}}\n");
    ASSERT_FALSE(loaded) << entra;
    EXPECT_NE(loaded.error().what.find(expected), std::string::npos) << loaded.error().what;
  }
  EXPECT_EQ(
      from("serve: {webhook: {entra: {" + tenant + ", audience: a, authority: 'https://login.microsoftonline.us/'}}}\n")
          ->config.serve.webhook.entra->authority,
      "https://login.microsoftonline.us");
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
