#include "twinstep/azure/blob_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>

#include "twinstep/azure/sas.h"
#include "twinstep/azure/scripted_client.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kMiB = 1u << 20;
const std::string kKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

std::string error_xml(std::string_view code, std::string_view message) {
  return fmt::format(
      "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<Error><Code>{}</Code>"
      "<Message>{}\nRequestId:7\nTime:2026-08-20T22:05:31.041Z</Message></Error>",
      code, message);
}

class BlobClientTest : public testing::Test {
 protected:
  std::shared_ptr<ScriptedClient> api = std::make_shared<ScriptedClient>();
  FakeClock clock;
  Rng rng{7};
  Call call;
  std::unique_ptr<BlobClient> blobs =
      make_blob_client_over(*StorageAccount::parse("AccountName=acct;AccountKey=" + kKey), api, clock, rng);

  std::string url(size_t i) const { return api->requests.at(i).url; }

  /// Serves `data` by ranges, as the service does; `cut` bytes at most come of each of the next answers.
  void serve(const std::string& data, int answers, uint64_t cut = UINT64_MAX) {
    for (int i = 0; i < answers; ++i) {
      api->then([data, cut](const http::Request& request) -> Result<http::Response> {
        const std::string range = ScriptedClient::header(request, "x-ms-range");
        uint64_t from = 0, to = 0;
        const size_t dash = range.find('-');
        std::from_chars(range.data() + 6, range.data() + dash, from);
        std::from_chars(range.data() + dash + 1, range.data() + range.size(), to);
        const std::string part = data.substr(from, to - from + 1);
        auto given = ScriptedClient::give(
            request,
            {206, {{"content-range", fmt::format("bytes {}-{}/{}", from, to, data.size())}}, part.substr(0, cut)});
        if (given && part.size() > cut) return fail(ErrorKind::kUnavailable, "http.broken", "the connection broke");
        return given;
      });
    }
  }

  void head(uint64_t size) {
    api->then(200, {{"content-length", std::to_string(size)},
                    {"etag", "\"0x8D1\""},
                    {"last-modified", "Sun, 22 Nov 2026 23:36:04 GMT"}});
  }

  std::string bytes(uint64_t size) {
    std::string out(size, '\0');
    for (uint64_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + (i * 31 + i / 977) % 26);
    return out;
  }
};

TEST_F(BlobClientTest, ContainersAreMadeAndDeletedAtTheirAddress) {
  api->then(201);
  api->then(202);
  ASSERT_TRUE(blobs->create_container("job1", call));
  ASSERT_TRUE(blobs->delete_container("job1", call));
  EXPECT_EQ(api->requests[0].method, "PUT");
  EXPECT_EQ(url(0), "https://acct.blob.core.windows.net/job1?restype=container");
  EXPECT_EQ(api->requests[1].method, "DELETE");
  EXPECT_EQ(url(1), url(0));
  EXPECT_EQ(api->requests[0].repeat, http::Repeat::kAlways);
}

TEST_F(BlobClientTest, PathStyleEndpointsKeepTheAccountInThePath) {
  auto emulator = make_blob_client_over(*StorageAccount::parse("UseDevelopmentStorage=true"), api, clock, rng);
  api->then(200, {}, "<EnumerationResults><Containers/></EnumerationResults>");
  ASSERT_TRUE(emulator->list_containers("tw in", call));
  EXPECT_EQ(url(0), "http://127.0.0.1:10000/devstoreaccount1/?comp=list&prefix=tw%20in");
  EXPECT_EQ(emulator->container_uri("job1"), "http://127.0.0.1:10000/devstoreaccount1/job1");
}

TEST_F(BlobClientTest, ListsAreFollowedToTheirLastPage) {
  api->then(200, {}, R"(<?xml version="1.0"?><EnumerationResults ContainerName="job1"><Prefix/><Marker/><Blobs><Blob>
      <Name>a &amp; b.txt</Name><Properties><Last-Modified>Sun, 22 Nov 2026 23:36:04 GMT</Last-Modified>
      <Etag>0x8DD</Etag><Content-Length>24</Content-Length></Properties></Blob></Blobs>
      <NextMarker>2!m/=</NextMarker></EnumerationResults>)");
  api->then(200, {},
            R"(<EnumerationResults><Blobs><Blob><Name Encoded="true">x%EF%BF%BEy</Name><Properties><Etag>"0x1"</Etag>
      <Content-Length>0</Content-Length></Properties></Blob></Blobs><NextMarker/></EnumerationResults>)");
  const auto list = blobs->list_blobs("job1", "", call);
  ASSERT_TRUE(list) << list.error().what;
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].name, "a & b.txt");
  EXPECT_EQ((*list)[0].size, 24u);
  EXPECT_EQ((*list)[0].etag, "0x8DD");
  EXPECT_EQ(format_iso_seconds(*(*list)[0].last_modified), "2026-11-22T23:36:04Z");
  EXPECT_EQ((*list)[1].name, "x\xEF\xBF\xBEy");
  EXPECT_EQ((*list)[1].etag, "0x1");
  EXPECT_EQ(url(1), "https://acct.blob.core.windows.net/job1?restype=container&comp=list&marker=2%21m%2F%3D");
}

