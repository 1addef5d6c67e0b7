#include "twinstep/providers/http_registry.h"

#include "twinstep/providers/lister.h"
#include "twinstep/providers/mapper.h"
#include "twinstep/providers/operations.h"

namespace twinstep::providers {

namespace {

class HttpRegistry final : public ExternalRegistry {
 public:
  HttpRegistry(Definition definition, SettingValues settings, http::Client& transport, Clock& clock, Rng& rng)
      : definition_(std::move(definition)),
        tags_(definition_.tag_specs()),
        connection_(definition_, std::move(settings), transport, clock, rng),
        operations_(connection_) {}

  const std::string& provider() const override { return definition_.name; }
  const std::vector<TagSpec>& tags() const override { return tags_; }
  std::unique_ptr<Mapper> mapper() const override { return make_mapper(definition_); }

  Result<ListProof> list(const ItemSink& items, const BrokenSink& broken, const Call& call) override {
    return Lister(connection_, items, broken).run(false, call);
  }
  Result<ListProof> first_page(const ItemSink& items, const BrokenSink& broken, const Call& call) override {
    return Lister(connection_, items, broken).run(true, call);
  }
  bool can_look_up(const DeviceInput& device) const override { return operations_.can_look_up(device); }
  Result<FoundDevice> look_up(const DeviceInput& device, const Call& call) override {
    return operations_.look_up(device, call);
  }
  Result<WriteOutcome> create(const DeviceInput& device, const Call& call) override {
    return operations_.create(device, call);
  }
  Result<WriteOutcome> remove(const DeviceInput& device, const Call& call) override {
    return operations_.remove(device, call);
  }
  std::vector<TagFault> missing_for_create(const DeviceInput& device) const override {
    return operations_.missing_for_create(device);
  }
  std::vector<TagSpec> known_tags() const override { return definition_.known_tags(); }
  void set_share(double share) override { connection_.set_share(share); }

 private:
  const Definition definition_;
  const std::vector<TagSpec> tags_;
  Connection connection_;
  Operations operations_;
};

}  // namespace

std::unique_ptr<ExternalRegistry> make_http_registry(Definition definition, SettingValues settings,
                                                     http::Client& transport, Clock& clock, Rng& rng) {
  return std::make_unique<HttpRegistry>(std::move(definition), std::move(settings), transport, clock, rng);
}

}  // namespace twinstep::providers
