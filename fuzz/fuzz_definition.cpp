// Provider definitions: any text is a definition or a complaint with a place.
#include "check.h"
#include "twinstep/providers/definition.h"

using twinstep::fuzz::check;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = twinstep::fuzz::text_of(data, size);
  const auto parsed = twinstep::providers::parse_definition(text, "x.yaml");
  if (!parsed) {
    check(parsed.error().what.starts_with("x.yaml:"), "a complaint has its place");
    check(!parsed.error().code.empty(), "a complaint has a code");
    return 0;
  }
  check(!parsed->name.empty(), "a definition has a name");
  for (const auto& tag : parsed->tag_specs()) check(!tag.path.empty() && !tag.name().empty(), "a tag has a place");
  check(parsed->text == text, "the text is kept as it was read");
  return 0;
}
