#include "twinstep/api/device_sides.h"

#include "twinstep/workflows/secret_tags.h"

namespace twinstep::api {
namespace {

Result<HubSide> hub_side(const Result<azure::Twin>& twin, const std::vector<providers::TagSpec>& specs) {
  if (!twin && twin.error().kind == ErrorKind::kNotFound) return HubSide{};
  if (!twin) return fail(twin.error());
  HubSide out;
  out.exists = true;
  out.enabled = twin->enabled;
  out.edge = twin->edge;
  if (const json::object* mark = json::object_at(twin->tags, "twinstep")) out.owner = json::string_or(*mark, "link");
  out.has_ref = twin->tags.contains("ref");
  out.tags = without_secrets(twin->tags, specs);
  return out;
}

Result<ExternalSide> external_side(providers::ExternalRegistry& external, const providers::DeviceInput& device,
                                   const Call& call) {
  if (!external.can_look_up(device)) return ExternalSide{};
  auto found = external.look_up(device, call);
  if (!found && found.error().kind == ErrorKind::kNotFound) return ExternalSide{ExternalSide::What::kAbsent, {}};
  if (!found) return fail(std::move(found).error());
  return ExternalSide{ExternalSide::What::kFound, found->id};
}

}  // namespace

json::object without_secrets(json::object tags, const std::vector<providers::TagSpec>& specs) {
  return workflows::shown_tags(std::move(tags), specs);
}

DeviceSides look_at_device(azure::IotHubClient& hub, providers::ExternalRegistry& external, const DeviceId& device,
                           const json::object& remembered, const Call& call) {
  const auto twin = hub.get_twin(device, call);
  const providers::DeviceInput input{device, twin ? twin->tags : remembered, twin ? twin->desired : json::object{}};
  return {hub_side(twin, external.known_tags()), external_side(external, input, call)};
}

}  // namespace twinstep::api
