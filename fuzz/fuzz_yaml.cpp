// Configuration files: any text is a tree or a complaint with a place, and any tree is a link or complaints.
#include "check.h"
#include "twinstep/config/link_reader.h"
#include "twinstep/json/json.h"
#include "twinstep/yaml/document.h"

using namespace twinstep;
using fuzz::check;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto node = yaml::parse(fuzz::text_of(data, size), "x.yaml");
  if (!node) {
    check(node.error().what.starts_with("x.yaml:"), "a complaint has its place");
    return 0;
  }
  fuzz::touch(json::write(node->to_json()));
  yaml::Diagnostics diagnostics("x.yaml");
  const config::Link link = config::read_link(*node, diagnostics);
  if (!diagnostics.ok()) {
    check(!diagnostics.combined().what.empty(), "complaints have a text");
    return 0;
  }
  check(!link.name.empty() && !link.hub.empty() && !link.external.empty(), "a link has a name and two sides");
  return 0;
}
