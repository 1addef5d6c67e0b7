#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "twinstep/providers/external_registry.h"

namespace twinstep::workflows {

/// A network server in memory with the rules that matter here: devices are found by their tag EUI, which only one may
/// have; `key` is a secret that a create needs; `profile` is an ordinary tag.
class FakeNetwork final : public providers::ExternalRegistry {
 public:
  struct Device {
    std::string id;
    json::object tags;
  };
  std::map<std::string, Device> devices;  ///< by EUI
  int creates = 0, removes = 0, look_ups = 0;
  /// Errors to answer with, one for each create or remove.
  std::deque<Error> failures;
  /// Called after a create or remove was done; may throw, as a crash would.
  std::function<void()> after_write;

  const std::string& provider() const override { return name_; }
  const std::vector<providers::TagSpec>& tags() const override { return tags_; }
  std::unique_ptr<providers::Mapper> mapper() const override { return nullptr; }
  Result<providers::ListProof> list(const providers::ItemSink&, const providers::BrokenSink&, const Call&) override {
    return providers::ListProof{};
  }
  Result<providers::ListProof> first_page(const providers::ItemSink&, const providers::BrokenSink&,
                                          const Call&) override {
    return providers::ListProof{};
  }
  bool can_look_up(const providers::DeviceInput& device) const override { return device.tags.contains("EUI"); }
  Result<providers::FoundDevice> look_up(const providers::DeviceInput& device, const Call&) override {
    std::scoped_lock lock(mutex_);
    ++look_ups;
    const auto found = devices.find(eui(device));
    if (found == devices.end()) return fail(ErrorKind::kNotFound, "external.not-found", "no such device");
    return providers::FoundDevice{found->second.id, found->second.tags};
  }
  Result<providers::WriteOutcome> create(const providers::DeviceInput& device, const Call&) override {
    TRY(next_failure());
    providers::WriteOutcome out = providers::WriteOutcome::kDone;
    {
      std::scoped_lock lock(mutex_);
      ++creates;
      const auto [at, added] = devices.try_emplace(eui(device), Device{device.id.value, device.tags});
      if (!added && canonical_device_id(at->second.id) != canonical_device_id(device.id.value))
        return fail(ErrorKind::kConflict, "external.other-device", "a different device holds that EUI there");
      if (!added) out = providers::WriteOutcome::kAlreadyThere;
    }
    if (after_write) after_write();
    return out;
  }
  Result<providers::WriteOutcome> remove(const providers::DeviceInput& device, const Call&) override {
    TRY(next_failure());
    size_t gone = 0;
    {
      std::scoped_lock lock(mutex_);
      ++removes;
      gone = devices.erase(eui(device));
    }
    if (after_write) after_write();
    return gone > 0 ? providers::WriteOutcome::kDone : providers::WriteOutcome::kAlreadyGone;
  }
  std::vector<providers::TagFault> missing_for_create(const providers::DeviceInput& device) const override {
    std::vector<providers::TagFault> out;
    for (const char* name : {"EUI", "key"})
      if (!device.tags.contains(name)) out.push_back({std::string(name) + " is missing", true});
    if (out.empty() && eui(device).size() != 4) out.push_back({"EUI must have 4 characters", false});
    return out;
  }
  std::vector<providers::TagSpec> known_tags() const override {
    auto out = tags_;
    out.push_back({{"key"}, true, false});
    return out;
  }

 private:
  static std::string eui(const providers::DeviceInput& device) {
    return std::string(json::string_or(device.tags, "EUI"));
  }
  Status next_failure() {
    std::scoped_lock lock(mutex_);
    if (failures.empty()) return {};
    Error error = std::move(failures.front());
    failures.pop_front();
    return fail(std::move(error));
  }

  std::mutex mutex_;  // guards the devices and counters while lanes work
  std::string name_ = "fake";
  std::vector<providers::TagSpec> tags_{{{"EUI"}, false, true}, {{"profile"}, false, false}};
};

}  // namespace twinstep::workflows
