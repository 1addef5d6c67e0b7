#include "twinstep/azure/connection_string.h"

#include <gtest/gtest.h>

#include "twinstep/azure/blob_client.h"

namespace twinstep::azure {
namespace {

constexpr const char* kKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

TEST(HubConnection, ReadsPartsInAnyCaseAndKeepsEqualSignsOfTheKey) {
  const auto got = HubConnection::parse(std::string("hostname=127.0.0.1:8443;SHAREDACCESSKEYNAME=iothubowner;"
                                                    "SharedAccessKey=") +
                                        kKey + ";");
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->host, "127.0.0.1:8443");
  EXPECT_EQ(got->key_name, "iothubowner");
  EXPECT_EQ(got->key.reveal(), kKey);
}

TEST(HubConnection, NamesTheNearestPartAndNeverShowsAValue) {
  const auto got = HubConnection::parse("HostName=h.azure-devices.net;SharedAcessKey=c2VjcmV0");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, "hub.bad-connection-string");
  EXPECT_NE(got.error().what.find("did you mean 'SharedAccessKey'"), std::string::npos) << got.error().what;
  for (const char* text :
       {"c2VjcmV0", "HostName=h;c2VjcmV0", "HostName=h;SecretSecret=c2VjcmV0",
        "HostName=https://c2VjcmV0;SharedAccessKeyName=a;SharedAccessKey=YQ==",
        "HostName=h;SharedAccessKeyName=a;SharedAccessKey=c2VjcmV0!",
        "HostName=h:99999;SharedAccessKeyName=a;SharedAccessKey=c2VjcmV0",
        "HostName=h;DeviceId=d;SharedAccessKey=c2VjcmV0", "HostName=h;SharedAccessKey=c2VjcmV0", ""}) {
    const auto bad = HubConnection::parse(text);
    ASSERT_FALSE(bad) << text;
    EXPECT_EQ(bad.error().what.find("c2VjcmV0"), std::string::npos) << bad.error().what;
    EXPECT_EQ(bad.error().what.find("SecretSecret"), std::string::npos) << bad.error().what;
  }
}

TEST(ConnectionStrings, MustBeOneLineBecauseTheirPartsGoIntoHeadersAndAddresses) {
  EXPECT_TRUE(HubConnection::parse("HostName=h.example;SharedAccessSignature=sig\r\n"));
  for (const std::string inside : {"\n", "\r\nX-Other: 1", "\t", "\x7f"}) {
    const auto hub = HubConnection::parse("HostName=h.example;SharedAccessSignature=s" + inside + "t");
    ASSERT_FALSE(hub);
    EXPECT_EQ(hub.error().code, "hub.bad-connection-string");
    EXPECT_FALSE(StorageAccount::parse("AccountName=a;SharedAccessSignature=s" + inside + "t"));
    EXPECT_FALSE(StorageAccount::parse("AccountName=a;BlobEndpoint=http://h" + inside + "/x;SharedAccessSignature=s"));
  }
}

TEST(StorageAccountParse, KnowsDefaultsEndpointsSasAndDevelopmentStorage) {
  auto got = StorageAccount::parse("AccountName=acct;AccountKey=YQ==");
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->endpoint, "https://acct.blob.core.windows.net");
  got =
      StorageAccount::parse("DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;BlobEndpoint=http://h:1/a/;");
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->endpoint, "http://h:1/a");
  got = StorageAccount::parse("BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=?sv=1&sig=x%3D");
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->sas.reveal(), "sv=1&sig=x%3D");
  got = StorageAccount::parse("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite");
  ASSERT_TRUE(got) << got.error().what;
  EXPECT_EQ(got->endpoint, "http://azurite:10000/devstoreaccount1");
  EXPECT_EQ(got->name, "devstoreaccount1");
}

TEST(StorageAccountParse, RefusesWhatIsMissingOrMisspelt) {
  const auto got = StorageAccount::parse("AccountNam=acct;AccountKey=YQ==");
  ASSERT_FALSE(got);
  EXPECT_NE(got.error().what.find("'AccountName'"), std::string::npos);
  EXPECT_FALSE(StorageAccount::parse("AccountName=acct"));
  EXPECT_FALSE(StorageAccount::parse("AccountKey=YQ=="));
  EXPECT_FALSE(StorageAccount::parse("UseDevelopmentStorage=false"));
}

TEST(StorageAccountOfIdentity, IsNamedByNameHostOrAddress) {
  struct Row {
    const char *given, *endpoint, *name;
  };
  for (const Row& row :
       {Row{"acct", "https://acct.blob.core.windows.net", "acct"},
        Row{" acct ", "https://acct.blob.core.windows.net", "acct"},
        Row{"acct.blob.core.usgovcloudapi.net", "https://acct.blob.core.usgovcloudapi.net", "acct"},
        Row{"https://acct.blob.core.windows.net/", "https://acct.blob.core.windows.net", "acct"},
        Row{"https://127.0.0.1:10000/devstoreaccount1", "https://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1"},
        Row{"http://127.0.0.1:10000/devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1"},
        Row{"http://localhost:1/a", "http://localhost:1/a", "a"}}) {
    const auto account = StorageAccount::of_identity(row.given);
    ASSERT_TRUE(account) << row.given << account.error().what;
    EXPECT_EQ(account->endpoint, row.endpoint);
    EXPECT_EQ(account->name, row.name);
    EXPECT_TRUE(account->key.empty() && account->sas.empty());
  }
}

TEST(StorageAccountOfIdentity, ATokenGoesNowhereInTheClear) {
  for (const char* bad :
       {"", "ab", "Acct", "my-acct", "a very long name of an account", "http://acct.blob.core.windows.net",
        "http://localhost.example.com", "ftp://acct.example", "https://", "https:///acct", "https://user@acct.example",
        "https://acct.example/?sv=1", "acct.example/x?y", "https://a b.example", "https://acct.example:port",
        "AccountName=acct;AccountKey=YQ=="}) {
    const auto account = StorageAccount::of_identity(bad);
    ASSERT_FALSE(account) << bad;
    EXPECT_EQ(account.error().code, "storage.bad-account");
    EXPECT_EQ(account.error().what.find("YQ=="), std::string::npos);
  }
}

}  // namespace
}  // namespace twinstep::azure
