// The blob client against Azurite over real sockets. AZURITE_CONNECTION_STRING says where it listens; tests/peers
// starts one: ctest -R peers.azurite.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "twinstep/azure/blob_client.h"
#include "twinstep/azure/sas.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

using std::chrono::hours;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr size_t kMiB = 1u << 20;

/// The real transport, with a note of every try; may ask for smaller pages than the service would give.
class Watched final : public http::Client {
 public:
  Result<http::Response> send(const http::Request& request, const Call& call) override {
    http::Request sent = request;
    {
      std::scoped_lock lock(mutex_);
      tries_.push_back(request.method + " " + request.url);
    }
    if (page_size > 0 && request.url.find("comp=list") != std::string::npos)
      sent.url += fmt::format("&maxresults={}", page_size);
    return inner_->send(sent, call);
  }
  size_t count(std::string_view method, std::string_view part) const {
    std::scoped_lock lock(mutex_);
    return static_cast<size_t>(std::count_if(tries_.begin(), tries_.end(), [&](const std::string& one) {
      return one.starts_with(std::string(method) + " ") && one.find(part) != std::string::npos;
    }));
  }

  int page_size = 0;

 private:
  static http::TransportOptions direct() {
    http::TransportOptions options;
    options.proxy = "-";
    return options;
  }
  std::unique_ptr<http::Client> inner_ = http::make_transport(direct());
  mutable std::mutex mutex_;  // guards tries_
  std::vector<std::string> tries_;
};

std::vector<std::string> names(const std::vector<BlobInfo>& list) {
  std::vector<std::string> out;
  for (const BlobInfo& blob : list) out.push_back(blob.name);
  return out;
}

/// Bytes without a period that could hide a block in the wrong place.
std::string bytes(size_t size) {
  std::string out(size, '\0');
  uint64_t state = size + 1;
  for (char& c : out) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 56);
  }
  return out;
}

class Azurite : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* given = std::getenv("AZURITE_CONNECTION_STRING");
    ASSERT_NE(given, nullptr) << "run it with a blob service: ctest -R peers.azurite";
    connection_ = given;
  }

  void SetUp() override {
    auto parsed = StorageAccount::parse(connection_);
    ASSERT_TRUE(parsed) << parsed.error().what;
    account = *parsed;
    blobs = make_blob_client(account, transport, real_clock(), rng);
    call.deadline = real_clock().steady_now() + std::chrono::seconds{60};
    container = "t" + rng.hex_id();
    const auto made = blobs->create_container(container, call);
    ASSERT_TRUE(made) << made.error().what;
  }
  void TearDown() override {
    if (!blobs) return;
    EXPECT_TRUE(blobs->delete_container(container, call));
  }

  Status put(BlobClient& client, std::string_view blob, std::string_view content, size_t piece = SIZE_MAX) const {
    auto writer = client.write_blob(container, blob, call);
    while (!content.empty()) {
      TRY(writer->write(content.substr(0, piece)));
      content.remove_prefix(std::min(piece, content.size()));
    }
    return writer->finish();
  }
  Result<std::string> get(BlobClient& client, std::string_view blob) const {
    std::string out;
    TRY_ASSIGN(const uint64_t size, client.read_blob(
                                        container, blob,
                                        [&](std::string_view piece) -> Status {
                                          out.append(piece);
                                          return {};
                                        },
                                        call));
    EXPECT_EQ(size, out.size());
    return out;
  }
  /// A client that holds nothing but this SAS.
  std::unique_ptr<BlobClient> holder(std::string_view sas) {
    auto parsed = StorageAccount::parse(fmt::format("BlobEndpoint={};SharedAccessSignature={}", account.endpoint, sas));
    EXPECT_TRUE(parsed) << parsed.error().what;
    return make_blob_client(*parsed, transport, real_clock(), rng);
  }
  std::unique_ptr<BlobClient> holder_of_container() {
    const auto uri = blobs->container_sas_uri(container, real_clock().system_now() + hours{1});
    EXPECT_TRUE(uri) << uri.error().what;
    return holder(uri->reveal().substr(uri->reveal().find('?') + 1));
  }

  static inline std::string connection_;
  StorageAccount account;
  Watched transport;
  Rng rng{std::random_device{}()};
  Call call;
  std::string container;
  std::unique_ptr<BlobClient> blobs;
};

