// Answers of a hub to GET /twins/{id}, read as the client reads them.
#include "check.h"
#include "twinstep/azure/iothub_wire.h"
#include "twinstep/base/encoding.h"

using twinstep::fuzz::check;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = twinstep::json::parse(twinstep::fuzz::text_of(data, size), "the answer");
  if (!parsed) {
    check(twinstep::is_utf8(parsed.error().what), "messages are text");
    return 0;
  }
  const auto twin = twinstep::azure::wire::read_twin(*parsed);
  if (!twin) {
    check(twin.error().kind == twinstep::ErrorKind::kCorrupt, "what is no twin is a corrupt answer");
    return 0;
  }
  check(!twin->id.empty(), "a twin has a device");
  // What is kept and shown of a twin is a JSON object again, with the same names.
  const std::string tags = twinstep::json::write(twin->tags);
  const auto again = twinstep::json::parse(tags, "the tags");
  check(again && again->is_object() && again->get_object().size() == twin->tags.size(), "tags survive being written");
  return 0;
}
