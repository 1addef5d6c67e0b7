#include "twinstep/azure/sas.h"

#include <gtest/gtest.h>

#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

const Secret kKey{"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="};

StorageAccount emulator() { return *StorageAccount::parse("UseDevelopmentStorage=true"); }

std::string signed_with(const StorageAccount& account, const std::string& text) {
  return base64_encode(hmac_sha256(*base64_decode(account.key.reveal()), text));
}

TEST(HubSas, MatchesBothPublishedVectors) {
  EXPECT_EQ(hub_sas_token("examplehub.azure-devices.net", "iothubowner", kKey, 1700000000)->reveal(),
            "SharedAccessSignature sr=examplehub.azure-devices.net&sig=bWVokzTsVcSJo5Ynpf8%2BYSk1uFNfNjL6hetVNDjXaXA%3D"
            "&se=1700000000&skn=iothubowner");
  const auto second = hub_sas_token("examplehub.azure-devices.net/devices/dev 01", "", kKey, 1700000000);
  EXPECT_EQ(second->reveal(), "SharedAccessSignature sr=examplehub.azure-devices.net%2Fdevices%2Fdev%2001&sig=" +
                                  percent_encode("1qe3tm3Llf1fOPcMizFB6/Vu4uleKYkaMWR56WkPmFQ=") + "&se=1700000000");
}

TEST(HubSas, IsReusedUntilThreeQuartersOfItsLifeArePast) {
  FakeClock clock;
  const auto auth = make_hub_sas_authenticator({"h:8443", "p", kKey, {}}, clock);
  const auto token = [&] {
    http::Request request;
    EXPECT_TRUE(auth->sign(request, {}));
    return request.headers.at(0).value;
  };
  const std::string first = token();
  EXPECT_NE(first.find("sr=h&"), std::string::npos) << "the port is no part of the resource";
  clock.advance(std::chrono::minutes{44});
  EXPECT_EQ(token(), first);
  clock.advance(std::chrono::minutes{2});
  EXPECT_NE(token(), first);
}

TEST(HubSas, AClockThatIsHoursWrongIsCorrectedByTheHubsOwnAfterARefusal) {
  FakeClock clock;
  const auto auth = make_hub_sas_authenticator({"h", "p", kKey, {}}, clock);
  const auto expires = [&] {
    http::Request request;
    EXPECT_TRUE(auth->sign(request, {}));
    const std::string& token = request.headers.at(0).value;
    return SystemTime{std::chrono::seconds{std::stoll(token.substr(token.find("se=") + 3))}};
  };
  const auto refused = [&](std::chrono::seconds behind) {
    http::Response response;
    response.status = 401;
    response.headers.push_back({"Date", format_http_date(clock.system_now() + behind)});
    return auth->renew(response, {}).value();
  };
  using std::chrono::hours;
  const auto near = [&](SystemTime wanted) { return std::chrono::abs(expires() - wanted) <= std::chrono::seconds{2}; };
  EXPECT_TRUE(near(clock.system_now() + hours{1}));
  EXPECT_FALSE(refused(std::chrono::seconds{0})) << "the same token would be refused again";
  EXPECT_TRUE(refused(hours{1}));
  EXPECT_TRUE(near(clock.system_now() + hours{2})) << "an hour of the hub's time";
  EXPECT_FALSE(refused(hours{1})) << "it is not the clock";
  EXPECT_TRUE(refused(hours{-1}));
  EXPECT_TRUE(near(clock.system_now()));
  EXPECT_FALSE(refused(hours{25})) << "that is no time zone; a person must look";
  EXPECT_TRUE(near(clock.system_now()));
}

TEST(SharedKey, MatchesThePublishedVectors) {
  http::Request put;
  put.method = "PUT";
  put.url = "http://127.0.0.1:10000/devstoreaccount1/job1/devices.txt";
  put.headers = {{"Content-Type", "text/plain"},
                 {"x-ms-version", "2021-12-02"},
                 {"x-ms-blob-type", "BlockBlob"},
                 {"x-ms-date", "Tue, 02 Jan 2024 03:04:05 GMT"}};
  EXPECT_EQ(signed_with(emulator(), shared_key_text(put, "devstoreaccount1", 24)),
            "mZhgc6YXs4B1djC4CUjXWSjbk3hUbqEXsLjSgTLcX40=");
  http::Request list;
  list.url = "https://myaccount.blob.core.windows.net/job1?restype=container&comp=list&maxresults=5000";
  list.headers = {{"x-ms-date", "Tue, 02 Jan 2024 03:04:05 GMT"}, {"x-ms-version", "2021-12-02"}};
  EXPECT_EQ(signed_with(emulator(), shared_key_text(list, "myaccount", 0)),
            "zdgF+oN9pG/SHq0HEnl/3x4uRGiTh29waZZ2SRGhSBE=");
}

TEST(ContainerSas, MatchesThePublishedVector) {
  EXPECT_EQ(container_sas(emulator(), "job1", "racwdl", "2024-01-02T03:04:05Z", "2024-01-09T03:04:05Z")->reveal(),
            "sv=2021-12-02&st=2024-01-02T03%3A04%3A05Z&se=2024-01-09T03%3A04%3A05Z&sr=c&sp=racwdl&"
            "sig=D5k%2BWl8byltoBVmLdkO6JBmU2%2BIjvP77APOFlZMVrpM%3D");
}

}  // namespace
}  // namespace twinstep::azure