TEST_F(Azurite, ASmallBlobIsWrittenListedReadAndDeleted) {
  ASSERT_TRUE(put(*blobs, "devices.txt", "{\"id\":\"a\"}\n"));
  const auto list = blobs->list_blobs(container, "", call);
  ASSERT_TRUE(list) << list.error().what;
  ASSERT_THAT(names(*list), ElementsAre("devices.txt"));
  const auto info = blobs->properties(container, "devices.txt", call);
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_EQ(info->size, 11u);
  EXPECT_FALSE(info->etag.empty());
  EXPECT_EQ(info->etag, list->front().etag);
  EXPECT_EQ(list->front().size, 11u);
  ASSERT_TRUE(info->last_modified);
  EXPECT_LT(real_clock().system_now() - *info->last_modified, hours{1});
  EXPECT_EQ(get(*blobs, "devices.txt").value(), "{\"id\":\"a\"}\n");
  EXPECT_EQ(transport.count("PUT", "comp=block"), 0u) << "what fits into one block goes out as a whole";

  ASSERT_TRUE(blobs->delete_blob(container, "devices.txt", call));
  EXPECT_EQ(blobs->properties(container, "devices.txt", call).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(get(*blobs, "devices.txt").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(blobs->delete_blob(container, "devices.txt", call).error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(blobs->list_blobs(container, "", call).value(), IsEmpty());
}

TEST_F(Azurite, ManyBlocksComeBackInTheirOrderByRanges) {
  const std::string content = bytes(17 * kMiB + 3);
  const auto put_status = put(*blobs, "large", content, 1'000'003);
  ASSERT_TRUE(put_status) << put_status.error().what;
  EXPECT_EQ(transport.count("PUT", "comp=block&"), 3u);
  EXPECT_EQ(transport.count("PUT", "comp=blocklist"), 1u);
  EXPECT_EQ(blobs->properties(container, "large", call).value().size, content.size());
  const auto back = get(*blobs, "large");
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_TRUE(*back == content);
  EXPECT_EQ(transport.count("GET", "/large"), 3u);
}

TEST_F(Azurite, ABlobOfExactlyOneBlockAndOneByteMoreAreWhole) {
  for (const size_t size : {8 * kMiB, 8 * kMiB + 1}) {
    const std::string content = bytes(size);
    ASSERT_TRUE(put(*blobs, "edge", content));
    EXPECT_TRUE(get(*blobs, "edge").value() == content) << size;
  }
}

TEST_F(Azurite, AnEmptyBlobIsThereAndGivesNothing) {
  ASSERT_TRUE(put(*blobs, "importErrors.log", ""));
  EXPECT_EQ(blobs->properties(container, "importErrors.log", call).value().size, 0u);
  const auto size = blobs->read_blob(
      container, "importErrors.log",
      [](std::string_view) -> Status {
        ADD_FAILURE() << "nothing is to be given";
        return {};
      },
      call);
  ASSERT_TRUE(size) << size.error().what;
  EXPECT_EQ(*size, 0u);
}

TEST_F(Azurite, ABlobExistsOnlyOnceItIsFinishedAndIsReplacedThen) {
  {
    auto left = blobs->write_blob(container, "b", call);
    ASSERT_TRUE(left->write(bytes(9 * kMiB)));
  }
  EXPECT_EQ(blobs->properties(container, "b", call).error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(blobs->list_blobs(container, "", call).value(), IsEmpty());
  ASSERT_TRUE(put(*blobs, "b", "first"));
  ASSERT_TRUE(put(*blobs, "b", "second"));
  EXPECT_EQ(get(*blobs, "b").value(), "second");
}

TEST_F(Azurite, ABlobThatChangesWhileItIsReadIsNotMixed) {
  ASSERT_TRUE(put(*blobs, "b", bytes(9 * kMiB)));
  bool replaced = false;
  const auto read = blobs->read_blob(
      container, "b",
      [&](std::string_view) -> Status {
        if (std::exchange(replaced, true)) return {};
        Status written;
        std::jthread([&] { written = put(*blobs, "b", "other"); }).join();
        return written;
      },
      call);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kConflict) << read.error().what;
  EXPECT_EQ(read.error().remote_code, "ConditionNotMet");
}

TEST_F(Azurite, NamesOfEveryKindAreSignedAndListedAsTheyAre) {
  for (const std::string name : {"dir/devices 1.txt", "a+b%20&c=d?e#f", "\xC3\xA4\xE2\x82\xAC.txt", "~!*'()"}) {
    const auto made = put(*blobs, name, name);
    ASSERT_TRUE(made) << made.error().what;
    EXPECT_EQ(get(*blobs, name).value(), name);
    const auto list = blobs->list_blobs(container, name, call);
    ASSERT_TRUE(list) << list.error().what;
    EXPECT_THAT(names(*list), ElementsAre(name));
  }
  EXPECT_EQ(blobs->list_blobs(container, "", call).value().size(), 4u);
}

TEST_F(Azurite, ContainersAreListedByPrefixAndExistOnce) {
  const auto again = blobs->create_container(container, call);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(again.error().remote_code, "ContainerAlreadyExists");
  const auto list = blobs->list_containers(container.substr(0, 20), call);
  ASSERT_TRUE(list) << list.error().what;
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().name, container);
  ASSERT_TRUE(list->front().last_modified);
  EXPECT_THAT(blobs->list_containers("no-such-prefix", call).value(), IsEmpty());
  EXPECT_EQ(blobs->delete_container("t-none", call).error().kind, ErrorKind::kNotFound);
  const auto absent = blobs->list_blobs("t-none", "", call);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(absent.error().remote_code, "ContainerNotFound");
}

TEST_F(Azurite, TheHolderOfAContainerSasDoesWhatAJobOfTheHubDoes) {
  ASSERT_TRUE(put(*blobs, "in", "from the owner"));
  const auto hub = holder_of_container();
  EXPECT_EQ(get(*hub, "in").value(), "from the owner");
  const std::string content = bytes(9 * kMiB);
  const auto made = put(*hub, "out/devices.txt", content);
  ASSERT_TRUE(made) << made.error().what;
  EXPECT_TRUE(get(*blobs, "out/devices.txt").value() == content);
  EXPECT_THAT(names(hub->list_blobs(container, "", call).value()), ElementsAre("in", "out/devices.txt"));
  ASSERT_TRUE(hub->delete_blob(container, "in", call));
  // It hands on what it holds, and may do nothing outside of its container.
  const auto handed_on = hub->container_sas_uri(container, real_clock().system_now() + hours{1});
  ASSERT_TRUE(handed_on);
  EXPECT_THAT(std::string(handed_on->reveal()), HasSubstr("sig="));
  const auto elsewhere = hub->list_blobs("t-other", "", call);
  ASSERT_FALSE(elsewhere);
  EXPECT_EQ(elsewhere.error().kind, ErrorKind::kDenied) << elsewhere.error().what;
}

TEST_F(Azurite, ASasGivesNoMoreThanItSaysAndNoLonger) {
  ASSERT_TRUE(put(*blobs, "in", "x"));
  const SystemTime now = real_clock().system_now();
  const auto reader = holder(
      container_sas(account, container, "rl", format_iso_seconds(now - hours{1}), format_iso_seconds(now + hours{1}))
          ->reveal());
  EXPECT_EQ(get(*reader, "in").value(), "x");
  const auto written = put(*reader, "out", "y");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kDenied) << written.error().what;

  const auto late = holder(
      container_sas(account, container, "rl", format_iso_seconds(now - hours{2}), format_iso_seconds(now - hours{1}))
          ->reveal());
  const auto read = get(*late, "in");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kDenied) << read.error().what;
  EXPECT_THAT(read.error().what, Not(HasSubstr("sig=")));
}

