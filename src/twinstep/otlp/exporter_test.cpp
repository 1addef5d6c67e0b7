#include "twinstep/otlp/exporter.h"

#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"

namespace twinstep::otlp {
namespace {

/// Answers as told, then 200.
class FakeCollector final : public http::Client {
 public:
  Result<http::Response> send(const http::Request& request, const Call&) override {
    requests.push_back(request);
    if (answers.empty()) return http::Response{200, {}, "{}"};
    auto next = std::move(answers.front());
    answers.pop_front();
    return next;
  }
  std::deque<Result<http::Response>> answers;
  std::vector<http::Request> requests;
};

class ExporterTest : public ::testing::Test {
 protected:
  Exporter exporter(ExportOptions options = {}) {
    options.endpoint = "http://collector:4318/v1/traces";
    return Exporter(options, parse_headers(options.headers).value(), collector, metrics, clock, rng);
  }
  static obs::SpanData span(std::string name) {
    obs::SpanData out;
    out.context = *obs::parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    out.name = std::move(name);
    return out;
  }
  bool has(const std::string& line) const { return metrics.text().find("\n" + line + "\n") != std::string::npos; }

  FakeClock clock;
  Rng rng{1};
  obs::Metrics metrics{"1", clock};
  FakeCollector collector;
};

TEST_F(ExporterTest, SendsBatchesWithTheHeadersThatItWasGiven) {
  Exporter out = exporter({.headers = Secret("api-key=a%3Db, x = y"), .batch = 2});
  for (const char* name : {"a", "b", "c"}) out.ended(span(name));
  EXPECT_EQ(out.send_batch({}), 2u);
  EXPECT_EQ(out.send_batch({}), 1u);
  EXPECT_EQ(out.send_batch({}), 0u);
  ASSERT_EQ(collector.requests.size(), 2u);
  http::Response sent;
  sent.headers = collector.requests[0].headers;
  EXPECT_EQ(sent.header("api-key"), "a=b");
  EXPECT_EQ(sent.header("x"), "y");
  EXPECT_EQ(sent.header("Content-Type"), "application/json");
  EXPECT_EQ(collector.requests[0].method, "POST");
  EXPECT_EQ(collector.requests[0].url, "http://collector:4318/v1/traces");
  EXPECT_NE(collector.requests[1].body.find(R"("name":"c")"), std::string::npos);
  EXPECT_TRUE(has(R"(twinstep_spans_total{outcome="exported"} 3)"));
}

TEST_F(ExporterTest, TriesAgainWhatMayPassAndObeysRetryAfter) {
  collector.answers.push_back(http::Response{503, {{"Retry-After", "7"}}, ""});
  collector.answers.push_back(fail(ErrorKind::kUnavailable, "http.no-connection", "away"));
  collector.answers.push_back(http::Response{429, {}, ""});
  Exporter out = exporter();
  out.ended(span("a"));
  EXPECT_EQ(out.send_batch({}), 1u);
  EXPECT_EQ(collector.requests.size(), 4u);
  EXPECT_EQ(clock.sleeps().front(), Millis{7'000});
  EXPECT_TRUE(has(R"(twinstep_spans_total{outcome="exported"} 1)"));
}

TEST_F(ExporterTest, DoesNotRepeatWhatIsRefusedForGood) {
  collector.answers.push_back(http::Response{400, {}, ""});
  Exporter out = exporter();
  out.ended(span("a"));
  out.send_batch({});
  EXPECT_EQ(collector.requests.size(), 1u);
  EXPECT_TRUE(has(R"(twinstep_spans_total{outcome="failed"} 1)"));
}

TEST_F(ExporterTest, GivesABatchUpInTheEndAndSendsTheNextOne) {
  for (int i = 0; i < 3; ++i) collector.answers.push_back(http::Response{502, {}, ""});
  Exporter out = exporter({.batch = 1, .tries = 3});
  out.ended(span("a"));
  out.ended(span("b"));
  out.send_batch({});
  out.send_batch({});
  EXPECT_TRUE(has(R"(twinstep_spans_total{outcome="failed"} 1)"));
  EXPECT_TRUE(has(R"(twinstep_spans_total{outcome="exported"} 1)"));
}

TEST_F(ExporterTest, DropsTheOldestWhenNobodyTakesThem) {
  Exporter out = exporter({.queue = 3});
  for (const char* name : {"a", "b", "c", "d", "e"}) out.ended(span(name));
  EXPECT_TRUE(has(R"(twinstep_spans_total{outcome="dropped"} 2)"));
  out.send_batch({});
  EXPECT_EQ(collector.requests.at(0).body.find(R"("name":"b")"), std::string::npos);
  EXPECT_NE(collector.requests.at(0).body.find(R"("name":"c")"), std::string::npos);
}

TEST_F(ExporterTest, KeepsABatchThatAStopInterrupted) {
  std::stop_source stop;
  stop.request_stop();
  collector.answers.push_back(fail(ErrorKind::kCancelled, "cancelled", "stopped"));
  Exporter out = exporter();
  out.ended(span("a"));
  EXPECT_EQ(out.send_batch({SteadyTime::max(), stop.get_token()}), 0u);
  EXPECT_EQ(out.send_batch({}), 1u);
}

TEST(ExportHeaders, ThatAreNoneAreRefusedWithoutShowingThem) {
  for (const char* bad : {"novalue", "=x", "a b=c", "k=a%0d%0ab"}) {
    const auto read = parse_headers(Secret(bad));
    ASSERT_FALSE(read) << bad;
    EXPECT_EQ(read.error().code, "otlp.headers");
    EXPECT_EQ(read.error().what.find(bad), std::string::npos);
  }
  EXPECT_TRUE(parse_headers(Secret("")).value().empty());
}

}  // namespace
}  // namespace twinstep::otlp
