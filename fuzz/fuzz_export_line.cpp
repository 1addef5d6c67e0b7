// A hub's list: the first byte says how the text is cut into chunks, which must not matter; every item is read as a
// line.
#include <string>
#include <vector>

#include "check.h"
#include "twinstep/json/item_splitter.h"
#include "twinstep/plan/hub_line.h"

using namespace twinstep;
using fuzz::check;
using fuzz::touch;

namespace {

plan::Rules rules() {
  plan::Rules out;
  out.link = "main";
  out.tags = {{{"EUI"}, false, true},
              {{"lorawan", "devEui"}, false, false},
              {{"lorawan", "appKey"}, true, false},
              {{"ref"}, false, false}};
  return out;
}

struct Seen {
  std::vector<std::string> items;
  std::vector<std::string> broken;
  bool complete = false;

  friend bool operator==(const Seen&, const Seen&) = default;
};

Seen split(std::string_view text, size_t chunk, const std::string& path) {
  Seen out;
  json::ItemSplitter splitter({path, 4096});
  const auto item = [&](std::string_view one, const json::ItemAt& at) -> Status {
    out.items.push_back(fmt::format("{} {}|{}", at.line, at.index, one));
    return {};
  };
  const auto broken = [&](std::string_view one, const json::ItemAt& at, std::string_view why) -> Status {
    touch(one);
    out.broken.push_back(fmt::format("{} {}|{}", at.line, at.index, why));
    return {};
  };
  for (size_t begin = 0; begin < text.size(); begin += chunk)
    check(splitter.feed(text.substr(begin, chunk), item, broken).has_value(), "only sinks fail");
  check(splitter.finish(item, broken).has_value(), "only sinks fail");
  out.complete = splitter.complete();
  check(out.complete == splitter.why_incomplete().empty(), "what is incomplete says why");
  return out;
}

void read(plan::HubLineReader& reader, std::string_view text) {
  const auto line = reader.read(text);
  if (!line) {
    check(line.error().kind == ErrorKind::kCorrupt && !line.error().what.empty(), "a bad line is corrupt and says why");
    touch(reader.failed_id());
    return;
  }
  check(!line->id.empty(), "a line has an id");
  for (const std::string_view part :
       {line->id, line->module_id, line->etag, line->twin_etag, line->status_reason, line->owner, line->tags})
    touch(part);
  check(line->values.size() == 4, "one value for each tag");
  for (const std::string_view value : line->values) touch(value);
  check(line->values[2].empty(), "a secret that is not copied is not read");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static plan::HubLineReader reader{rules()};
  const std::string path = (data[0] & 0x80) != 0 ? "/devices/list" : "";
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  const Seen whole = split(text, text.size() + 1, path);
  check(split(text, (data[0] & 0x7fu) + 1, path) == whole, "chunks do not matter");
  for (const std::string& item : whole.items) read(reader, std::string_view(item).substr(item.find('|') + 1));
  read(reader, text);
  return 0;
}