TEST_F(Azurite, ListsAreFollowedOverManyPages) {
  std::vector<std::string> expected;
  for (int i = 0; i < 7; ++i) {
    expected.push_back(fmt::format("dir/{} &.txt", i));
    ASSERT_TRUE(put(*blobs, expected.back(), "x"));
  }
  ASSERT_TRUE(put(*blobs, "other", "x"));
  // A SAS does not sign the query, so the transport may ask for small pages.
  const auto reader = holder_of_container();
  transport.page_size = 2;
  const auto list = reader->list_blobs(container, "dir/", call);
  ASSERT_TRUE(list) << list.error().what;
  EXPECT_EQ(names(*list), expected);
  EXPECT_GE(transport.count("GET", "comp=list"), 4u);
}

TEST_F(Azurite, AWrongKeyIsDeniedWithoutBeingShown) {
  StorageAccount other = account;
  const std::string key = base64_encode(std::string(64, 'k'));
  other.key = Secret(key);
  const auto stranger = make_blob_client(other, transport, real_clock(), rng);
  const auto list = stranger->list_blobs(container, "", call);
  ASSERT_FALSE(list);
  EXPECT_EQ(list.error().kind, ErrorKind::kDenied);
  EXPECT_EQ(list.error().remote_status, 403);
  EXPECT_EQ(list.error().remote_code, "AuthorizationFailure") << list.error().what;
  EXPECT_THAT(list.error().what, Not(HasSubstr(key)));
  // The answer to a HEAD has no body; the header must do.
  const auto head = stranger->properties(container, "b", call);
  ASSERT_FALSE(head);
  EXPECT_EQ(head.error().kind, ErrorKind::kDenied) << head.error().what;
  EXPECT_FALSE(put(*stranger, "b", "x"));
}

