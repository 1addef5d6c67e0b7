// Device lists as CSV: the first byte says how the text is cut into chunks, which must not matter; rows are valid JSON.
#include <string>
#include <vector>

#include "check.h"
#include "twinstep/json/json.h"
#include "twinstep/providers/delimited.h"

using namespace twinstep;
using fuzz::check;

namespace {

std::vector<std::string> read(std::string_view text, size_t chunk) {
  std::vector<std::string> out;
  providers::DelimitedReader reader;
  const auto row = [&](std::string_view json, uint64_t line) -> Status {
    check(json::parse(json, "a row").has_value(), "a row is JSON");
    out.push_back(fmt::format("{} {}", line, json));
    return {};
  };
  const auto broken = [&](std::string_view bytes, uint64_t line, std::string_view why) -> Status {
    fuzz::touch(bytes);
    out.push_back(fmt::format("{} broken {}", line, why));
    return {};
  };
  Status status;
  for (size_t begin = 0; status && begin < text.size(); begin += chunk)
    status = reader.feed(text.substr(begin, chunk), row, broken);
  if (status) status = reader.finish(row, broken);
  if (!status) {
    check(status.error().code == "file.bad-header" && out.empty(), "only a header row ends it");
    return {status.error().what};
  }
  out.push_back(reader.why_incomplete());
  return out;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  check(read(text, data[0] + 1u) == read(text, text.size() + 1), "chunks do not matter");
  return 0;
}
