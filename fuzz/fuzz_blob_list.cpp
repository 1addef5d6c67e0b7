// Answers of the blob service: XML is given element by element or refused.
#include "check.h"
#include "twinstep/azure/xml_reader.h"
#include "twinstep/base/encoding.h"

using twinstep::fuzz::check;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  size_t elements = 0;
  const auto read = twinstep::azure::read_xml(
      twinstep::fuzz::text_of(data, size), [&](const twinstep::azure::XmlElement& element) -> twinstep::Status {
        ++elements;
        check(!element.path.empty(), "an element has a name");
        check(twinstep::is_utf8(element.path) && twinstep::is_utf8(element.text), "what is given is text");
        for (const auto& [name, value] : element.attributes)
          check(twinstep::is_utf8(value) && !name.empty(), "an attribute has a name");
        return {};
      });
  check(read ? elements > 0 : read.error().code == "xml.malformed", "a document has a root");
  return 0;
}