TEST_F(BlobClientTest, ContainerListsGiveNamesAndTimes) {
  api->then(200, {},
            "<EnumerationResults><Containers><Container><Name>job1</Name><Properties><Last-Modified>Sun, 22 Nov 2026 "
            "23:36:04 GMT</Last-Modified></Properties></Container><Container><Name>job2</Name></Container>"
            "</Containers></EnumerationResults>");
  const auto list = blobs->list_containers("job", call);
  ASSERT_TRUE(list) << list.error().what;
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].name, "job1");
  EXPECT_TRUE((*list)[0].last_modified);
  EXPECT_FALSE((*list)[1].last_modified);
}

TEST_F(BlobClientTest, AListThatIsCutOffForeignOrEndlessIsRefused) {
  const std::string page = "<EnumerationResults><Blobs/><NextMarker>m</NextMarker></EnumerationResults>";
  for (const std::string& body :
       {page.substr(0, page.size() - 4), std::string("<html>Please log in</html>"), std::string()}) {
    api->then(200, {}, body);
    const auto list = blobs->list_blobs("job1", "", call);
    ASSERT_FALSE(list) << body;
    EXPECT_EQ(list.error().kind, ErrorKind::kCorrupt);
    EXPECT_EQ(list.error().code, "blob.bad-list");
    EXPECT_THAT(list.error().what, HasSubstr("blob storage acct: list blobs of job1"));
  }
  api->then(200, {}, page);
  api->then(200, {}, page);
  const auto endless = blobs->list_blobs("job1", "", call);
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().code, "blob.bad-list");
}

TEST_F(BlobClientTest, PropertiesComeFromTheHead) {
  head(24);
  const auto info = blobs->properties("job1", "dir/devices 1.txt", call);
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_EQ(api->requests[0].method, "HEAD");
  EXPECT_EQ(url(0), "https://acct.blob.core.windows.net/job1/dir/devices%201.txt");
  EXPECT_EQ(info->size, 24u);
  EXPECT_EQ(info->etag, "0x8D1");
}

TEST_F(BlobClientTest, UpToOneBlockGoesOutAsOneBlobEvenWhenEmpty) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{5}, 8 * kMiB}) {
    api->requests.clear();
    api->then(201);
    const auto writer = blobs->write_blob("job1", "devices.txt", call);
    const std::string data = bytes(size);
    ASSERT_TRUE(writer->write(data.substr(0, size / 2)));
    ASSERT_TRUE(writer->write(data.substr(size / 2)));
    EXPECT_TRUE(api->requests.empty());
    ASSERT_TRUE(writer->finish());
    ASSERT_EQ(api->requests.size(), 1u);
    EXPECT_EQ(url(0), "https://acct.blob.core.windows.net/job1/devices.txt");
    EXPECT_EQ(ScriptedClient::header(api->requests[0], "x-ms-blob-type"), "BlockBlob");
    EXPECT_TRUE(api->requests[0].body == data);
  }
}

TEST_F(BlobClientTest, MoreThanOneBlockGoesOutInBlocksThatTheListNamesInOrder) {
  for (int i = 0; i < 4; ++i) api->then(201);
  const std::string data = bytes(16 * kMiB + 3);
  const auto writer = blobs->write_blob("job1", "devices.txt", call);
  ASSERT_TRUE(writer->write(data));
  ASSERT_TRUE(writer->finish());
  ASSERT_EQ(api->requests.size(), 4u);
  std::string sent, expected = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>";
  size_t id_size = 0;
  for (size_t i = 0; i < 3; ++i) {
    sent += api->requests[i].body;
    EXPECT_LE(api->requests[i].body.size(), 8 * kMiB);
    const std::string id = percent_decode(url(i).substr(url(i).find("blockid=") + 8));
    EXPECT_TRUE(base64_decode(id)) << id;
    if (i > 0) {
      EXPECT_EQ(id.size(), id_size);
    }
    id_size = id.size();
    expected += "<Latest>" + id + "</Latest>";
  }
  EXPECT_TRUE(sent == data);
  EXPECT_THAT(url(3), HasSubstr("devices.txt?comp=blocklist"));
  EXPECT_EQ(api->requests[3].body, expected + "</BlockList>");
}

