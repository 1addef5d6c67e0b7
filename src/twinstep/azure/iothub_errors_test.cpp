#include "twinstep/azure/iothub_errors.h"

#include <gtest/gtest.h>

#include "twinstep/json/json.h"

namespace twinstep::azure {
namespace {

using namespace std::chrono_literals;
using enum ErrorKind;

const SystemTime kNow = *parse_iso("2026-08-20T22:05:30Z");

Error error_of(int status, std::string body, std::vector<http::Header> headers = {},
               HubRight right = HubRight::kRegistryRead) {
  return hub_error(http::Response{status, std::move(headers), std::move(body)}, right, kNow);
}

struct Row {
  int number;
  const char* name;
  ErrorKind kind;
};
constexpr Row kRows[] = {{400001, "InvalidProtocolVersion", kInvalid},
                         {400003, "InvalidOperation", kInvalid},
                         {400004, "ArgumentInvalid", kInvalid},
                         {400005, "ArgumentNull", kInvalid},
                         {400006, "IotHubFormatError", kInvalid},
                         {400008, "BlobContainerValidationError", kInvalid},
                         {400011, "DeviceDefinedMultipleTimes", kInvalid},
                         {400012, "DeserializationError", kInvalid},
                         {400013, "BulkRegistryOperationFailure", kInvalid},
                         {401002, "IotHubUnauthorizedAccess", kDenied},
                         {403002, "IotHubQuotaExceeded", kInvalid},
                         {403003, "JobQuotaExceeded", kUnavailable},
                         {404001, "DeviceNotFound", kNotFound},
                         {404002, "JobNotFound", kNotFound},
                         {404010, "ModuleNotFound", kNotFound},
                         {404103, "DeviceNotOnline", kNotFound},
                         {409001, "DeviceAlreadyExists", kConflict},
                         {409301, "ModuleAlreadyExistsOnDevice", kConflict},
                         {412001, "PreconditionFailed", kConflict},
                         {413001, "MessageTooLarge", kInvalid},
                         {413002, "TooManyDevices", kInvalid},
                         {429000, "GenericTooManyRequests", kThrottled},
                         {429001, "ThrottlingException", kThrottled},
                         {429002, "ThrottleBacklogLimitExceeded", kThrottled},
                         {429003, "ThrottlingBacklogTimeout", kThrottled},
                         {429004, "ThrottlingMaxActiveJobCountExceeded", kThrottled},
                         {429005, "DeviceThrottlingLimitExceeded", kThrottled},
                         {500001, "ServerError", kUnavailable},
                         {503001, "ServiceUnavailable", kUnavailable}};

TEST(HubErrors, EveryCodeIsKnownByHeaderMessageAndNumber) {
  for (const Row& row : kRows) {
    const int status = row.number / 1000;
    const Error by_header = error_of(status, "", {{"IotHub-ErrorCode", row.name}});
    const Error by_message = error_of(status, fmt::format(R"({{"Message":"ErrorCode:{};because"}})", row.name));
    const Error by_number = error_of(status, fmt::format(R"({{"errorCode":{},"message":"because"}})", row.number));
    for (const Error& e : {by_header, by_message, by_number}) {
      EXPECT_EQ(e.kind, row.kind) << row.name;
      EXPECT_EQ(e.remote_code, row.name);
      EXPECT_EQ(e.remote_status, status);
      EXPECT_EQ(e.code, status == 401 ? "hub.unauthorized" : fmt::format("hub.{}", row.name));
    }
    EXPECT_NE(by_message.what.find("because"), std::string::npos);
    EXPECT_EQ(hub_code_kind(row.name), row.kind);
    EXPECT_EQ(hub_code_kind(std::to_string(row.number)), row.kind);
  }
}

TEST(HubErrors, TheHeaderWinsOverMessageAndStatus) {
  const Error e =
      error_of(400, R"({"Message":"ErrorCode:ArgumentInvalid;x"})", {{"iothub-errorcode", "DeviceNotFound"}});
  EXPECT_EQ(e.kind, kNotFound);
  EXPECT_EQ(e.code, "hub.DeviceNotFound");
}

TEST(HubErrors, ReadsTheNumericShapeNestedInTheMessage) {
  const Error e =
      error_of(404, R"({"Message":"ErrorCode:X;{\"errorCode\":404103,\"message\":\"Device is not connected.\",)"
                    R"(\"trackingId\":\"abc-G:5\"}","ExceptionMessage":""})");
  EXPECT_EQ(e.remote_code, "DeviceNotOnline");
  EXPECT_EQ(e.request_id, "abc-G:5");
  EXPECT_NE(e.what.find("Device is not connected."), std::string::npos);
}

TEST(HubErrors, FallsBackToTheStatus) {
  EXPECT_EQ(error_of(412, "").kind, kConflict);
  EXPECT_EQ(error_of(403, "").kind, kDenied);
  EXPECT_EQ(error_of(408, "").kind, kTimeout);
  EXPECT_EQ(error_of(429, "").kind, kThrottled);
  EXPECT_EQ(error_of(502, "").kind, kUnavailable);
  EXPECT_EQ(error_of(418, "").kind, kInvalid);
  EXPECT_EQ(error_of(302, "").kind, kCorrupt);
  EXPECT_EQ(error_of(502, "").code, "hub.http-502");
  EXPECT_EQ(hub_code_kind("409777"), kConflict);
  EXPECT_EQ(hub_code_kind("SomethingNew"), kInvalid);
}

TEST(HubErrors, ANotFoundThatIsNotTheHubsDoesNotMeanThatTheDeviceIsAbsent) {
  for (const char* body :
       {"", "<html><h1>Not Found</h1></html>", "default backend - 404",
        R"({"message":"no Route matched with those values"})", R"({"statusCode":404,"message":"Resource not found"})",
        R"({"Message":"ErrorCode:IotHubNotFound;no such hub"})"}) {
    const Error e = error_of(404, body);
    EXPECT_EQ(e.kind, kCorrupt) << body;
    EXPECT_NE(e.what.find("host name"), std::string::npos) << e.what;
  }
}

TEST(HubErrors, ARefusalNamesTheRightThatIsNeededAndTheClockThatIsWrong) {
  const Error twin = error_of(401, R"({"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"})",
                              {{"Date", "Thu, 20 Aug 2026 22:15:30 GMT"}}, HubRight::kServiceConnect);
  EXPECT_NE(twin.what.find("ServiceConnect"), std::string::npos) << twin.what;
  EXPECT_NE(twin.what.find("clock is 10 min behind"), std::string::npos) << twin.what;
  const Error ahead = error_of(401, "", {{"Date", "Thu, 20 Aug 2026 21:05:30 GMT"}}, HubRight::kRegistryWrite);
  EXPECT_NE(ahead.what.find("RegistryWrite"), std::string::npos);
  EXPECT_NE(ahead.what.find("ahead of"), std::string::npos);
  const Error right = error_of(401, "", {{"Date", "Thu, 20 Aug 2026 22:05:31 GMT"}});
  EXPECT_EQ(right.what.find("clock"), std::string::npos);
}

TEST(HubErrors, MasksWhatTheHubRepeatsOfSecretsAndKeepsTheRest) {
  for (const char* text : {"cannot use https://a.blob.core.windows.net/c?sv=1&sig=c2VjcmV0&se=2 now",
                           "cannot use sv%3D1%26sig%3Dc2VjcmV0 now",
                           "cannot parse {'primaryKey':'c2VjcmV0','SecondaryKey':'c2VjcmV0'} now",
                           "cannot take SharedAccessKey=c2VjcmV0; now", "cannot take Bearer c2VjcmV0 now"}) {
    const Error e =
        error_of(400, json::write(json::object{{"Message", std::string("ErrorCode:ArgumentInvalid;") + text}}));
    EXPECT_EQ(e.what.find("c2VjcmV0"), std::string::npos) << e.what;
    EXPECT_NE(e.what.find("cannot"), std::string::npos) << e.what;
    EXPECT_NE(e.what.find("now"), std::string::npos) << e.what;
  }
}

TEST(HubErrors, LongAndUglyTextsAreCutAndKeptOnOneLine) {
  const Error e = error_of(
      400, json::write(json::object{{"Message", "ErrorCode:ArgumentInvalid;a\r\nb" + std::string(5000, 'x')}}));
  EXPECT_LT(e.what.size(), 700u);
  EXPECT_EQ(e.what.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace twinstep::azure
