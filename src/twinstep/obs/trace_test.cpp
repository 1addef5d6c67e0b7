#include "twinstep/obs/trace.h"

#include <gtest/gtest.h>

#include <thread>

#include "twinstep/base/fake_clock.h"
#include "twinstep/obs/log_context.h"

namespace twinstep::obs {
namespace {

constexpr std::string_view kKnown = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

struct Kept final : SpanSink {
  void ended(SpanData&& span) override { spans.push_back(std::move(span)); }
  std::vector<SpanData> spans;
};

TEST(Traceparent, IsReadAndWrittenAsTheSpecificationSays) {
  const auto read = parse_traceparent(kKnown, "rojo=00f067aa0ba902b7");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(read->span_id(), "00f067aa0ba902b7");
  EXPECT_TRUE(read->sampled);
  EXPECT_EQ(read->state, "rojo=00f067aa0ba902b7");
  EXPECT_EQ(format_traceparent(*read), kKnown);
  EXPECT_FALSE(parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02")->sampled);
}

TEST(Traceparent, ThatIsInvalidIsIgnored) {
  for (const std::string_view bad :
       {"", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",    // upper case
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",    // no trace
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",    // no span
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",    // the version that is forbidden
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",  // version 00 ends there
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",   // more belongs behind a dash
        "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g"})
    EXPECT_FALSE(parse_traceparent(bad)) << bad;
}

TEST(Traceparent, OfALaterVersionIsReadAsFarAsItIsKnown) {
  for (const std::string_view later : {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                       "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes"}) {
    const auto read = parse_traceparent(later);
    ASSERT_TRUE(read) << later;
    EXPECT_EQ(format_traceparent(*read), kKnown);
  }
}

TEST(Traceparent, KeepsAStateThatFitsAndWholeMembersOfALongerOne) {
  std::string state = "first=1";
  while (state.size() < 600) state += ",more=" + std::to_string(state.size());
  const auto read = parse_traceparent(kKnown, state);
  EXPECT_LE(read->state.size(), 512u);
  EXPECT_TRUE(state.starts_with(read->state + ","));
  EXPECT_EQ(parse_traceparent(kKnown, std::string(600, 'a'))->state, "");
  EXPECT_EQ(parse_traceparent(kKnown, "a=1\r\nx: y")->state, "");
}

class TracerTest : public ::testing::Test {
 protected:
  FakeClock clock;
  Rng rng{7};
  Kept kept;
  Tracer tracer{clock, rng};
};

TEST_F(TracerTest, SpansNestWithinAThreadAndEndInOrder) {
  tracer.export_to(&kept, 1);
  {
    Span outer = tracer.begin_root("outer", SpanKind::kServer, parse_traceparent(kKnown, "a=1"));
    clock.advance(std::chrono::milliseconds{5});
    {
      Span inner = tracer.begin("inner", SpanKind::kClient);
      inner.set("n", int64_t{3});
      inner.fail("timeout");
      inner.fail("later");
      clock.advance(std::chrono::milliseconds{2});
    }
  }
  EXPECT_FALSE(current_trace().valid());
  ASSERT_EQ(kept.spans.size(), 2u);
  const SpanData &inner = kept.spans[0], &outer = kept.spans[1];
  EXPECT_EQ(outer.context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(span_id_text(outer.parent), "00f067aa0ba902b7");
  EXPECT_EQ(outer.context.state, "a=1");
  EXPECT_EQ(inner.parent, outer.context.span);
  EXPECT_EQ(inner.context.trace_id(), outer.context.trace_id());
  EXPECT_EQ(inner.end - inner.start, std::chrono::milliseconds{2});
  EXPECT_EQ(outer.end - outer.start, std::chrono::milliseconds{7});
  EXPECT_TRUE(inner.failed);
  EXPECT_EQ(inner.message, "timeout");
  EXPECT_FALSE(outer.failed);
}

TEST_F(TracerTest, WithoutASinkNothingIsRecordedAndAForeignTraceIsHandedOnAsItCame) {
  const Span span = tracer.begin_root("outer", SpanKind::kServer, parse_traceparent(kKnown));
  EXPECT_FALSE(span.recording());
  EXPECT_EQ(current_traceparent(), kKnown);
}

TEST_F(TracerTest, WithoutASinkLinesOfOneRequestStillShareATrace) {
  const Span span = tracer.begin_root("outer", SpanKind::kServer, std::nullopt);
  EXPECT_TRUE(current_trace().valid());
  EXPECT_FALSE(current_trace().sampled);
  const std::string outer = current_trace().trace_id();
  const Span inner = tracer.begin("inner", SpanKind::kClient);
  EXPECT_EQ(current_trace().trace_id(), outer);
}

TEST_F(TracerTest, TheCallerDecidesWhetherItsTraceIsRecorded) {
  tracer.export_to(&kept, 0);
  { const Span span = tracer.begin_root("theirs", SpanKind::kServer, parse_traceparent(kKnown)); }
  { const Span span = tracer.begin_root("ours", SpanKind::kServer, std::nullopt); }
  {
    auto quiet = parse_traceparent(kKnown);
    quiet->sampled = false;
    const Span span = tracer.begin_root("quiet", SpanKind::kServer, quiet);
  }
  ASSERT_EQ(kept.spans.size(), 1u);
  EXPECT_EQ(kept.spans[0].name, "theirs");
}

TEST_F(TracerTest, ARatioRecordsThatPartOfTheTraces) {
  tracer.export_to(&kept, 0.25);
  for (int i = 0; i < 4000; ++i) const Span span = tracer.begin_root("one", SpanKind::kServer, std::nullopt);
  EXPECT_NEAR(static_cast<double>(kept.spans.size()), 1000, 150);
  kept.spans.clear();
  tracer.export_to(&kept, 1);
  for (int i = 0; i < 100; ++i) const Span span = tracer.begin_root("one", SpanKind::kServer, std::nullopt);
  EXPECT_EQ(kept.spans.size(), 100u);
}

TEST_F(TracerTest, AHelperThreadWorksInTheContextThatItWasHanded) {
  tracer.export_to(&kept, 1);
  const Span span = tracer.begin_root("outer", SpanKind::kServer, std::nullopt);
  const LogScope named{{"run", "r1"}, {"link", "a b"}, {"device", ""}};
  const std::string here = log_context();
  EXPECT_EQ(here, " trace=" + current_trace().trace_id() + " run=r1 link=a_b");
  const Handover handover;
  std::string there, after;
  std::thread([&] {
    {
      const Handover::Scope scope(handover);
      there = log_context();
      const Span helping = tracer.begin("helping", SpanKind::kClient);
    }
    after = log_context();
  }).join();
  EXPECT_EQ(there, here);
  EXPECT_EQ(after, "");
  ASSERT_EQ(kept.spans.size(), 1u);
  EXPECT_EQ(kept.spans[0].parent, span.context().span);
}

TEST(LogScope, EndsWithItsBlock) {
  const LogScope outer{{"run", "r1"}};
  {
    const LogScope inner{{"device", "d\n1"}};
    EXPECT_EQ(log_context(), " run=r1 device=d_1");
  }
  EXPECT_EQ(log_context(), " run=r1");
}

}  // namespace
}  // namespace twinstep::obs