TEST_F(BlobClientTest, AWriterThatFailedNeverMakesABlobOfTheRest) {
  api->then(503, {{"x-ms-error-code", "ServerBusy"}, {"Retry-After", "7"}});
  const auto writer = blobs->write_blob("job1", "devices.txt", call);
  const Status first = writer->write(bytes(9 * kMiB));
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(first.error().code, "blob.ServerBusy");
  EXPECT_EQ(first.error().retry_after, std::chrono::seconds{7});
  const Status second = writer->finish();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, "blob.ServerBusy");
  EXPECT_EQ(api->requests.size(), 1u);
}

TEST_F(BlobClientTest, AFinishedWriterTakesNothingMore) {
  api->then(201);
  const auto writer = blobs->write_blob("job1", "devices.txt", call);
  ASSERT_TRUE(writer->finish());
  EXPECT_FALSE(writer->write("x"));
  EXPECT_FALSE(writer->finish());
}

TEST_F(BlobClientTest, ADownloadAsksForRangesOfTheVersionItBeganWith) {
  const std::string data = bytes(16 * kMiB + 5);
  head(data.size());
  serve(data, 3);
  std::string got;
  const auto size = blobs->read_blob(
      "job1", "devices.txt",
      [&](std::string_view p) -> Status {
        got += p;
        return {};
      },
      call);
  ASSERT_TRUE(size) << size.error().what;
  EXPECT_EQ(*size, data.size());
  EXPECT_TRUE(got == data);
  EXPECT_EQ(ScriptedClient::header(api->requests.at(1), "x-ms-range"), "bytes=0-8388607");
  EXPECT_EQ(ScriptedClient::header(api->requests.at(3), "x-ms-range"), "bytes=16777216-16777220");
  EXPECT_EQ(ScriptedClient::header(api->requests.at(3), "If-Match"), "\"0x8D1\"");
}

TEST_F(BlobClientTest, AZeroLengthBlobIsReadWithoutAskingForARange) {
  head(0);
  int calls = 0;
  const auto size = blobs->read_blob(
      "job1", "importErrors.log",
      [&](std::string_view) -> Status {
        ++calls;
        return {};
      },
      call);
  ASSERT_TRUE(size);
  EXPECT_EQ(*size, 0u);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(api->requests.size(), 1u);
}

TEST_F(BlobClientTest, ABrokenDownloadGoesOnWhereItBroke) {
  const std::string data = bytes(3 * kMiB);
  head(data.size());
  serve(data, 2, kMiB + 1);
  serve(data, 1);
  std::string got;
  const auto size = blobs->read_blob(
      "job1", "devices.txt",
      [&](std::string_view p) -> Status {
        got += p;
        return {};
      },
      call);
  ASSERT_TRUE(size) << size.error().what;
  EXPECT_TRUE(got == data);
  EXPECT_EQ(ScriptedClient::header(api->requests.at(2), "x-ms-range"), "bytes=1048577-3145727");
  EXPECT_EQ(clock.sleeps().size(), 2u);
}

TEST_F(BlobClientTest, ADownloadThatKeepsBreakingWithoutProgressEnds) {
  const std::string data = bytes(kMiB);
  head(data.size());
  serve(data, 50, 10);
  const auto size = blobs->read_blob(
      "job1", "devices.txt", [](std::string_view) -> Status { return {}; }, call);
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().kind, ErrorKind::kUnavailable);
  EXPECT_LT(api->requests.size(), 10u);
}

TEST_F(BlobClientTest, ADownloadDoesNotWaitBeyondItsDeadline) {
  const std::string data = bytes(kMiB);
  head(data.size());
  serve(data, 5, 10);
  call.deadline = clock.steady_now() + Millis{100};
  EXPECT_FALSE(blobs->read_blob(
      "job1", "devices.txt", [](std::string_view) -> Status { return {}; }, call));
  EXPECT_TRUE(clock.sleeps().empty());
}

TEST_F(BlobClientTest, ABlobThatChangedWhileItWasReadIsAConflict) {
  const std::string data = bytes(9 * kMiB);
  head(data.size());
  serve(data, 1);
  api->then(412, {{"x-ms-error-code", "ConditionNotMet"}});
  const auto size = blobs->read_blob(
      "job1", "devices.txt", [](std::string_view) -> Status { return {}; }, call);
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(size.error().code, "blob.ConditionNotMet");
}

