#include "twinstep/obs/log_context.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

namespace twinstep::obs {
namespace {

TEST(LogFormatter, PutsTheContextBehindTheTextOfEveryLine) {
  std::ostringstream out;
  spdlog::logger logger("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger.set_formatter(log_formatter());
  logger.info("something.happened n=1");
  {
    const TraceScope trace(*parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    const LogScope named{{"task", "t1"}, {"device", "dev-1"}};
    logger.warn("it.failed code=x");
  }
  std::istringstream lines(out.str());
  std::string first, second;
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_TRUE(first.ends_with("Z info something.happened n=1")) << first;
  EXPECT_TRUE(
      second.ends_with("Z warning it.failed code=x trace=4bf92f3577b34da6a3ce929d0e0e4736 task=t1 device=dev-1"))
      << second;
}

}  // namespace
}  // namespace twinstep::obs
