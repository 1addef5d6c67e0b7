#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "twinstep/plan/fake_mapper.h"
#include "twinstep/providers/external_registry.h"
#include "twinstep/workflows/progress.h"

namespace twinstep::workflows {

/// Hears how far work is, and keeps what a person would be told.
class QuietProgress final : public Progress {
 public:
  std::vector<std::string> notes;
  void counted(std::string_view, uint64_t, std::optional<uint64_t>) override {}
  void note(std::string_view text) override { notes.emplace_back(text); }
};

/// An external system in memory that is a list of devices with one tag, EUI. FakeNetwork is one that finds its devices
/// by their tags, for device tasks.
class FakeExternal final : public providers::ExternalRegistry {
 public:
  std::map<std::string, std::string> devices;  ///< id to EUI
  bool complete = true;                        ///< else page 2 fails
  bool looks_up = false;                       ///< can look devices up, by their id
  bool replaced = false;                       ///< something else answers since it was listed, and knows no device
  Status down;                                 ///< an error here is the answer to every listing and look-up
  int lists = 0;
  std::atomic<int> look_ups = 0;

  const std::string& provider() const override { return name_; }
  const std::vector<providers::TagSpec>& tags() const override { return tags_; }
  std::unique_ptr<providers::Mapper> mapper() const override { return std::make_unique<plan::FakeMapper>(tags_); }
  Result<providers::ListProof> list(const providers::ItemSink& items, const providers::BrokenSink&,
                                    const Call&) override {
    ++lists;
    TRY(down);
    providers::ListProof proof;
    for (const auto& [id, eui] : devices)
      TRY(items(json::write(json::object{{"id", id}, {"tags", {{"EUI", eui}}}}), {1, ++proof.items}));
    proof.complete = complete;
    if (!complete) proof.why_incomplete = "page 2 failed";
    return proof;
  }
  Result<providers::ListProof> first_page(const providers::ItemSink& items, const providers::BrokenSink& broken,
                                          const Call& call) override {
    if (replaced) return providers::ListProof{};
    auto page = list(items, broken, call);
    --lists;
    return page;
  }
  bool can_look_up(const providers::DeviceInput&) const override { return looks_up; }
  Result<providers::FoundDevice> look_up(const providers::DeviceInput& device, const Call&) override {
    ++look_ups;
    TRY(down);
    if (devices.contains(device.id.value)) return providers::FoundDevice{device.id.value, {}};
    return fail(ErrorKind::kNotFound, "test", "not there");
  }
  Result<providers::WriteOutcome> create(const providers::DeviceInput& device, const Call&) override {
    devices[device.id.value] = std::string(json::string_or(device.tags, "EUI"));
    return providers::WriteOutcome::kDone;
  }
  Result<providers::WriteOutcome> remove(const providers::DeviceInput& device, const Call&) override {
    return devices.erase(device.id.value) > 0 ? providers::WriteOutcome::kDone : providers::WriteOutcome::kAlreadyGone;
  }
  std::vector<providers::TagFault> missing_for_create(const providers::DeviceInput&) const override { return {}; }

 private:
  std::string name_ = "fake";
  std::vector<providers::TagSpec> tags_{{{"EUI"}, false, false}};
};

}  // namespace twinstep::workflows