TEST_F(BlobClientTest, ARangeThatTheServerIgnoredIsNeverTakenForTheRightBytes) {
  const std::string data = bytes(9 * kMiB);
  head(data.size());
  serve(data, 1);
  api->then(200, {}, data);
  const auto size = blobs->read_blob(
      "job1", "devices.txt", [](std::string_view) -> Status { return {}; }, call);
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().code, "blob.bad-range");
}

TEST_F(BlobClientTest, TheReadersOwnRefusalEndsTheDownload) {
  head(10);
  serve(bytes(10), 2);
  const auto size = blobs->read_blob(
      "job1", "devices.txt",
      [](std::string_view) -> Status { return fail(ErrorKind::kUnavailable, "disk.full", "no room"); }, call);
  ASSERT_FALSE(size);
  EXPECT_EQ(size.error().code, "disk.full");
  EXPECT_EQ(api->requests.size(), 2u);
}

TEST_F(BlobClientTest, RefusalsBecomeKindsByTheirCodeAndStatus) {
  struct Row {
    int status;
    std::string code;
    ErrorKind kind;
  };
  const std::vector<Row> rows{{404, "ContainerNotFound", ErrorKind::kNotFound},
                              {404, "BlobNotFound", ErrorKind::kNotFound},
                              {409, "ContainerAlreadyExists", ErrorKind::kConflict},
                              {409, "ContainerBeingDeleted", ErrorKind::kConflict},
                              {412, "ConditionNotMet", ErrorKind::kConflict},
                              {403, "AuthenticationFailed", ErrorKind::kDenied},
                              {403, "AuthorizationFailure", ErrorKind::kDenied},
                              {403, "AuthorizationPermissionMismatch", ErrorKind::kDenied},
                              {400, "OutOfRangeInput", ErrorKind::kInvalid},
                              {400, "InvalidHeaderValue", ErrorKind::kInvalid},
                              {413, "RequestEntityTooLarge", ErrorKind::kInvalid},
                              {416, "InvalidRange", ErrorKind::kInvalid},
                              {408, "OperationTimedOut", ErrorKind::kTimeout},
                              {429, "TooManyRequests", ErrorKind::kThrottled},
                              {500, "InternalError", ErrorKind::kUnavailable},
                              {503, "ServerBusy", ErrorKind::kUnavailable}};
  for (const Row& row : rows) {
    for (const bool in_header : {true, false}) {  // HEAD has the header only, some proxies keep the body only
      std::vector<http::Header> headers{{"x-ms-request-id", "req-7"}};
      if (in_header) headers.push_back({"x-ms-error-code", row.code});
      api->then(row.status, headers, in_header ? std::string() : error_xml(row.code, "A text of the server."));
      const Status done = blobs->delete_blob("job1", "devices.txt", call);
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().kind, row.kind) << row.code;
      EXPECT_EQ(done.error().code, "blob." + row.code);
      EXPECT_EQ(done.error().remote_code, row.code);
      EXPECT_EQ(done.error().remote_status, row.status);
      EXPECT_EQ(done.error().request_id, "req-7");
      EXPECT_THAT(done.error().what,
                  HasSubstr(fmt::format("delete blob job1/devices.txt: {} {}", row.status, row.code)));
    }
  }
}

TEST_F(BlobClientTest, ARefusalThatIsNotTheServicesKeepsItsStatus) {
  api->then(404, {{"Content-Type", "text/html"}}, "<html><body>proxy</html>");
  const Status done = blobs->create_container("job1", call);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(done.error().code, "blob.http-404");
}

TEST_F(BlobClientTest, RefusedCredentialsNameTheClockAndNeverEchoTheServer) {
  api->then(403,
            {{"x-ms-error-code", "AuthenticationFailed"},
             {"Date", format_http_date(clock.system_now() - std::chrono::hours{1})}},
            error_xml("AuthenticationFailed", "The MAC signature found is 's3cr3t'"));
  const Status done = blobs->create_container("job1", call);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().what, HasSubstr("3600 s ahead of"));
  EXPECT_THAT(done.error().what, Not(HasSubstr("s3cr3t")));
}

TEST_F(BlobClientTest, NamesThatWouldMeanAnotherThingAreRefusedBeforeAnythingIsSent) {
  EXPECT_FALSE(blobs->delete_container("", call));
  EXPECT_FALSE(blobs->delete_blob("job1", "", call));
  EXPECT_FALSE(blobs->delete_blob("", "devices.txt", call));
  EXPECT_FALSE(blobs->delete_blob("job1", "../job2/devices.txt", call));
  EXPECT_FALSE(blobs->properties("job1", "a/./b", call));
  const auto writer = blobs->write_blob("job1", "..", call);
  EXPECT_FALSE(writer->finish());
  EXPECT_TRUE(api->requests.empty());
}

