// What callers and collectors send: a trace's headers, the headers for a collector, and its answer. What is accepted
// can be sent on as it is.
#include "check.h"
#include "twinstep/obs/trace.h"
#include "twinstep/otlp/exporter.h"

using twinstep::fuzz::check;
using twinstep::fuzz::has_control;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = twinstep::fuzz::text_of(data, size);
  const std::string_view parent = twinstep::fuzz::take_line(text);
  if (const auto context = twinstep::obs::parse_traceparent(parent, text)) {
    check(context->valid(), "a trace has ids");
    const std::string sent = twinstep::obs::format_traceparent(*context);
    check(sent.size() == 55 && sent.starts_with("00-"), "what is sent on is version 00");
    const auto again = twinstep::obs::parse_traceparent(sent, context->state);
    check(again && *again == *context, "what is sent on is read as it was");
    check(context->state.size() <= 512 && !has_control(context->state), "a state fits into a header");
  }
  if (const auto headers = twinstep::otlp::parse_headers(twinstep::Secret(std::string(parent))))
    for (const auto& header : *headers)
      check(!header.name.empty() && header.value.find_first_of("\r\n") == std::string::npos, "a header is one line");
  if (const auto partial = twinstep::otlp::partial_success(text))
    check(partial->rejected > 0 || !partial->message.empty(), "a partial success says something");
  return 0;
}