TEST_F(Azurite, TheDevelopmentAccountOfConnectionStringsIsAzurites) {
  auto parsed = StorageAccount::parse("UseDevelopmentStorage=true");
  ASSERT_TRUE(parsed) << parsed.error().what;
  EXPECT_EQ(parsed->endpoint, "http://127.0.0.1:10000/devstoreaccount1");
  parsed->endpoint = account.endpoint;  // the one under test listens on a port of its own
  const auto developer = make_blob_client(*parsed, transport, real_clock(), rng);
  ASSERT_TRUE(put(*developer, "b", "x"));
  EXPECT_EQ(get(*blobs, "b").value(), "x");
}

/// A token that does not come from anywhere.
class GivenToken final : public TokenSource {
 public:
  explicit GivenToken(std::string value) : value_(std::move(value)) {}
  Result<AccessToken> token(const Call&) override {
    return AccessToken{Secret(value_), SteadyTime::max(), SteadyTime::max()};
  }

 private:
  const std::string value_;
};

/// An Azurite that takes Bearer tokens over TLS; it looks at the claims, not at the signature.
class AzuriteByToken : public testing::Test {
 protected:
  void SetUp() override {
    const char* endpoint = std::getenv("AZURITE_TLS_ENDPOINT");
    const char* ca = std::getenv("AZURITE_CA");
    const char* token = std::getenv("AZURITE_TOKEN");
    ASSERT_TRUE(endpoint && ca && token) << "run it with a blob service: ctest -R peers.azurite";
    auto place = StorageAccount::of_identity(endpoint);
    ASSERT_TRUE(place) << place.error().what;
    account = *place;
    good = token;
    transport = http::make_transport({.ca_file = ca, .proxy = "-", .user_agent = {}});
    call.deadline = real_clock().steady_now() + std::chrono::seconds{60};
  }
  std::unique_ptr<BlobClient> with(const std::string& token) {
    return make_blob_client(account, std::make_shared<GivenToken>(token), *transport, real_clock(), rng);
  }

  StorageAccount account;
  std::string good;
  std::unique_ptr<http::Client> transport;
  Rng rng{std::random_device{}()};
  Call call;
};

TEST_F(AzuriteByToken, AnIdentityDoesAllThatJobsNeed) {
  const auto blobs = with(good);
  const std::string container = "t" + rng.hex_id();
  const auto made = blobs->create_container(container, call);
  ASSERT_TRUE(made) << made.error().what;
  const std::string content = bytes(9 * kMiB);
  auto writer = blobs->write_blob(container, "out/devices 1.txt", call);
  ASSERT_TRUE(writer->write(content));
  const auto finished = writer->finish();
  ASSERT_TRUE(finished) << finished.error().what;
  std::string back;
  const auto read = blobs->read_blob(
      container, "out/devices 1.txt",
      [&](std::string_view piece) -> Status {
        back += piece;
        return {};
      },
      call);
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_TRUE(back == content);
  EXPECT_THAT(names(blobs->list_blobs(container, "", call).value()), ElementsAre("out/devices 1.txt"));
  EXPECT_EQ(blobs->list_containers(container, call).value().size(), 1u);
  ASSERT_TRUE(blobs->delete_blob(container, "out/devices 1.txt", call));
  EXPECT_EQ(blobs->properties(container, "out/devices 1.txt", call).error().kind, ErrorKind::kNotFound);
  ASSERT_TRUE(blobs->delete_container(container, call));
}

TEST_F(AzuriteByToken, ATokenThatIsNoneIsDenied) {
  for (const std::string& bad : {std::string("nonsense"), good.substr(0, good.find('.')) + ".e30.x"}) {
    const auto refused = with(bad)->list_containers("", call);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kDenied) << refused.error().what;
    EXPECT_THAT(refused.error().what, Not(HasSubstr(bad)));
  }
}

}  // namespace
}  // namespace twinstep::azure
