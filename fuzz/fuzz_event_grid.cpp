// Deliveries of Event Grid: the first line holds "name: value" headers separated by '|', the rest is the body.
#include "check.h"
#include "twinstep/azure/event_grid.h"
#include "twinstep/base/encoding.h"

using twinstep::fuzz::check;
using twinstep::fuzz::has_control;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest = twinstep::fuzz::text_of(data, size);
  std::string_view heads = twinstep::fuzz::take_line(rest);
  twinstep::http::ServerRequest request;
  request.method = "POST";
  while (!heads.empty()) {
    const size_t bar = heads.find('|');
    const std::string_view head = heads.substr(0, bar);
    heads = bar == std::string_view::npos ? std::string_view() : heads.substr(bar + 1);
    const size_t colon = head.find(": ");
    if (colon == std::string_view::npos) continue;
    request.headers.push_back({std::string(head.substr(0, colon)), std::string(head.substr(colon + 2))});
  }
  request.body = std::string(rest);
  const auto read = twinstep::azure::read_delivery(request);
  if (!read) {
    check(read.error().kind == twinstep::ErrorKind::kInvalid, "a bad body is invalid");
    check(read.error().code.starts_with("events."), "every refusal has a code of events");
    check(twinstep::is_utf8(read.error().what), "messages are text");
  } else {
    for (const auto& event : read->events) {
      check(!event.id.empty() && event.id.size() <= 256 && !has_control(event.id), "an id is short and printable");
      check(event.hash.size() == 32, "an event has a hash");
      check(twinstep::is_utf8(event.tags) && twinstep::is_utf8(event.desired), "kept documents are text");
    }
    for (const auto& bad : read->bad) {
      check(!bad.reason.empty() && bad.hash.size() == 32, "a bad event has a reason and a hash");
      check(twinstep::is_utf8(bad.device) && !has_control(bad.device), "what is shown is printable text");
    }
  }
  twinstep::azure::answer_delivery_options(request);
  return 0;
}
