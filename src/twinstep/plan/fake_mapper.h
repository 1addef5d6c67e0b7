#pragma once

#include <string>
#include <vector>

#include "twinstep/json/canonical.h"
#include "twinstep/providers/external_registry.h"

namespace twinstep::plan {

/// A Mapper for tests: items are {"id":..., "tags":{...}}; with "skip" they are left out by the filter.
class FakeMapper final : public providers::Mapper {
 public:
  explicit FakeMapper(std::vector<providers::TagSpec> specs) : specs_(std::move(specs)) {}

  Result<providers::MappedDevice> map(std::string_view item) override {
    failed_id_.clear();
    auto parsed = json::parse(item, "item");
    if (!parsed || !parsed->is_object()) {
      if (const size_t at = item.find("\"id\":\""); at != std::string_view::npos) {
        const size_t end = item.find('"', at + 6);
        if (end != std::string_view::npos) failed_id_ = item.substr(at + 6, end - at - 6);
      }
      return fail(ErrorKind::kCorrupt, "test.broken", "not a JSON object");
    }
    const json::object& o = parsed->as_object();
    id_ = json::string_or(o, "id");
    if (id_.empty()) return fail(ErrorKind::kInvalid, "test.no-id", "no id at /id");
    if (o.contains("bad")) {
      failed_id_ = id_;
      return fail(ErrorKind::kInvalid, "test.bad", "bad value at /bad");
    }
    selected_ = !o.contains("skip");
    texts_.assign(specs_.size(), {});
    for (size_t i = 0; i < specs_.size(); ++i) {
      std::string pointer = "/tags";
      for (const std::string& name : specs_[i].path) pointer += "/" + name;
      if (const json::value* v = json::at(*parsed, pointer)) json::append_canonical(*v, texts_[i]);
    }
    values_.assign(texts_.begin(), texts_.end());
    return providers::MappedDevice{id_, values_};
  }
  std::string_view failed_id() const override { return failed_id_; }
  bool selected() const override { return selected_; }

 private:
  std::vector<providers::TagSpec> specs_;
  std::string id_, failed_id_;
  std::vector<std::string> texts_;
  std::vector<providers::MappedValue> values_;
  bool selected_ = true;
};

}  // namespace twinstep::plan
