#include "twinstep/http/response_head.h"

#include <gmock/gmock.h>

namespace twinstep::http {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ResponseHead, EchoedLineBreaksCannotAddHeaders) {
  ServerResponse response;
  response.headers = {{"X-Echo", "a\r\nSet-Cookie: evil=1"}, {"Bad Name\r\nX: y", "z"}};
  const std::string head = response_head(response, {.reason = "OK", .date = "now"});
  EXPECT_THAT(head, HasSubstr("X-Echo: a  Set-Cookie: evil=1\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("\r\nSet-Cookie")));
  EXPECT_THAT(head, Not(HasSubstr("Bad Name")));
}

TEST(ResponseHead, FramingBelongsToTheServer) {
  ServerResponse response;
  response.body = "four";
  response.headers = {{"content-length", "99"}, {"Transfer-Encoding", "chunked"}, {"Connection", "upgrade"}};
  EXPECT_EQ(response_head(response, {.reason = "OK", .date = "D"}),
            "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 4\r\n\r\n");
}

TEST(ResponseHead, AnAnswerToHeadMayNameTheLengthOfABodyNobodyMade) {
  ServerResponse response;
  response.headers = {{"Content-Length", "123456789"}};
  EXPECT_THAT(response_head(response, {.reason = "OK", .date = "D", .head_request = true}),
              HasSubstr("Content-Length: 123456789\r\n"));
}

TEST(ResponseHead, NoContentHasNoLength) {
  ServerResponse response;
  response.status = 204;
  EXPECT_THAT(response_head(response, {.reason = "No Content", .date = "D"}), Not(HasSubstr("Content-Length")));
}

TEST(ResponseHead, AHandlersOwnDateWins) {
  ServerResponse response;
  response.headers = {{"date", "skewed"}};
  const std::string head = response_head(response, {.reason = "OK", .date = "true"});
  EXPECT_THAT(head, HasSubstr("date: skewed"));
  EXPECT_THAT(head, Not(HasSubstr("Date: true")));
}

TEST(ServerRequest, QueryValuesAreDecodedAndFoundWithoutCase) {
  ServerRequest request;
  request.query = "api-version=2021&Code=a%2Bb+c&empty&last=";
  EXPECT_EQ(request.query_value("code"), "a+b c");
  EXPECT_EQ(request.query_value("API-Version"), "2021");
  EXPECT_EQ(request.query_value("empty"), "");
  EXPECT_EQ(request.query_value("absent"), "");
}

}  // namespace
}  // namespace twinstep::http