TEST_F(BlobClientTest, TransportErrorsTellTheOperation) {
  api->then(Error{.kind = ErrorKind::kTimeout, .what = "no answer", .code = "http.timeout"});
  const Status done = blobs->delete_blob("job1", "devices.txt", call);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kTimeout);
  EXPECT_EQ(done.error().what, "blob storage acct: delete blob job1/devices.txt: no answer");
}

TEST_F(BlobClientTest, TheContainerSasBeginsInThePastAndHoldsAllRightsOfAJob) {
  const auto uri = blobs->container_sas_uri("job1", clock.system_now() + std::chrono::hours{48});
  ASSERT_TRUE(uri);
  const std::string text(uri->reveal());
  EXPECT_THAT(text,
              testing::StartsWith("https://acct.blob.core.windows.net/job1?sv=2021-12-02&st=2023-11-14T21%3A58%3A20Z"));
  EXPECT_THAT(text, HasSubstr("&se=2023-11-16T22%3A13%3A20Z&sr=c&sp=racwdl&sig="));
  EXPECT_THAT(text, Not(HasSubstr(kKey)));
  EXPECT_FALSE(blobs->container_sas_uri("job1", clock.system_now()));
}

TEST_F(BlobClientTest, AnAccountWithASasHandsThatSasToTheJob) {
  const auto account =
      StorageAccount::parse("BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D");
  ASSERT_TRUE(account);
  const auto with_sas = make_blob_client_over(*account, api, clock, rng);
  EXPECT_EQ(with_sas->container_sas_uri("job1", clock.system_now())->reveal(),
            "https://acct.blob.core.windows.net/job1?sv=1&sig=x%3D");
  EXPECT_EQ(with_sas->container_uri("job1"), "https://acct.blob.core.windows.net/job1");
}

/// Gives a token after the other.
class FakeTokens final : public TokenSource {
 public:
  Result<AccessToken> token(const Call&) override {
    return AccessToken{Secret(fmt::format("t0ken-{}", number)), SteadyTime::max(), SteadyTime::max()};
  }
  bool discard() override { return ++number == 2; }
  int number = 1;
};

TEST(BlobToken, EveryTryCarriesATokenAVersionAndADate) {
  ScriptedClient transport;
  FakeClock clock;
  Rng rng{7};
  auto tokens = std::make_shared<FakeTokens>();
  const auto blobs = make_blob_client(*StorageAccount::of_identity("acct"), tokens, transport, clock, rng);
  transport.then(503);
  transport.then(401, {{"x-ms-error-code", "InvalidAuthenticationInfo"}});
  transport.then(201);
  const auto made = blobs->create_container("job1", {});
  ASSERT_TRUE(made) << made.error().what;
  ASSERT_EQ(transport.requests.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const auto& request = transport.requests[i];
    EXPECT_EQ(request.url, "https://acct.blob.core.windows.net/job1?restype=container");
    EXPECT_EQ(ScriptedClient::header(request, "Authorization"), i < 2 ? "Bearer t0ken-1" : "Bearer t0ken-2");
    EXPECT_EQ(ScriptedClient::header(request, "x-ms-version"), "2021-12-02") << "without it tokens are not known";
    EXPECT_FALSE(ScriptedClient::header(request, "x-ms-date").empty());
  }
}

TEST(BlobToken, WithoutTheRoleItIsNamedAndTheTokenIsNot) {
  ScriptedClient transport;
  FakeClock clock;
  Rng rng{7};
  const auto blobs =
      make_blob_client(*StorageAccount::of_identity("acct"), std::make_shared<FakeTokens>(), transport, clock, rng);
  transport.then(403, {{"x-ms-error-code", "AuthorizationPermissionMismatch"}},
                 error_xml("AuthorizationPermissionMismatch", "t0ken-1 may not"));
  const auto refused = blobs->create_container("job1", {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kDenied);
  EXPECT_THAT(refused.error().what, HasSubstr("Storage Blob Data Contributor"));
  EXPECT_THAT(refused.error().what, Not(HasSubstr("t0ken")));
  const auto sas = blobs->container_sas_uri("job1", clock.system_now() + std::chrono::hours{1});
  ASSERT_FALSE(sas);
  EXPECT_EQ(sas.error().code, "blob.no-key");
  EXPECT_EQ(blobs->container_uri("job1"), "https://acct.blob.core.windows.net/job1");
}

}  // namespace
}  // namespace twinstep::azure
