// Lines of importErrors.log.
#include "check.h"
#include "twinstep/base/encoding.h"
#include "twinstep/workflows/import_file.h"

using twinstep::fuzz::check;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest = twinstep::fuzz::text_of(data, size);
  while (!rest.empty()) {
    const auto problem = twinstep::workflows::parse_import_problem(twinstep::fuzz::take_line(rest));
    if (!problem) {
      check(problem.error().kind == twinstep::ErrorKind::kCorrupt, "a bad line is corrupt");
      continue;
    }
    check(problem->text.size() <= 300 && problem->text.find('{') == std::string::npos, "no device's tags are repeated");
    check(twinstep::is_utf8(problem->device) && twinstep::is_utf8(problem->code) && twinstep::is_utf8(problem->text),
          "what is shown is text");
  }
  return 0;
}
