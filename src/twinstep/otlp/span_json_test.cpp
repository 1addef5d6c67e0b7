#include "twinstep/otlp/span_json.h"

#include <gtest/gtest.h>

namespace twinstep::otlp {
namespace {

obs::SpanData span() {
  obs::SpanData out;
  out.context = *obs::parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1");
  out.parent = 0x1234;
  out.name = "get twin";
  out.kind = obs::SpanKind::kClient;
  out.start = SystemTime{std::chrono::microseconds{1'700'000'000'000'001}};
  out.end = out.start + std::chrono::milliseconds{3};
  out.attributes = {{"http.response.status_code", int64_t{200}},
                    {"twinstep.remote", std::string("hub/a")},
                    {"ratio", 0.5},
                    {"again", true}};
  return out;
}

TEST(SpanJson, IsWhatTheSpecificationSays) {
  obs::SpanData failed = span();
  failed.failed = true;
  failed.message = "timeout";
  failed.parent = 0;
  failed.context.state.clear();
  failed.attributes.clear();
  EXPECT_EQ(export_request({"twinstep", "1.2.3", "abc"}, {span(), failed}),
            R"({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"twinstep"}},)"
            R"({"key":"service.version","value":{"stringValue":"1.2.3"}},{"key":"service.instance.id","value":)"
            R"({"stringValue":"abc"}}]},"scopeSpans":[{"scope":{"name":"twinstep","version":"1.2.3"},"spans":[)"
            R"({"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"get twin","kind":3,)"
            R"("startTimeUnixNano":"1700000000000001000","endTimeUnixNano":"1700000000003001000",)"
            R"("parentSpanId":"0000000000001234","traceState":"a=1","attributes":[)"
            R"({"key":"http.response.status_code","value":{"intValue":"200"}},)"
            R"({"key":"twinstep.remote","value":{"stringValue":"hub/a"}},{"key":"ratio","value":{"doubleValue":5E-1}},)"
            R"({"key":"again","value":{"boolValue":true}}]},)"
            R"({"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"get twin","kind":3,)"
            R"("startTimeUnixNano":"1700000000000001000","endTimeUnixNano":"1700000000003001000",)"
            R"("status":{"code":2,"message":"timeout"}}]}]}]})");
}

TEST(SpanJson, OfTextThatIsNoUtf8IsStillJson) {
  obs::SpanData odd = span();
  odd.attributes = {{"k", std::string("a\xff")}};
  EXPECT_NE(export_request({"s", "1", "i"}, {odd}).find(R"("stringValue":"a?")"), std::string::npos);
}

TEST(PartialSuccess, IsReadAsTextAndAsNumber) {
  const auto text = partial_success(R"({"partialSuccess":{"rejectedSpans":"3","errorMessage":"too\nold"}})");
  ASSERT_TRUE(text);
  EXPECT_EQ(text->rejected, 3u);
  EXPECT_EQ(text->message, "too old");
  EXPECT_EQ(partial_success(R"({"partialSuccess":{"rejectedSpans":4}})")->rejected, 4u);
  const auto hidden = partial_success(
      R"({"partialSuccess":{"rejectedSpans":1,"errorMessage":"the key ab+c\/d is wrong, ab+c/d"}})", {"ab+c/d"});
  EXPECT_EQ(hidden->message, "the key *** is wrong, ***");
  for (const char* fine :
       {"{}", "", "\n\x12", R"({"partialSuccess":{}})", R"({"partialSuccess":{"rejectedSpans":"0"}})"})
    EXPECT_FALSE(partial_success(fine)) << fine;
}

}  // namespace
}  // namespace twinstep::otlp
