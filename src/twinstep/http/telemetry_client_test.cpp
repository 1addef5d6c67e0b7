#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"
#include "twinstep/http/client.h"
#include "twinstep/obs/metrics.h"
#include "twinstep/obs/trace.h"

namespace twinstep::http {
namespace {

struct Remote final : Client {
  Result<Response> send(const Request& request, const Call&) override {
    sent.headers = request.headers;
    clock.advance(Millis{20});
    return answer;
  }
  FakeClock& clock;
  Result<Response> answer = Response{200, {}, "body"};
  Response sent{};  // for its look-up of headers
  explicit Remote(FakeClock& clock_in) : clock(clock_in) {}
};

struct Kept final : obs::SpanSink {
  void ended(obs::SpanData&& span) override { spans.push_back(std::move(span)); }
  std::vector<obs::SpanData> spans;
};

class TelemetryClientTest : public ::testing::Test {
 protected:
  bool counted(const std::string& line) const { return metrics.text().find("\n" + line + "\n") != std::string::npos; }
  static Request request(std::string operation) {
    Request out;
    out.url = "https://user:secret@contoso.azure-devices.net/devices/dev-1?code=hush";
    out.operation = std::move(operation);
    return out;
  }

  FakeClock clock;
  Rng rng{3};
  obs::Metrics metrics{"1", clock};
  obs::Tracer tracer{clock, rng};
  Kept kept;
  Remote remote{clock};
  std::unique_ptr<Client> client = with_telemetry(remote, metrics, tracer, "hub/contoso", clock);
};

TEST_F(TelemetryClientTest, CountsByOperationWithoutTheDevicesId) {
  ASSERT_TRUE(client->send(request("get device 'dev-1'"), {}));
  ASSERT_TRUE(client->send(request("get device 'dev-2'"), {}));
  Request labelled = request("bulk call for 57 devices");
  labelled.label = "bulk call";
  remote.answer = Response{429, {}, ""};
  ASSERT_TRUE(client->send(labelled, {}));
  remote.answer = fail(ErrorKind::kTimeout, "http.timeout", "no answer");
  ASSERT_FALSE(client->send(request("query"), {}));
  EXPECT_TRUE(counted(R"(twinstep_remote_calls_total{operation="get device",outcome="ok",remote="hub/contoso"} 2)"));
  EXPECT_TRUE(
      counted(R"(twinstep_remote_calls_total{operation="bulk call",outcome="throttled",remote="hub/contoso"} 1)"));
  EXPECT_TRUE(counted(R"(twinstep_remote_calls_total{operation="query",outcome="timeout",remote="hub/contoso"} 1)"));
  EXPECT_TRUE(
      counted(R"(twinstep_remote_call_seconds_bucket{operation="get device",remote="hub/contoso",le="0.025"} 2)"));
  EXPECT_EQ(metrics.text().find("dev-1"), std::string::npos);
}

TEST_F(TelemetryClientTest, HandsTheTraceOnAndRecordsTheCallAsAChild) {
  tracer.export_to(&kept, 1);
  const auto from = obs::parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1");
  {
    const obs::Span outer = tracer.begin_root("task", obs::SpanKind::kConsumer, from);
    remote.answer = Response{404, {}, ""};
    ASSERT_TRUE(client->send(request("get twin 'dev-1'"), {}));
  }
  ASSERT_EQ(kept.spans.size(), 2u);
  const obs::SpanData &call = kept.spans[0], &task = kept.spans[1];
  EXPECT_EQ(call.parent, task.context.span);
  EXPECT_EQ(call.name, "get twin");
  EXPECT_EQ(remote.sent.header("traceparent"), obs::format_traceparent(call.context));
  EXPECT_EQ(remote.sent.header("tracestate"), "a=1");
  EXPECT_TRUE(call.failed);
  for (const obs::Attribute& one : call.attributes) {
    if (const auto* text = std::get_if<std::string>(&one.value)) {
      EXPECT_EQ(text->find("secret"), std::string::npos) << one.key;
      EXPECT_EQ(text->find("hush"), std::string::npos) << one.key;
    }
  }
}

TEST_F(TelemetryClientTest, WithoutATraceThereIsStillOneForTheRemotesLog) {
  ASSERT_TRUE(client->send(request("query"), {}));
  const auto sent = obs::parse_traceparent(remote.sent.header("traceparent"));
  ASSERT_TRUE(sent);
  EXPECT_FALSE(sent->sampled);
}

}  // namespace
}  // namespace twinstep::http
