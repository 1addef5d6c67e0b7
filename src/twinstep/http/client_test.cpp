#include "twinstep/http/client.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <deque>
#include <sstream>

#include "twinstep/base/fake_clock.h"
#include "twinstep/base/time_format.h"

namespace twinstep::http {
namespace {

using namespace std::chrono_literals;

/// Answers from a list; remembers what it was asked.
class ScriptedClient final : public Client {
 public:
  std::deque<Result<Response>> answers;
  std::vector<Request> asked;
  Result<Response> send(const Request& request, const Call&) override {
    asked.push_back(request);
    if (answers.empty()) return Response{200, {}, ""};
    auto answer = std::move(answers.front());
    answers.pop_front();
    if (answer && request.sink && answer->ok()) {
      TRY(request.sink(answer->body));
    }
    return answer;
  }
};

Result<Response> status(int code, std::vector<Header> headers = {}) { return Response{code, std::move(headers), ""}; }
Result<Response> error(ErrorKind kind) { return fail(kind, "test", "test"); }

class Retry : public testing::Test {
 protected:
  FakeClock clock;
  Rng rng{1};
  ScriptedClient inner;
  std::unique_ptr<Client> client = with_retry(inner, {}, clock, rng);
  int tries(Repeat repeat, Result<Response> first) {
    inner.answers.clear();
    inner.asked.clear();
    inner.answers.push_back(std::move(first));
    Request request;
    request.repeat = repeat;
    (void)client->send(request, {});
    return static_cast<int>(inner.asked.size());
  }
};

TEST_F(Retry, RepeatsOnlyWhatTheRequestAllows) {
  for (int code : {408, 429, 500, 502, 503, 504}) {
    EXPECT_EQ(tries(Repeat::kAlways, status(code)), 2) << code;
    EXPECT_EQ(tries(Repeat::kNever, status(code)), 1) << code;
    EXPECT_EQ(tries(Repeat::kIfNotStarted, status(code)), code == 429 || code == 503 ? 2 : 1) << code;
  }
  for (int code : {200, 301, 400, 401, 403, 404, 409, 412}) EXPECT_EQ(tries(Repeat::kAlways, status(code)), 1) << code;
  EXPECT_EQ(tries(Repeat::kIfNotStarted, error(ErrorKind::kUnavailable)), 2);
  EXPECT_EQ(tries(Repeat::kIfNotStarted, error(ErrorKind::kTimeout)), 1);
  EXPECT_EQ(tries(Repeat::kAlways, error(ErrorKind::kTimeout)), 2);
  EXPECT_EQ(tries(Repeat::kAlways, error(ErrorKind::kCancelled)), 1);
}

TEST_F(Retry, ObeysRetryAfterInBothFormsAndGivesUpAfterTheLastTry) {
  inner.answers = {status(503, {{"retry-after", "7"}}),
                   status(429, {{"Retry-After", format_http_date(clock.system_now() + 7s + 20s)}})};
  Request request;
  request.repeat = Repeat::kAlways;
  EXPECT_EQ(client->send(request, {})->status, 200);
  ASSERT_EQ(clock.sleeps().size(), 2u);
  EXPECT_EQ(clock.sleeps()[0], 7s);
  EXPECT_NEAR(static_cast<double>(clock.sleeps()[1].count()), 20'000, 1'001);

  for (int i = 0; i < 9; ++i) inner.answers.push_back(status(500));
  inner.asked.clear();
  EXPECT_EQ(client->send(request, {})->status, 500);
  EXPECT_EQ(inner.asked.size(), 5u);
}

TEST_F(Retry, DoesNotBeginAWaitThatPassesTheDeadline) {
  inner.answers = {status(503, {{"Retry-After", "60"}})};
  Request request;
  request.repeat = Repeat::kAlways;
  EXPECT_EQ(client->send(request, {clock.steady_now() + 30s, {}})->status, 503);
  EXPECT_TRUE(clock.sleeps().empty());
}

TEST_F(Retry, AStreamThatHasBegunIsNotRepeated) {
  std::string got;
  Request request;
  request.repeat = Repeat::kAlways;
  request.sink = [&](std::string_view piece) -> Status {
    got += piece;
    return fail(ErrorKind::kTimeout, "test", "broken");
  };
  inner.answers = {Response{200, {}, "half"}};
  EXPECT_FALSE(client->send(request, {}));
  EXPECT_EQ(inner.asked.size(), 1u);
}

class Signer final : public Authenticator {
 public:
  int generation = 0;
  bool can_renew = true;
  Status sign(Request& request, const Call&) override {
    request.headers.push_back({"Authorization", fmt::format("token {}", generation)});
    return {};
  }
  Result<bool> renew(const Response&, const Call&) override {
    ++generation;
    return can_renew;
  }
};

TEST(Auth, RenewsOnceAfterA401AndSignsAgain) {
  ScriptedClient inner;
  Signer signer;
  auto client = with_auth(inner, signer);
  inner.answers = {status(401), status(401)};
  EXPECT_EQ(client->send({}, {})->status, 401);
  ASSERT_EQ(inner.asked.size(), 2u);
  ASSERT_EQ(inner.asked[1].headers.size(), 1u);
  EXPECT_EQ(inner.asked[1].headers[0].value, "token 1");
}

TEST(Log, NothingSecretGetsOut) {
  std::ostringstream out;
  auto before = spdlog::default_logger();
  auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger->set_level(spdlog::level::trace);
  spdlog::set_default_logger(logger);
  ScriptedClient inner;
  FakeClock clock;
  auto client = with_log(inner, clock);
  inner.answers = {Response{403, {{"Set-Cookie", "CANARY"}, {"x-ms-request-id", "req-1"}}, "CANARY"}};
  Request request;
  request.method = "PUT";
  request.url = "https://user:CANARY@acct.example/c/b?comp=block&sig=CANARY&blockid=CANARY";
  request.headers = {{"Authorization", "CANARY"}, {"x-functions-key", "CANARY"}};
  request.body = "CANARY";
  (void)client->send(request, {});
  spdlog::set_default_logger(before);
  EXPECT_EQ(out.str().find("CANARY"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("comp=block&sig=***"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("req-1"), std::string::npos);
}

TEST(RetryAfter, IsReadInBothForms) {
  const SystemTime now = *parse_iso("2026-08-20T22:05:30.250Z");
  const auto told = [&](std::string value) {
    return retry_after(Response{429, {{"retry-after", std::move(value)}}, ""}, now);
  };
  EXPECT_EQ(told("7"), Millis{7000});
  EXPECT_EQ(told("Thu, 20 Aug 2026 22:05:50 GMT"), Millis{19'750});
  EXPECT_EQ(told("Thu, 20 Aug 2026 22:05:00 GMT"), Millis{0});
  for (const char* text : {"", "soon", "-4", "7s", "99999999999"}) EXPECT_FALSE(told(text)) << text;
  EXPECT_FALSE(retry_after(Response{429, {}, ""}, now));
}

}  // namespace
}  // namespace twinstep::http
